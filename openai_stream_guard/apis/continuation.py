"""Opt-in: let a model go on with a chat answer from where it broke off.

The second generation is another one, and its seam is looked after here: white space is kept as it comes, and what was
spent is taken off the limit and added to the usage. How the rest is asked for depends on the server:

- `vllm`, `prefill`: the partial answer is the beginning of the assistant's message, and the server goes on by itself.
  vLLM: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html (`continue_final_message`)
- `anchored`, for every other chat model: the user asks for the rest, which is to begin with the *anchor*, the last
  words of the partial answer, repeated as they are. Where the second answer does not begin so, nothing of it is
  delivered. Why the anchor is what it is: `anchor_from`. Why the request reads as it does: `_REQUEST`.
- a callable makes the request. It may name an anchor, too.

Without an anchor nothing says that an answer is the rest of another. It is refused where it visibly is not: where it
begins as the first one did, or with the last words of it; a server that repeats all of it is understood.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal, TypeAlias

from ..records import Record
from .second_answer import Diverged, SecondAnswer
from .transcript import Key, Transcript

Continuing: TypeAlias = Literal["vllm", "prefill", "anchored"] | Callable[..., object]

_LIMITS = ("max_tokens", "max_completion_tokens")
_ANCHOR = 40
"""Characters of an anchor, at least. So many were repeated exactly by real models (askalf/dario: 5 of 5 runs); each
further one is paid for twice, and may be the one that is not."""
_MAX_ANCHOR = 160
_MIN_ANCHOR = 20
"""Fewer characters prove nothing: many answers begin with the same one or two words, introductions among them."""
_SIGN = 20
"""So many characters that are repeated, of the beginning or of the end, are no accident."""

_REQUEST = (
    "My connection dropped while you were answering, and your last message is as far as I received it. "
    "Please send me the rest. Begin with the last words that I have, repeated character for character, and go straight "
    "on from there, even if that is in the middle of a word: no introduction, no apology, no quotation marks and no "
    "code block around it. The last words that I have are:\n\n"
)
"""What asks for the rest; the anchor follows. It is the user who speaks, of a dropped connection: a notice in an
operator's voice was refused as an injection (askalf/dario). It asks for a repetition first, so that the model stands
where it stood, and forbids what chat models like to put in front. The anchor comes last, where models copy best, and
without marks around it that they would copy too. It says *rest*, and not *answer*, which would invite a new one."""


class ContinuedRequest(Record):
    """What asks for the rest of an answer."""

    body: dict[str, object]
    anchor: str | None = None
    """What the second answer has to begin with: the end of the text. None: it cannot be verified."""


def continued_request(how: Continuing, body: Mapping[str, object], text: str, spent: int) -> ContinuedRequest | None:
    """Return what asks for the rest; None where that cannot be made.

    Args:
        how: the server's dialect, or a callable. That is given the first request's JSON, with lowered limits, and the
            partial text; it returns what to send, or that and an anchor.
        text: what was delivered.
        spent: tokens that went into it, at least.
    """
    messages = body.get("messages")
    if not (isinstance(messages, list) and _is_unicode(text)):
        return None
    if isinstance(how, str) and messages and _is_assistants(messages[-1]):
        return None  # a beginning of the caller's own: nobody knows whether the server has repeated it
    anchor = anchor_from(text) if how == "anchored" else None
    if how == "anchored" and anchor is None:
        return None
    request = copy.deepcopy(dict(body))  # a callable may edit it, and the first request must stay as it was
    _leave_out_reasoning(request)
    _lower_limits(request, spent, 0 if anchor is None else math.ceil(spent * len(anchor) / len(text)))
    if not isinstance(how, str):
        return _made_by_callable(how(request, text), text)
    partial: dict[str, object] = {"role": "assistant", "content": text}
    if anchor is not None:
        asks = {"role": "user", "content": _REQUEST + anchor.rstrip()}
        return ContinuedRequest({**request, "messages": [*messages, partial, asks]}, anchor)
    if how == "prefill":
        return ContinuedRequest({**request, "messages": [*messages, {**partial, "prefix": True}]})
    marks = {"continue_final_message": True, "add_generation_prompt": False}
    return ContinuedRequest({**request, "messages": [*messages, partial], **marks})


def anchor_from(text: str) -> str | None:
    """Return the anchor of a text; None where it has none.

    - It ends where the text ends, be that inside a word: deltas end where tokens do, so that a model that has repeated
      it stands where it stood at the first time. (White space behind it is verified, but cannot be asked for.)
    - It begins where a word does, since tokens do, too; in a script without spaces, anywhere.
    - It occurs once: a model that goes on from an earlier place would pass. It grows until it does, up to a bound.
    - A text that is too short for it has none.
    """
    end, length = len(text.rstrip()), _ANCHOR
    while length <= _MAX_ANCHOR:
        start = _word_start(text, max(0, end - length))
        if end - start >= _MIN_ANCHOR and text.find(text[start:end]) == start:
            return text[start:]
        length *= 2
    return None


def _word_start(text: str, place: int) -> int:
    """Return where the word begins that a place is in, or the next one; the place itself, where that is far away."""
    before = range(place, max(-1, place - _ANCHOR), -1)
    start = next((at for at in before if at == 0 or text[at - 1].isspace()), place)
    return len(text) - len(text[start:].lstrip())


def _made_by_callable(made: object, text: str) -> ContinuedRequest | None:
    match made:
        case (Mapping() as body, str() as anchor):
            words, said = anchor.strip(), text.rstrip()
            if not words or not said.endswith(words):
                return None  # what is no end of the text says nothing of the seam
            return ContinuedRequest(dict(body), text[len(said) - len(words) :])
        case Mapping():
            return ContinuedRequest(dict(made))
    return None


def _is_unicode(text: str) -> bool:
    """Whether a text can be sent: one that ends with half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_assistants(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "assistant"


def _lower_limits(request: dict[str, object], spent: int, repeated: int = 0) -> None:
    """Take what was spent off the limits of a request, but for the tokens that are to be repeated."""
    for name in _LIMITS:
        limit = request.get(name)
        if type(limit) is int:
            request[name] = min(limit, max(1, limit - spent) + repeated)


def _leave_out_reasoning(request: dict[str, Any]) -> None:
    """Ask for no reasoning where the request itself shows how that is said: another server may refuse the parameter.

    An effort goes down to `low`, since not every model has a lower one.
    """
    for options in (request, request.get("chat_template_kwargs")):
        if isinstance(options, dict) and options.get("enable_thinking") is True:
            options["enable_thinking"] = False
    thinking = request.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "enabled":
        request["thinking"] = {"type": "disabled"}
    if request.get("reasoning_effort") in ("medium", "high", "xhigh"):
        request["reasoning_effort"] = "low"


def continuation_from(request: ContinuedRequest, transcript: Transcript, key: Key, spent: int) -> Continuation:
    """Return what takes the answer to a request for more of the text of `key`."""
    if request.anchor is None:
        return UnverifiedContinuation(transcript, key, spent)
    return AnchoredContinuation(transcript, key, spent, request.anchor)


class Continuation(SecondAnswer):
    """Takes the second answer as more of the first.

    Args:
        key: the channel of the text that goes on.
        spent: tokens that went into what was delivered.
    """

    anchor: str | None = None
    """What it has to begin with."""

    def __init__(self, transcript: Transcript, key: Key, spent: int) -> None:
        super().__init__(transcript)
        self.spent = spent
        self._key = key

    def take(self, key: Key, text: str, *, whole: bool = False) -> str:
        """The part of `text` that is new."""
        text = self._new(key, text)
        if text:
            self._news.text_deltas.append((key, text))
        return text

    @abstractmethod
    def _new(self, key: Key, text: str) -> str:
        """The same. Raises `Diverged` where the answer is no continuation."""

    def flush(self, key: Key) -> str:
        """Nothing is held back of a text that is new."""
        return ""

    def tell_whole(self, key: Key, text: str) -> None:
        """Chunks say no text twice."""

    def repeats(self, kind: Hashable) -> bool:
        """Usage and the like are said anew, and count."""
        self._news.kind = kind
        return False

    def number(self, number: int | None) -> int | None:
        """Chunks have no numbers."""
        return number


class AnchoredContinuation(Continuation):
    """Takes what follows the anchor, by which the second answer has to begin.

    White space in front of it does not count: templates leave it behind the reasoning. What else is said before the
    text is preparation, such as reasoning, and is no part of the answer; nothing may be said behind it but its end.
    """

    caught_up = False

    def __init__(self, transcript: Transcript, key: Key, spent: int, anchor: str) -> None:
        super().__init__(transcript, key, spent)
        self.anchor: str = anchor
        self._begun = ""

    def _new(self, key: Key, text: str) -> str:
        if key == (self._key[0], "finish_reason"):
            return text
        if key != self._key:
            if self.caught_up:
                raise Diverged
            return ""
        if self.caught_up:
            return text
        self._begun = (self._begun + text).lstrip()
        if self._begun.startswith(self.anchor):
            self.caught_up = True
            return self._begun[len(self.anchor) :]
        if not self.anchor.startswith(self._begun):
            raise Diverged
        return ""

    def identify(self, key: Key, name: object) -> object:
        """The role or id that the consumer has been given here; for parts that are not delivered, their own."""
        return name if len(key) > 2 else super().identify(key, name)


class UnverifiedContinuation(Continuation):
    """Takes what does not repeat the delivered text."""

    def __init__(self, transcript: Transcript, key: Key, spent: int) -> None:
        super().__init__(transcript, key, spent)
        self._delivered = self._expected = transcript.text(key)
        self._repeated: int | None = 0
        """Characters of `_expected` that the answer begins with, and that are held back; None once decided."""

    @property
    def caught_up(self) -> bool:
        """Whether nothing is held back that may be a repetition, or may be new."""
        return not self._repeated

    def _new(self, key: Key, text: str) -> str:
        if key != self._key or self._repeated is None:
            return text
        expected, held = self._expected, self._repeated
        if len(text) < len(expected) - held and expected.startswith(text, held):
            self._repeated = held + len(text)
            return ""
        begun, last = expected[:held] + text, self._delivered[-_SIGN:]
        if begun.startswith(self._delivered):
            self._repeated = None
            return begun[len(self._delivered) :]
        self._refuse_beginning(begun)
        if len(last) == _SIGN and begun.startswith(last):
            raise Diverged
        if len(last) == _SIGN and last.startswith(begun):
            self._expected, self._repeated = last, len(begun)
            return ""
        self._repeated = None
        return begun

    def _refuse_beginning(self, begun: str) -> None:
        """Raise `Diverged` where the answer starts anew."""
        if len(begun) >= _SIGN and self._delivered.startswith(begun[:_SIGN]):
            raise Diverged

    def flush(self, key: Key) -> str:
        """What was held as a repetition and is none, since the answer ends there."""
        text = self._expected[: self._repeated] if key == self._key and self._repeated else ""
        if text:
            self._refuse_beginning(text)
            self._repeated = None
            self._news.text_deltas.append((key, text))
        return text
