"""The folder of captures: one file for each stream that broke, rewritten each time the stream breaks again.

This module decides file names, file modes and how much is kept. The file is written by the thread that reads the
stream, before the fault is reported: when the error is raised, the file exists. That takes a few milliseconds on a
local disk, in an event loop too; a network folder would block the loop for longer.

The laws that its tests keep: only entries of the folder whose names were generated here are written, read or removed;
no file is ever visible half written; whatever fails here, the stream goes on, and one WARNING says so.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from typing import Final

from ..apis.request import EndRule
from ..notices import Attempt
from .recorder import Recorder
from .recording import Capture, ReadBuffer
from .ssecap import dump

logger = logging.getLogger("openai_stream_guard")

MAX_FILES: Final = 100
MAX_BYTES: Final = 64 << 20
"""The newest files are kept, up to this number and this total size."""
_STALE_AFTER = 3600.0
"""Seconds after which an unfinished file is assumed to belong to a process that died."""
# The UTC time, so that names sort by it, and random digits, so that no two are equal. Nothing comes from the request.
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{16}\.ssecap(\.tmp)?")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_warned: set[str] = set()


class FolderRecorder(Recorder):
    """Records a stream, and writes its capture to the folder whenever an attempt breaks."""

    def __init__(self, folder: str | os.PathLike[str], credentials: Collection[str]) -> None:
        super().__init__(credentials)
        self._file = CaptureFile(os.fspath(folder))

    def attempt_closed(self, attempt: Attempt, rule: EndRule, reason: str | None, repairs: Mapping[str, int]) -> None:
        """Write the attempt, if it broke."""
        super().attempt_closed(attempt, rule, reason, repairs)
        if attempt.fault is not None:
            self._file.write(self.capture, self.stream_id)

    def stream_ended(self) -> None:
        """Let go of what was recorded, which the stream would keep for as long as it lives."""
        self.capture = replace(self.capture, attempts=())
        self._buffer = ReadBuffer()


class CaptureFile:
    """The file of one stream. It is created, and gets its name, when the stream first breaks."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._name = ""
        self._owner = 0

    def write(self, capture: Capture, stream_id: str = "-") -> None:
        """Replace the contents of the file. Never raises: a failure is logged, once for each folder."""
        fields = {"stream_id": stream_id, "stream_event": "capture"}
        try:
            self._write(capture)
        except Exception as error:  # a diagnostic must not break a stream
            if self._folder not in _warned:
                _warned.add(self._folder)
                cause = getattr(error, "strerror", None) or type(error).__name__
                logger.warning(
                    "stream %s: cannot write the capture to %r: %s", stream_id, self._folder, cause, extra=fields
                )
        else:
            path = os.path.join(self._folder, self._name)
            logger.info("stream %s capture: %r", stream_id, path, extra=fields)

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
    """Write a temporary file and rename it: a reader sees all or nothing, and a symbolic link is not followed.

    Raises:
        OSError: nothing was written, and what was there before is unchanged.
    """
    temporary = f"{path}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    with open(os.open(temporary, _NEW_FILE, 0o600), "wb") as file:
        try:
            file.write(data)
            file.close()
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _rotate(folder: str, newest: str) -> None:
    """Remove our oldest files beyond the limits, and unfinished ones of processes that died."""
    sizes: dict[str, int] = {}
    for name in os.listdir(folder):
        if (match := _NAME.fullmatch(name)) is None:
            continue
        try:
            found = os.lstat(os.path.join(folder, name))
        except FileNotFoundError:
            continue  # another process has removed it
        if match[1] is None:
            sizes[name] = found.st_size
        elif time.time() - found.st_mtime > _STALE_AFTER:
            _remove(folder, name)
    total = sizes.pop(newest, 0)
    for count, name in enumerate(sorted(sizes, reverse=True), 2):
        total += sizes[name]
        if count > MAX_FILES or total > MAX_BYTES:
            _remove(folder, name)


def _remove(folder: str, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, name))


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that make a capture."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("openai-stream-guard", "openai"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    found.setdefault("openai", getattr(sys.modules.get("openai"), "__version__", "unknown"))
    return found
