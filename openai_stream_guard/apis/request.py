"""What a request asked for, as far as it bears on judging and repeating its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Literal, TypeAlias

from ..records import Record
from ..redaction import identifier

EndRule: TypeAlias = Literal["strict", "learnt", "auto", "lenient"]
"""`auto` becomes `strict` on hosts known to be exact, and `learnt` where a server always sends a finish_reason."""

_EXACT_HOSTS = (
    ".api.openai.com",
    ".openai.azure.com",
    ".openai.azure.us",
    ".cognitiveservices.azure.com",
)


class StreamRequest(Record):
    """What the request asked for, as far as it bears on judging and repeating the answer."""

    method: str
    path: str
    """The SDK's own path, such as `/chat/completions`: no base URL, no Azure deployment."""
    host: str
    """`name` or `name:port`."""
    body: dict[str, object] = field(default_factory=dict)
    """The JSON that was sent; empty where it was not a JSON object."""
    sent: Callable[[], dict[str, object] | None] = lambda: None
    """Reads the JSON back from what was sent, since the program may have edited `body` inside; None where it cannot."""
    resendable: bool = True
    """Whether the body can be sent a second time."""
    starting_after: int | None = None
    """The number after which a stored response is asked for."""
    background_added: bool = False
    """The guard asked for it in the background, not the program."""
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

    def may_add_background(self, hosts: Sequence[str]) -> bool:
        """Whether the guard may ask for it in the background, so that the API keeps the answer.

        It is a new response, of an API that can keep it, and the program has not said how it is to be kept. (null is
        the API's own default.)

        Args:
            hosts: those besides OpenAI's and Azure's that keep responses.
        """
        if (self.method, self.steps) != ("post", ["responses"]) or not (self.official or self.host_in(hosts)):
            return False
        return self.body.get("background") is None and self.body.get("store") is not False

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
        """Return the rule that its answer ends by: the policy's, where that is not `auto`.

        Args:
            learnt: whether this server is known to send a finish_reason with each answer.
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
        return identifier(model) if isinstance(model, str) else None  # it is logged

    @property
    def deterministic(self) -> bool:
        """Whether the same answer may be expected again: it is asked for at temperature 0, or with a seed."""
        temperature = self.body.get("temperature")
        return (type(temperature) in (int, float) and temperature == 0) or self.body.get("seed") is not None

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


class Resume(Record):
    """The rest of a stored response."""

    response_id: str
    after: int
    """The number of the last event that is already there."""
    poll: bool = False
    """It can no longer be streamed: ask for all of it, until it is complete."""
