"""What may reach a terminal, and when in colour."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

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
