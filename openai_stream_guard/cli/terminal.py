"""What the commands read and write: captures in, text and pages out.

Every failure to read or write a file is a `ValueError` with one sentence that names the file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, TextIO

from ..capture.folder import write_whole
from ..capture.json_line import NotACapture
from ..capture.recording import Capture
from ..capture.ssecap import MAX_FILE_BYTES, load

GREEN: Final = "32"
RED: Final = "31"
YELLOW: Final = "33"
BOLD: Final = "1"
DIM: Final = "2"


def printable(line: str) -> str:
    """Return the line with control characters escaped, so that text from a server or a file cannot steer a terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def shows_color(stream: TextIO | None = None) -> bool:
    """Return whether the stream (standard output by default) is a terminal whose user wants color.

    See https://no-color.org.
    """
    is_terminal = (stream or sys.stdout).isatty()
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, color: str) -> str:
    """Return the text in a color, if standard output shows color."""
    return f"\x1b[{color}m{text}\x1b[0m" if shows_color() else text


def can_print(text: str) -> bool:
    """Return whether standard output has these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def read_capture(path: str) -> Capture:
    """Return the capture in a file. Raises `ValueError`."""
    try:
        with open(path, "rb") as file:
            return load(file.read(MAX_FILE_BYTES + 1))
    except NotACapture as error:
        raise ValueError(f"{path}: {error}") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or type(error).__name__}") from None


def check_writable(path: str) -> None:
    """Find out whether a file can be written, before requests are sent that cost money. Raises `ValueError`."""
    target = Path(path)
    folder = target.parent
    if target.exists() and not target.is_file():
        raise ValueError(f"{path}: not a file")
    if not folder.is_dir():
        raise ValueError(f"{path}: there is no folder {str(folder)!r}")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{path}: cannot write to the folder {str(folder)!r}")


def write_text(path: str, text: str) -> None:
    """Write a file, all of it or nothing. Raises `ValueError`."""
    try:
        write_whole(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or type(error).__name__}") from None
