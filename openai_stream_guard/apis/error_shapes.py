"""What in a stream is an error that the API reports, and what is no item of the API at all.

Servers write errors into streams in many shapes, most of them without the word `error`. `_SHAPES` lists them. Whether
an error may pass is not decided here, but by its words, in `engine.retry_rules`.

Invariant, held by tests: a payload that is an item of the API is never taken for an error because of what stands beside
it: a value that says success, such as `{"code": 0, "message": "…"}`, is no error whatever its message says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from ..decoding.payload import Payload
from ..records import Record

JsonObject: TypeAlias = Mapping[str, object]


class ReportedError(Record):
    """An error that the API has written into the stream."""

    body: object
    """What the SDK hands out as the exception's `body`."""
    message: str | None
    payload: object
    """All of it, which may say more than `body`: TGI puts `error_type` beside `error`."""
    http_status: int | None = None
    """The status that a comment beside it named."""


_SUCCESS = {"", "0", "200", "ok", "success", "succeeded", "successful", "none", "null", "normal"}
_CODE = re.compile(r"(?:(?:err(?:or)?|status)_?)?code|err(?:or)?_?no|status", re.IGNORECASE)
_MESSAGE = ("message", "msg", "error_message", "error_msg", "errorMessage", "errmsg", "Message", "status_msg", "title")
_ERROR_MEMBER = re.compile(
    r"err(?:or)?s?|err(?:or)?_\w+|err(?:or)?(?:code|no|msg|message|type)|detail|fault|\w*exception", re.IGNORECASE
)


def says_success(value: object, depth: int = 0) -> bool:
    """Return whether a code or a member of an error shape says that nothing went wrong, or says nothing."""
    if isinstance(value, str):
        text = value.strip().lower()
        return text in _SUCCESS or (text.isdigit() and text.strip("0") == "")  # as in 00000
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return value == 0 or 200 <= value <= 299
    if isinstance(value, dict):
        value = _codes(value) or list(value.values())
    return isinstance(value, list) and depth < 4 and all(says_success(part, depth + 1) for part in value)


def _codes(value: JsonObject) -> list[object]:
    """The codes of an object, as far as they say anything. A `status` counts where it is a number, or says `error`."""
    return [
        code
        for name, code in value.items()
        if _CODE.fullmatch(name)
        and code not in (None, "")
        and (name != "status" or isinstance(code, int | float) or code in ("error", "failed", "failure"))
    ]


def _says_error(value: JsonObject) -> bool:
    return "error" in (value.get("type"), value.get("object")) and any(value.get(name) for name in ("code", *_MESSAGE))


def _has_error_member(value: JsonObject) -> bool:
    return any(_ERROR_MEMBER.fullmatch(name) and not says_success(member) for name, member in value.items())


def _has_code_and_message(value: JsonObject) -> bool:
    return bool(_codes(value)) and any(value.get(name) for name in _MESSAGE)


_SHAPES: tuple[Callable[[JsonObject], bool], ...] = (
    # {"type": "error", "code": …, "message": …}: Responses; {"object": "error", "message": …}: vLLM, FastChat
    _says_error,
    # {"success": false, "errors": [{"code": 10000, "message": …}]}: Cloudflare
    lambda value: value.get("success") is False,
    # {"error_type": …, "error_message": …}: DeepInfra, Venice; {"text": …, "error_code": 50004}: FastChat;
    # {"errors": […]}; {"detail": …}: FastAPI, RFC 9457; {"throttlingException": {…}}: Bedrock; {"fault": {…}}: Apigee
    _has_error_member,
    # {"base_resp": {"status_code": 1002, "status_msg": …}}: MiniMax
    lambda value: isinstance(value.get("base_resp"), dict) and not says_success(value["base_resp"]),
    # {"code": "InvalidParameter", "message": …}: DashScope; {"status": 503, "message": …}, {"statusCode": 502, …}
    _has_code_and_message,
)


def find_error(payload: Payload) -> ReportedError | None:
    """
    Return the error that a payload reports, in whatever shape; None where it reports none.

    Call it only for what is not an item of the API by itself: an answer's chunk may have a member such as `base_resp`.
    """
    value = payload.value
    if payload.is_plain_text or (payload.event == "error" and not isinstance(value, dict)):
        return reported_as(payload, value)
    if isinstance(value, list) and has_error(payload):  # Gemini
        value = value[0]
    if not isinstance(value, dict):
        return None
    if value.get("error"):  # the SDK raises it too
        return reported_as(payload, value["error"])
    if payload.event == "error":
        return reported_as(payload, value)
    codes = _codes(value)
    if codes and all(map(says_success, codes)) and value.get("success") is not False:
        return None
    return reported_as(payload, value) if any(applies(value) for applies in _SHAPES) else None


def reported_failure(payload: Payload) -> ReportedError | None:
    """Return why a response failed, from the event that says so; None where it says nothing."""
    value = payload.value
    response = value.get("response") if isinstance(value, dict) else None
    error = response.get("error") if isinstance(response, dict) else None
    return replace(reported_as(payload, error), payload=error) if error else None


def has_error(payload: Payload) -> bool:
    """Return whether a payload has a member `error`, as errors of the API do that stand outside any event."""
    value = payload.value[0] if isinstance(payload.value, list) and payload.value else payload.value
    return isinstance(value, dict) and bool(value.get("error"))


def reported_as(payload: Payload, body: object) -> ReportedError:
    """Return a payload as an error with this body."""
    return ReportedError(body, _message_in(body, 0), payload.value, payload.http_status)


def _message_in(body: object, depth: int) -> str | None:
    """The message of an error, at the depths at which servers are known to wrap it."""
    if isinstance(body, str):
        return body or None
    if isinstance(body, list):
        return _message_in(body[0], depth) if body else None
    if not isinstance(body, dict) or depth > 3:
        return None
    for name in (*_MESSAGE, "detail", "error", "errors", "base_resp", "fault", "faultstring"):
        if (text := _message_in(body.get(name), depth + 1)) is not None:
            return text
    named = (part for name, part in body.items() if name.lower().endswith("exception"))
    return _message_in(next(named, None), depth + 1)


class ItemShape(NamedTuple):
    """What the items of an API look like, by which a JSON text outside any field is told from a page."""

    member: str | None
    """A member with a list that each of them has."""
    types: re.Pattern[str]
    """The `type` of each, or the name of its event."""

    def fits(self, payload: Payload) -> bool:
        """Return whether the payload looks like one of this API's items."""
        value = payload.value
        if not isinstance(value, dict):
            return False
        if self.member is not None and isinstance(value.get(self.member), list):
            return True
        kinds = (value.get("type"), value.get("object"), payload.event)
        return any(isinstance(kind, str) and self.types.match(kind) for kind in kinds)


WHOLE_ANSWER = "the body is a whole answer where a stream was asked for"
COMPLETION_ITEMS = ItemShape("choices", re.compile(r"(?!)"))
RESPONSE_ITEMS = ItemShape(None, re.compile(r"response\."))
OTHER_ITEMS = ItemShape(None, re.compile(r"thread\b|(?:image_generation|image_edit|transcript|speech)\w*\.|\w+\.\w+"))
"""Assistants, images, speech and transcription, and APIs without rules of their own: types are two words or more."""
