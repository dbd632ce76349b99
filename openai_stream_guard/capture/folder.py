"""The folder of captures: a file for each stream that broke, rewritten when it breaks again.

Decides names, modes and how much is kept. A file is written by the thread that reads the stream, before the fault is
told of: when the error is raised, it is there. That is a few milliseconds on a local disk, also in an event loop; a
network folder would hold a loop up.
The laws its tests keep: nothing is written, read or removed but entries of the folder with names of our own making; no
file is ever seen half written; whatever fails here, the stream goes on, and one WARNING says so.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from typing import Any, Final

from ..notices import Ended, FaultSeen, Notice
from .recorder import RecordedSession
from .recording import Capture
from .ssecap import dump

logger = logging.getLogger("openai_stream_guard")

MAX_FILES: Final = 100
MAX_BYTES: Final = 64 << 20
"""What a folder keeps: the newest files, as long as there are no more and they hold no more."""
_LEFT_OVER_AFTER = 3600.0
"""Seconds after which an unfinished file is one that its process did not live to finish."""
# The time in UTC, so that names sort by it, and random letters, so that no two are the same. Nothing of the request.
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{16}\.ssecap(\.tmp)?")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_warned: set[str] = set()


def captured_session(
    folder: str | os.PathLike[str],
    *arguments: Any,
    notify: Callable[[Notice], None],
    **options: Any,
) -> RecordedSession:
    """A session that writes its recording to the folder whenever an attempt breaks.

    Args:
        arguments, notify, options: as a `RecordedSession` takes them.
    """
    file = CaptureFile(os.fspath(folder))

    def hear(notice: Notice) -> None:
        if isinstance(notice, FaultSeen):
            file.write(session.capture)
        notify(notice)
        if isinstance(notice, Ended):
            session.forget()

    session = RecordedSession(*arguments, notify=hear, **options)
    return session


class CaptureFile:
    """The file of one stream; it has no name before it is first written."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._name = ""
        self._owner = 0

    def write(self, capture: Capture) -> None:
        """Put all that was recorded in the place of what was written before. Raises nothing."""
        try:
            self._write(capture)
        except Exception as error:  # a diagnosis must not be what breaks a stream
            if self._folder not in _warned:
                _warned.add(self._folder)
                kind = type(error).__name__
                reason = getattr(error, "strerror", None) or "no more is known"
                logger.warning("faults are not captured in %r: %s (%s)", self._folder, reason, kind)
        else:
            logger.info("the fault is captured in %r", os.path.join(self._folder, self._name))

    def _write(self, capture: Capture) -> None:
        now = datetime.now(timezone.utc)
        if self._owner != os.getpid():  # a forked child writes a file of its own
            self._owner = os.getpid()
            self._name = f"{now:%Y%m%dT%H%M%S.%fZ}-{os.urandom(8).hex()}.ssecap"
        data = dump(replace(capture, written=now.isoformat(timespec="seconds"), made_by=versions()))
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        path = os.path.join(self._folder, self._name)
        write_whole(path, data)
        _rotate(self._folder, self._name)


def write_whole(path: str, data: bytes) -> None:
    """Write beside the path and rename: who may look there sees all or nothing, and a link there is not followed."""
    beside = f"{path}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(beside)
    with open(os.open(beside, _NEW_FILE, 0o600), "wb") as file:
        try:
            file.write(data)
            file.close()
            os.replace(beside, path)
        except BaseException:
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                os.unlink(beside)
            raise


def _rotate(folder: str, newest: str) -> None:
    """Remove the oldest files of ours beyond the bounds, and what others have left unfinished."""
    sizes: dict[str, int] = {}
    for name in os.listdir(folder):
        if (match := _NAME.fullmatch(name)) is None:
            continue
        try:
            found = os.lstat(os.path.join(folder, name))
        except FileNotFoundError:
            continue  # another process rotates too
        if match[1] is None:
            sizes[name] = found.st_size
        elif time.time() - found.st_mtime > _LEFT_OVER_AFTER:
            _remove(folder, name)
    left = sizes.pop(newest, 0)
    for kept, name in enumerate(sorted(sizes, reverse=True), 2):
        left += sizes[name]
        if kept > MAX_FILES or left > MAX_BYTES:
            _remove(folder, name)


def _remove(folder: str, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, name))


@cache
def versions() -> dict[str, str]:
    """What a capture's maker runs."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("openai-stream-guard", "openai"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    found.setdefault("openai", getattr(sys.modules.get("openai"), "__version__", "unknown"))
    return found
