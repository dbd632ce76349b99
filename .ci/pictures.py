"""Make the pictures of the README: run it where the package is installed, openai too.

    python .ci/pictures.py                 writes .github/stream.svg, and .github/doctor.png where there is chromium
    python .ci/pictures.py --check         writes nothing; exits with 1 if the program prints something else by now

The first one is the README's own program, with the guard off and on, against a server on loopback that cuts the stream
once. The other one is the doctor's page of a capture, as chromium shows it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

from openai_stream_guard.testing import Server, streaming

ROOT = Path(__file__).resolve().parent.parent
STREAM = ROOT / ".github" / "stream.svg"
DOCTOR = ROOT / ".github" / "doctor.png"
CAPTURE = "tests/vectors/bursts.ssecap"
TEXT = "The sky is blue because air scatters short wavelengths of light more than long ones."
CUT_AFTER = "The sky is blue because air scatters"
COLUMNS, LINE, LETTER = 92, 21, 8.43
"""Characters of a line, and the sizes of a line and a letter in pixels."""
COLORS = {"$": "#7ee787", "#": "#8b949e", "": "#e6edf3"}
"""Of a command, a remark, and what a program prints."""
PAGE_SIZE = (1000, 960)


def main() -> None:
    picture = svg(terminal())
    if "--check" not in sys.argv:
        STREAM.write_text(picture, encoding="utf-8")
        if not photograph(DOCTOR):
            print(f"{DOCTOR.name} is left as it is: there is no chromium")
        return
    if steady(picture) != steady(STREAM.read_text(encoding="utf-8")):
        sys.exit(f"{STREAM.name} shows something else than the program prints: make it again, without --check")
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / DOCTOR.name
        if photograph(again) and again.read_bytes()[:24] != DOCTOR.read_bytes()[:24]:  # a PNG's head, with its size
            sys.exit(f"{DOCTOR.name} has another size: make it again, without --check")


def terminal() -> list[str]:
    """What is typed and printed, line by line."""
    off, _ = run({})
    on, log = run({"OPENAI_STREAM_GUARD": "1"})
    return [
        "$ python ask.py",
        off,
        "$ echo $?",
        "0",
        "# Half an answer, and no exception. The same cut, with the guard:",
        "$ OPENAI_STREAM_GUARD=1 python ask.py 2>ask.log",
        on,
        "$ cat ask.log",
        log,
    ]


def run(environ: dict[str, str]) -> tuple[str, str]:
    """What the README's program prints and logs while its stream is cut once."""
    program = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)[0]
    events = list(map(event, [*re.findall(r"\s*\S+", TEXT), None]))
    with Server() as server:
        server.script(streaming(events[: len(CUT_AFTER.split())]), streaming(events))
        environ = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "none", **environ}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environ, capture_output=True, encoding="utf-8", timeout=60, check=True)
    return done.stdout.strip(), done.stderr.strip()


def event(word: str | None) -> bytes:
    """An event of a chat stream; without a word the last one."""
    delta, reason = ({}, "stop") if word is None else ({"content": word}, None)
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def svg(lines: list[str]) -> str:
    """A terminal with these lines."""
    width, height = round(COLUMNS * LETTER) + 40, len(lines) * LINE + 36
    shown = "\n".join(
        f'<text x="20" y="{34 + number * LINE}" fill="{COLORS.get(line[:1], COLORS[""])}">{escape(short(line))}</text>'
        for number, line in enumerate(lines)
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
 font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14">
<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>
{shown}
</svg>
"""


def short(line: str) -> str:
    """A line that fits."""
    return line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…"


def steady(picture: str) -> str:
    """A picture without what differs from run to run: the stream's id and the server's port."""
    return re.sub(r"stream [0-9a-f]{8}|127\.0\.0\.1[:…\d]*", "…", picture)


def photograph(picture: Path) -> bool:
    """The doctor's page, in a window of this size; False where there is no chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        command = ["openai_stream_guard", "doctor", "--from-capture", CAPTURE, "--html", str(page)]
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
        flags += [f"--window-size={PAGE_SIZE[0]},{PAGE_SIZE[1]}", f"--screenshot={picture}"]
        subprocess.run([chromium, *flags, page.as_uri()], stderr=subprocess.DEVNULL, check=True)
    return True


if __name__ == "__main__":
    main()
