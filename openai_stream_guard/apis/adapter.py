"""What each API calls text, progress, end and error.

A dialect reads the payloads of one attempt. It knows its API's JSON and nothing of transport, time or policy; the
session asks it. One row in `dialect_for` serves one API.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias

from ..decoding.payload import Payload
from ..engine.decisions import Resume
from ..notices import FaultKind
from ..redaction import masked
from .transcript import Identity, Key, Piece, SecondAnswer, Transcript

EndRule: TypeAlias = Literal["strict", "learnt", "auto", "lenient"]
"""`auto` becomes `strict` on hosts known to be exact, and `learnt` where a finish_reason was seen before."""


_KEEP_ALIVE = re.compile(r"ping|keep-?_?alive|heart-?_?beat", re.IGNORECASE)
_PLAIN_ID = re.compile(r"[a-z0-9][\w.:\-]{0,255}", re.IGNORECASE | re.ASCII)
_EXACT_HOSTS = (
    ".api.openai.com",
    ".openai.azure.com",
    ".openai.azure.us",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
)


@dataclass(frozen=True)
class Asked:
    """What the request asked for, as far as it bears on judging and repeating the answer."""

    method: str
    path: str
    """The SDK's own path, such as `/chat/completions`: no base URL, no Azure deployment."""
    host: str
    """`name` or `name:port`."""
    body: dict[str, object] = field(default_factory=dict)
    """The JSON that was sent; empty where it was not a JSON object."""
    resendable: bool = True
    """Whether the body can be sent a second time."""
    starting_after: int | None = None
    """The number after which a stored response is asked for."""
    one_identity: bool = False
    """The consumer refuses an answer whose id changes, as the SDK's `responses.stream()` helper does."""
    errors_are_values: bool = False
    """The API hands in-stream errors on as items (the SDK's `stream_mode="events"`)."""

    @property
    def steps(self) -> list[str]:
        """The path, step by step."""
        return self.path.partition("?")[0].strip("/").split("/")

    @property
    def stored_id(self) -> str | None:
        """The id of the stored response that is read."""
        match self.method, self.steps:
            case "get", [*_, "responses", response_id]:
                return response_id
        return None

    @property
    def background(self) -> bool:
        """Whether the answer goes on being made, and kept, when nobody listens."""
        return self.body.get("background") is True

    @property
    def stateful(self) -> bool:
        """Whether asking again could repeat an effect: the request adds to state that lives on the server."""
        body = self.body
        if body.get("previous_response_id") or body.get("conversation"):
            return True
        tools = body.get("tools")
        hosted = isinstance(tools, list) and any(_is_hosted(tool) for tool in tools)
        return hosted and self.steps[-1] == "responses" and body.get("store") is not False

    @property
    def official(self) -> bool:
        """Whether the host is known to follow the API exactly: OpenAI's own, or Azure's."""
        return f".{self._name}".endswith(_EXACT_HOSTS)

    def end_rule(self, wanted: EndRule, *, learnt: bool) -> EndRule:
        """The rule its answer ends by: the policy's, where that is not `auto`.

        Args:
            learnt: this server has sent a finish_reason before.
        """
        if wanted != "auto":
            return wanted
        return "strict" if self.official else "learnt" if learnt else "auto"

    def host_in(self, hosts: Sequence[str]) -> bool:
        """Whether the host is among `hosts`, each `name` or `name:port`."""
        return self.host in hosts or self._name in hosts

    @property
    def _name(self) -> str:
        """The host without its port."""
        name, _, port = self.host.rpartition(":")
        return name if port.isdigit() else self.host

    @property
    def model(self) -> str | None:
        model = self.body.get("model")
        return model if isinstance(model, str) else None

    @property
    def choices(self) -> int:
        """The number of answers asked for: `n`, for each prompt where `/completions` is given several."""
        n, prompt = self.body.get("n"), self.body.get("prompt")
        # A list of integers is one prompt, in tokens.
        prompts = len(prompt) if isinstance(prompt, list) and prompt and type(prompt[0]) is not int else 1
        return (n if type(n) is int and n > 0 else 1) * prompts


def _is_hosted(tool: object) -> bool:
    """A tool that the server runs, and not the caller."""
    return isinstance(tool, dict) and tool.get("type") not in ("function", "custom")


