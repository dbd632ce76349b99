"""How tests call a command of this package in their own process."""

from __future__ import annotations

import pytest

from openai_stream_guard.cli import main


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says on stderr that was given something wrong: it exits with 2, and prints nothing else."""
    with pytest.raises(SystemExit) as caught:
        main([*arguments])
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    return output.err
