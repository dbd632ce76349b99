"""The doctor's page: whole in a real browser at every width, in light and dark, and deaf to what a server says."""

from __future__ import annotations

import functools
import html
import http.server
import json
import re
import shutil
import stat
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from openai_stream_guard.capture.ssecap import dump
from openai_stream_guard.cli import main
from openai_stream_guard.cli.doctor.html_view import page
from openai_stream_guard.cli.doctor.report import Report
from tests.support.examined import CHUNKED, DONE, HEALTHY, SECRET, STOP, WORDS, chunk, paced, recorded, refused, seen

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (375, 800, 1280)
EVIL = "</title></style><script>console.log('evil')</script><img src=x onerror=\"console.log('evil')\">\x1b\u202e{}"
GLUED = chunk()[:-2] + b"\n" + chunk()

STREAMS = (
    seen(HEALTHY, headers={**CHUNKED, "server": EVIL, "via": "x" * 200}, headers_at=0.8),
    seen([(1.0, WORDS[0]), (9.0, b"".join([*WORDS * 4, STOP, DONE]))], headers={**CHUNKED, "server": "nginx"}),
    seen(paced([*WORDS[:9], GLUED, b": wait\n\n", *WORDS[:3]], 0.07), "unterminated", end_at=2.5),
    seen([], headers={}),
    seen(paced([WORDS[0]] * 1500, 0.001), "left"),
    refused(502, server=EVIL),
)
REPORT = Report(f"http://h/v1/{'very-long-' * 20}", "chat", EVIL, 2, STREAMS, "2026-11-23T01:12:10+00:00", EVIL)

# What the page is asked, from a page around it: a page with a script of its own would be another page.
HARNESS = """<!doctype html><meta charset="utf-8"><body>{frames}<pre id="told"></pre><script>
const inside = (inner, outer) => inner.left >= outer.left - 1 && inner.right <= outer.right + 1
  && inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1;
const meet = (one, other) => one.left < other.right - 1 && other.left < one.right - 1
  && one.top < other.bottom - 1 && other.top < one.bottom - 1;
const colors = (page, name) => {{
  const element = page.querySelector(name), style = element && page.defaultView.getComputedStyle(element);
  return style && style.color;
}};
const look = (frame) => {{
  const page = frame.contentDocument, root = page.documentElement;
  page.querySelectorAll("details").forEach((details) => {{ details.open = true; }});
  return {{
    width: root.clientWidth,
    overflow: root.scrollWidth - root.clientWidth,
    wide: [...page.querySelectorAll("body *")].filter((e) => !e.closest(".wide") && !e.closest("svg")
      && e.getBoundingClientRect().right > root.clientWidth + 1).map((e) => e.outerHTML.slice(0, 80)),
    charts: [...page.querySelectorAll("svg.chart")].map((svg) => ({{
      events: svg.querySelectorAll(".event").length,
      reads: svg.querySelectorAll(".read").length,
      repairs: svg.querySelectorAll(".repair").length,
      gaps: svg.querySelectorAll(".gap").length,
      ends: [...svg.querySelectorAll(".end")].map((end) => end.getAttribute("class")),
      outside: [...svg.querySelectorAll("*")].filter((e) => !inside(e.getBoundingClientRect(),
        svg.getBoundingClientRect()) && e.localName != "title").map((e) => e.outerHTML.slice(0, 80)),
      tall: svg.getBoundingClientRect().height,
      overlapping: [...svg.querySelectorAll("text")].flatMap((one, place, all) => all.slice(place + 1)
        .filter((other) => meet(one.getBoundingClientRect(), other.getBoundingClientRect()))
        .map((other) => one.textContent + " | " + other.textContent)),
    }})),
    legend: Boolean(page.querySelector(".legend").compareDocumentPosition(page.querySelector(".stream"))
      & Node.DOCUMENT_POSITION_FOLLOWING),
    marks: [...page.querySelectorAll(".legend .mark")].map((mark) => mark.getBoundingClientRect())
      .filter((mark) => mark.width > 0 && mark.height > 0).length,
    strangers: page.querySelectorAll("script, img, iframe, object, link[rel=stylesheet]").length,
    card: page.defaultView.getComputedStyle(page.querySelector("header")).backgroundColor,
    ink: {{text: colors(page, "h1"), soft: colors(page, "dt"), bad: colors(page, ".unhealthy"),
      good: colors(page, ".state.whole"), warn: colors(page, ".warning .severity")}},
  }};
}};
onload = () => {{
  console.log("harness ran");
  document.getElementById("told").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(look));
}};
</script>"""