class Item(NamedTuple):
    """A payload for the consumer. (A tuple: one is made for each event.)"""

    pieces: Sequence[Piece] = ()
    """The text it carries, by channel; no piece is empty."""
    identities: Sequence[Identity] = ()
    kind: Hashable = None
    """For an item without text: what a repetition of it would look like."""
    sequence: int | None = None
    """Its number, where the API numbers its events."""


@dataclass(frozen=True)
class Ping:
    """A keep-alive dressed as an event: no payload of the API."""


@dataclass(frozen=True)
class Broken:
    """A payload that ends the attempt: an error of the API's, or no stream at all."""

    fault: FaultKind
    reason: str
    body: object = None


Reading: TypeAlias = Item | Ping | Broken


class Dialect(Protocol):
    """Reads the payloads of one attempt, in order."""

    reissuable: bool
    """Whether this API's request may be sent a second time at all."""
    response_id: str | None
    settled: bool
    """Nothing of the answer can be missing any more, whatever becomes of the connection."""
    over: bool
    """Nothing that may still come counts: the stream is at its end."""

    @property
    def missing(self) -> bool:
        """Events wait for an earlier one that has not come."""

    @property
    def resume_after(self) -> int | None:
        """The number up to which nothing is missing, where the API can send the rest of the same answer."""

    def arrange(self, payload: Payload) -> Sequence[Payload]:
        """The payloads that are due, by the API's own numbers. Raises `Gap`."""

    @property
    def has_finished(self) -> bool:
        """A mark was seen by which servers end an answer; worth remembering about this server."""

    def append(self, payloads: list[Payload], start: int, transcript: Transcript) -> int:
        """Take those payloads, from `start` on, that only add to texts of the transcript; return where that ends.

        The short way for what nearly every event is: the same as `arrange`, `read` and `Transcript.add`, in a third
        of the time.
        """

    def read(self, payload: Payload) -> Reading:
        """What this payload is. Called once for every payload but `[DONE]` and those appended."""

    def whole(self, rule: EndRule, *, done: bool) -> bool:
        """Whether the answer is complete, with (`done`) or without a `[DONE]`."""

    def trim(self, payload: Payload, replay: SecondAnswer) -> Payload | None:
        """The part of a payload that the consumer has not been given; None where it has it all.

        Raises:
            Diverged: if the payload contradicts what was delivered.
        """

    @property
    def holding(self) -> bool:
        """A tool call is open: under `delivery="tool_calls"` items are held until it is whole."""

    def may_replay(self, transcript: Transcript) -> bool:
        """Whether asking again is without effects that show, once `transcript` was delivered."""

    def may_continue(self, transcript: Transcript) -> Key | None:
        """The one channel that another generation may go on with; None where it may not."""

    def partial_text(self, transcript: Transcript) -> str:
        """The answer's text as far as it came."""

    def partial(self, transcript: Transcript) -> dict[str, object] | None:
        """The non-streamed answer object, as far as it came; None where the API has none."""


def is_keep_alive(name: str) -> bool:
    """Whether an event of this name or type only says that the connection lives."""
    return _KEEP_ALIVE.fullmatch(name) is not None


def plain_id(given: object) -> str | None:
    """An answer's id, if it is fit to be told and to be a step of a URL: the server chooses it."""
    if isinstance(given, str) and _PLAIN_ID.fullmatch(given) and masked(given) == given:
        return given
    return None


def dialect_for(asked: Asked, resume: Resume | None = None, broken: Dialect | None = None) -> Dialect:
    """The dialect of the API that a request goes to.

    Args:
        resume: for the rest of an answer, of which.
        broken: and what had read it until then.
    """
    from .chat import Chat
    from .detect_only import Other
    from .marked import MEDIA_ENDS, RUN_ENDS, Marked
    from .responses import Responses

    match asked.method, asked.steps:
        case "post", [*_, "completions"]:
            return Chat(asked)
        case ("post", [*_, "responses"]) | ("get", [*_, "responses", _]):
            return Responses(asked, resume, broken if isinstance(broken, Responses) else None)
        case "post", [*_, "threads", _, "runs"] | [*_, "threads", "runs"] | [*_, "submit_tool_outputs"]:
            return Marked(asked, RUN_ENDS)
        case "post", [*_, "images" | "audio", _]:
            return Marked(asked, MEDIA_ENDS)
    return Other(asked)
