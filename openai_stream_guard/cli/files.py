"""Captures in, reports out: every failure is one sentence that names the file."""

from __future__ import annotations

import os
from pathlib import Path

from ..capture.folder import write_whole
from ..capture.json_line import NotACapture
from ..capture.recording import Capture
from ..capture.ssecap import MOST_FILE_BYTES, load


def read_capture(path: str) -> Capture:
    """The capture in a file. Raises `ValueError`."""
    try:
        with open(path, "rb") as file:
            return load(file.read(MOST_FILE_BYTES + 1))
    except NotACapture as error:
        raise ValueError(f"{path}: {error}") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or type(error).__name__}") from None


def check_writable(path: str) -> None:
    """Say now what writing would say later, after requests that cost. Raises `ValueError`."""
    target = Path(path)
    folder = target.parent
    if target.exists() and not target.is_file():
        raise ValueError(f"{path}: not a file")
    if not folder.is_dir():
        raise ValueError(f"{path}: there is no folder {str(folder)!r}")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{path}: the folder {str(folder)!r} cannot be written to")


def write_text(path: str, text: str) -> None:
    """Write the file, all of it or nothing. Raises `ValueError`."""
    try:
        write_whole(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or type(error).__name__}") from None
