"""What may reach a terminal, and when in colour.

Captures in, reports out: every failure is one sentence that names the file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from ..capture.folder import write_whole
from ..capture.json_line import NotACapture
from ..capture.recording import Capture
from ..capture.ssecap import MAX_FILE_BYTES, load

GREEN: Final = "32"
RED: Final = "31"
YELLOW: Final = "33"
BOLD: Final = "1"
DIM: Final = "2"


def harmless(line: str) -> str:
    """The line without what would move a terminal's cursor: words from a server or a file may be anybody's."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def in_colour(stream: Any = None) -> bool:
    """Whether a person sees colours there, and wants them (https://no-color.org)."""
    seen = (stream or sys.stdout).isatty()
    return bool(seen) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    """The text in a colour where a person sees it on a terminal, and plain elsewhere."""
    return f"\x1b[{colour}m{text}\x1b[0m" if in_colour() else text


def read_capture(path: str) -> Capture:
    """The capture in a file. Raises `ValueError`."""
    try:
        with open(path, "rb") as file:
            return load(file.read(MAX_FILE_BYTES + 1))
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
