"""The law: every planted error of `python -m tests.proof.planted` can be planted, and has tests that should find it."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from .planted import BEHAVIOUR, PACKAGE, PLANTED, ROOT, Planted


@pytest.mark.parametrize("error", PLANTED, ids=[f"{error.file}: {error.effect}" for error in PLANTED])
def test_a_planted_text_stands_once_and_changes_the_program(error: Planted) -> None:
    """Else the list would rot: an error that cannot be planted would count as found, or as nothing."""
    text = (ROOT / PACKAGE / error.file).read_text("utf-8")
    assert text.count(error.old) == 1
    compile(text.replace(error.old, error.new), error.file, "exec")
    path, _, name = error.found_by.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / path).read_text("utf-8"), re.MULTILINE), name


def test_every_room_has_its_share() -> None:
    """Fifty errors at least, and no room without."""
    assert len(PLANTED) >= 50
    assert min(Counter(error.file.partition("/")[0] for error in PLANTED)[room] for room in BEHAVIOUR) >= 5
