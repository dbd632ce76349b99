"""The law: what the page says of the doctor is what it prints, finds and sends."""

from __future__ import annotations

import re

import pytest

from openai_stream_guard.cli import main
from openai_stream_guard.cli.doctor import probe
from openai_stream_guard.cli.doctor.findings import CHECKS, TOO_LITTLE
from openai_stream_guard.cli.doctor.proxy_settings import LINES
from openai_stream_guard.cli.doctor.report import Report
from openai_stream_guard.diagnosis import causes as hints
from tests.support.examined import HEALTHY, seen
from tests.support.pages import DOCTOR, ROOT, read

SECTION = read(DOCTOR)
SPACED = " ".join(SECTION.split())


def test_the_sample_is_what_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """To the letter, by the command above it."""
    (sample,) = re.findall(r"```text\n\$ openai-stream-guard (.*?)\n(.*?)\n```", SECTION, re.DOTALL)
    monkeypatch.chdir(ROOT)
    assert main(sample[0].split()) == 1
    assert capsys.readouterr().out.rstrip("\n") == sample[1]


def test_the_table_has_every_finding() -> None:
    """The doctor's own rows, then those of `hints` for whole streams, and one for all that explain a fault."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", SECTION, re.MULTILINE)
    own = [(check.name, check.severity) for check in (*CHECKS, TOO_LITTLE)]
    whole = [row for row in hints.CAUSES if None in row.faults]
    expected = own + [(row.name, "warning" if row.name == "compressed" else "problem") for row in whole]
    order = ("problem", "warning", "note")
    assert [row[:2] for row in rows] == sorted(expected, key=lambda row: order.index(row[1]))
    assert all(said for *_, said in rows)
    assert "| any cause of a broken stream, such as `idle_cut` | problem |" in SECTION


def test_the_fields_of_the_json_are_named() -> None:
    """Every one that is printed, at every level but the figures."""
    told = Report("s", "chat", "m", 2, (seen(HEALTHY, headers={}),)).as_json()
    stream = told["streams"][0]
    for name in {*told, *told["findings"][0], *stream, *stream["reads"][0]}:
        assert f"`{name}`" in SECTION, name


def test_the_bounds_are_those_of_the_code() -> None:
    """Requests, tokens, bytes, and the products that lines are for."""
    assert len(probe.REQUESTS) == 2
    assert f"two requests of at most {probe.MAX_TOKENS} tokens each" in SPACED
    assert f"{probe.MAX_BYTES >> 10} KiB" in SECTION
    assert all(product in SECTION for product in LINES["buffering"])
