"""What the guard keeps between two calls, in one object; and the list of all state that is global.

| where | what | why it is global |
|---|---|---|
| `sdk.runtime.RUNTIME` | what was learnt about hosts, plans for items, the request that is being sent, test hooks \
| the SDK's methods are patched once for all clients |
| `activation` | mode and policy of the process, the policy of a `guarding` block, what was patched | read for every \
request |
| `transport.clock.current` | the time that new streams run by | replaced by tests |
| `transport.cancelling` | streams that were asked for in the background and are open, and the thread and tasks that \
cancel | a stream may be left when nothing else of the program is at hand |
| `observability.publish.attached` | who hears of every stream | set by tests |
| `capture.folder` | folders that could not be written, the versions that captures name | one warning a folder |
| `errors`, `testing.faults` | classes that were joined or derived at run time (`functools` caches) | \
`type(error)` can be compared |
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from ..engine.host_memory import HostMemory
from .items import ItemPlans

if TYPE_CHECKING:
    from ..engine.decisions import Reissue
    from ..engine.observer import SessionObserver
    from .requests import OriginalRequest
    from .test_hooks import SentBy, TestHook


class Runtime:
    """The state of the SDK's side of the guard.

    The context variables are set for the time of one call of the SDK, and never across a `yield`.
    """

    def __init__(self) -> None:
        self.hosts = HostMemory()
        """What this process has learnt about servers."""
        self.item_plans = ItemPlans()
        """How items are built without the SDK."""
        self.new_observer: Callable[[Collection[str]], SessionObserver] | None = None
        """Makes an observer for each stream, see `observers_from`."""
        self.request: ContextVar[OriginalRequest | None] = ContextVar("openai_stream_guard_request", default=None)
        """The streaming request that is being sent."""
        self.reissue: ContextVar[Reissue | None] = ContextVar("openai_stream_guard_reissue", default=None)
        """Why a request is being sent again; such a request does not begin a guarded stream of its own."""
        self.test_hooks: list[TestHook] = []
        """What tests have set; the last one is asked first."""
        self.sent_by: ContextVar[SentBy | None] = ContextVar("openai_stream_guard_sent_by", default=None)
        """For test hooks: who sends the streaming request that is being sent."""

    @contextmanager
    def observers_from(self, new_observer: Callable[[Collection[str]], SessionObserver]) -> Iterator[None]:
        """Let this function make the observer of each stream that is opened inside the `with` block.

        It is called with what the request was authenticated with.
        """
        before, self.new_observer = self.new_observer, new_observer
        try:
            yield
        finally:
            self.new_observer = before


RUNTIME = Runtime()