def browsed(folder: Path, scheme: str) -> tuple[list[dict[str, Any]], list[str]]:
    """What the page looks like at each width, and what the browser's console said."""
    assert BROWSER is not None
    frames = "".join(
        f'<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>' for width in WIDTHS
    )
    (folder / "harness.html").write_text(HARNESS.format(frames=frames), encoding="utf-8")
    (folder / "page.html").write_text(page(REPORT), encoding="utf-8")
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/harness.html"
        try:
            done = subprocess.run(
                [
                    BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr",
                    "--window-size=1400,1000",
                    f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
                    f"--user-data-dir={folder / 'profile'}", "--dump-dom", url,
                ],
                capture_output=True, text=True, timeout=55, check=True,
            )  # fmt: skip
        finally:
            server.shutdown()
            thread.join(5)
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told is not None, done.stdout[-500:]
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(told[1])), said


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Not to the terminal."""


@pytest.fixture(params=["light", "dark"])
def look(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, list[dict[str, Any]], list[str]]:
    """The page as the browser shows it, in one color scheme."""
    if BROWSER is None:
        pytest.skip("no chromium here: apt-get install chromium")
    widths, console = browsed(tmp_path, request.param)
    return request.param, widths, console


def test_the_page_is_whole_in_a_browser(look: tuple[str, list[dict[str, Any]], list[str]]) -> None:
    """At each width: nothing wider than the screen, every read, event, repair and end drawn, and inside its chart."""
    scheme, widths, console = look
    assert [one["width"] for one in widths] == list(WIDTHS)
    drawn = [stream for stream in STREAMS if stream.answered]
    for one in widths:
        assert (one["overflow"], one["wide"]) == (0, [])
        assert [chart["events"] for chart in one["charts"]] == [
            sum(len(step.payloads) for step in stream.steps) for stream in drawn
        ]
        assert [chart["reads"] for chart in one["charts"]] == [len(stream.recording.reads) for stream in drawn]
        assert [chart["repairs"] for chart in one["charts"]] == [0, 0, 1, 0, 0]
        assert [chart["gaps"] for chart in one["charts"]] == [1, 2, 1, 0, 0]
        assert [chart["ends"] for chart in one["charts"]] == [["end whole"]] * 2 + [["end broken"]] * 3
        assert [chart["outside"] for chart in one["charts"]] == [[]] * 5
        assert [chart["overlapping"] for chart in one["charts"]] == [[]] * 5
        assert (one["legend"], one["marks"]) == (True, 8)
        assert max(chart["tall"] for chart in one["charts"]) < 250
        assert one["strangers"] == 0
    assert len(console) == 1, console
    assert "harness ran" in console[0]
    for name, client_kind in widths[0]["ink"].items():
        assert contrast(client_kind, widths[0]["card"]) >= 4.5, name
    assert (luminance(widths[0]["card"]) < 0.2) is (scheme == "dark")


def luminance(client_kind: str) -> float:
    """Of a CSS `rgb(…)`, as WCAG defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", client_kind)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.1, which wants 4.5 for text."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


class Tags(HTMLParser):
    """Every element, and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in ("meta", "link", "line", "circle", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "rect"):
            assert self.open.pop() == tag


def test_the_page_is_one_file_and_holds_no_answer() -> None:
    """Every element is closed, nothing is loaded, no script is there, and no text of an answer."""
    text, tags = page(REPORT), Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.names.isdisjoint({"script", "img", "iframe", "object"})
    assert tags.links == ["data:,"]
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert SECRET not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    for finding in REPORT.findings:
        assert finding.name in text


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands there when the command ends, and a disk that is full leaves what was there before."""
    capture, report = tmp_path / "x.ssecap", tmp_path / "report.html"
    capture.write_bytes(dump(recorded(HEALTHY)))
    assert main(["doctor", "--from-capture", str(capture), "--html", str(report)]) == 0
    before = report.read_text(encoding="utf-8")
    assert before.startswith("<!doctype html>")
    assert before.endswith("</html>\n")
    assert stat.S_IMODE(report.stat().st_mode) == 0o600

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openai_stream_guard.capture.folder.os.replace", full)
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--from-capture", str(capture), "--html", str(report)])
    assert caught.value.code == 2
    assert report.read_text(encoding="utf-8") == before
    assert {path.name for path in tmp_path.iterdir()} == {"x.ssecap", "report.html"}
