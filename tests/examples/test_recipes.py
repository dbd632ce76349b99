"""The recipes beside this file do what README.md says of them: each is run, over real sockets and in real processes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from openai_stream_guard import OpenAIStreamParseError
from openai_stream_guard.cli.doctor.proxy_settings import LINES
from openai_stream_guard.testing import Server, StreamGuard
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.examples.tool_loop import answer
from tests.support.pages import programs
from tests.support.running import find, free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = HERE / "README.md"


@pytest.fixture
def api() -> Iterator[Server]:
    """OpenAI's API, on loopback."""
    with Server() as server:
        yield server


def test_the_page_quotes_the_files() -> None:
    """Each line of its blocks of code, but for `...`, is a line of a file that it is about."""
    files = [HERE / name for name in ("tool_loop.py", "tasks.py", "nginx.conf")]
    known = {line.partition("#")[0].strip() for file in files for line in file.read_text("utf-8").splitlines()}
    quoted = [
        line.strip()
        for language in ("python", "nginx")
        for text in programs(PAGE, language)
        for line in text.splitlines()
    ]
    assert len(quoted) > 8
    assert set(quoted) - known == {"..."}


# The tool loop.


def test_a_call_that_is_cut_is_run_once_and_whole(stream_guard: StreamGuard, api: Server) -> None:
    """It is asked for again from the start, and the answer that follows is returned."""
    ran = []

    def get_weather(**arguments: object) -> str:
        ran.append(arguments)
        return "sunny"

    api.script("one_call", "one_call", "text")
    stream_guard.faults.cut(on="tool_call", after_events=1)
    with OpenAI(base_url=api.base_url, api_key="none") as client:
        assert answer(client, [], {"get_weather": get_weather}, []) == TEXT
    assert ran == [{"city": "Zürich", "unit": "celsius", "days": [1, 2, 3]}]
    assert [message["role"] for message in api.requests[-1].body["messages"]] == ["assistant", "tool"]
    assert [sent.way for sent in stream_guard.requests] == [None, "restart", None]


def test_no_call_of_a_stream_that_failed_is_run(stream_guard: StreamGuard, api: Server) -> None:
    """The error is raised before any of them."""
    api.reset(answer="one_call")
    stream_guard.faults.cut(on="tool_call", after_events=1, times=None)
    with OpenAI(base_url=api.base_url, api_key="none") as client, pytest.raises(OpenAIStreamParseError):
        answer(client, [], {}, [])


# Programs of their own.


@contextmanager
def started(api: Server, *command: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A guarded program in the root of the repository, killed at the end."""
    settings = {"OPENAI_STREAM_GUARD": "1", "OPENAI_BASE_URL": api.base_url, "OPENAI_API_KEY": "none", **environ}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**kept, "PYTHONUTF8": "1", **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def eventually(look: Callable[[], str | None], program: subprocess.Popen[str]) -> str:
    """What this finds, once it does; a program that has ended shows what it printed."""
    end = time.monotonic() + 40
    while time.monotonic() < end and program.poll() is None:
        found = look()
        if found is not None:
            return found
        time.sleep(0.05)
    program.terminate()
    pytest.fail(program.communicate(timeout=20)[0])


@pytest.mark.slow
def test_celery_recovers_in_a_forked_worker(api: Server, tmp_path: Path) -> None:
    """A task whose stream is cut returns the whole text, though the second answer is another one."""
    pytest.importorskip("celery", reason="celery is not installed: nox -f .ci/noxfile.py -s examples")
    for name in ("messages", "results"):
        (tmp_path / name).mkdir()
    folders = {name: str(tmp_path / "messages") for name in ("data_folder_in", "data_folder_out", "control_folder")}
    (tmp_path / "celeryconfig.py").write_text(f"broker_transport_options = {folders}")
    settings = {
        "CELERY_BROKER_URL": "filesystem://",
        "CELERY_RESULT_BACKEND": f"file://{tmp_path / 'results'}",
        "CELERY_CONFIG_MODULE": "celeryconfig",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
    }
    ask = (
        "from tests.examples.tasks import app, summarise\n"
        "app.config_from_object('celeryconfig')\n"
        "print(summarise.delay('trams').get(timeout=40))"
    )
    worker = (
        "-c",
        "from tests.examples.tasks import app\n"
        "app.config_from_object('celeryconfig')\n"
        "app.worker_main(['worker', '--pool', 'prefork', '--concurrency', '1', '--loglevel', 'INFO'])",
    )
    api.script("truncate_clean", after=6)
    with started(api, *worker, **settings), started(api, "-c", ask, **settings) as program:
        assert program.communicate(timeout=50)[0].strip() == TEXT
    assert len(api.requests) == 2


@pytest.mark.slow
def test_prometheus_gets_what_the_alerts_are_about(api: Server) -> None:
    """Every series that a rule of alerts.yml names is there after a stream that recovered, and one that failed."""
    exporter = "opentelemetry.exporter.prometheus"
    pytest.importorskip(exporter, reason="it is not installed: pip install -e '.[test]'")
    port = free_port()
    program = ("-c", f"from tests.examples import metrics\nmetrics.PORT = {port}\nmetrics.main()")
    with started(api, *program) as process:
        assert process.stdin is not None
        api.script("truncate_clean", after=6)
        process.stdin.write("why?\n")
        process.stdin.flush()

        def scrape() -> str | None:
            try:
                text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            except httpx.ConnectError:
                return None
            return text if "openai_stream_guard_streams_total{" in text else None

        scraped = eventually(scrape, process)
    rules = (HERE / "alerts.yml").read_text(encoding="utf-8")
    series = set(re.findall(r"\b(openai_stream_guard_\w+?(?:_total|_bucket))\b", rules))
    assert len(series) == 4
    for name in series:
        assert re.search(rf"^{name}\{{", scraped, re.MULTILINE), name
    for label in ("openai_stream_guard_outcome", "openai_stream_guard_way", "error_type", "server_address", "le"):
        assert re.search(rf"\b{label}\b", rules)
        assert f'{label}="' in scraped


# Behind nginx, and in a browser.


def test_nginx_has_the_lines_that_help() -> None:
    """Those of the doctor for buffering, silence and a hidden end; tests/compatibility/proxies streams through them."""
    directives = set(re.findall(r"^ +(\w+ [^;#{]+);", (HERE / "nginx.conf").read_text(encoding="utf-8"), re.MULTILINE))
    advised = {line.strip() for topic in ("buffering", "idle") for line in LINES[topic]["nginx"].split(";")} - {""}
    assert directives - {"proxy_pass http://127.0.0.1:8000"} == advised


def test_nginx_takes_them(tmp_path: Path) -> None:
    """nginx itself finds nothing wrong in the file."""
    nginx = find("nginx")
    if nginx is None:
        pytest.skip("nginx is not installed: nox -f .ci/noxfile.py -s proxies")
    shutil.copy(HERE / "nginx.conf", tmp_path / "location.conf")
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} "
        f"http {{ access_log off; server {{ listen 127.0.0.1:{free_port()}; include {tmp_path}/location.conf; }} }}"
    )
    done = subprocess.run([nginx, "-t", "-c", str(config)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("guard", ["1", "0"])
def test_in_a_browser(guard: str) -> None:
    """The page of `python -m tests.examples`: half an answer and no word about it, or the whole one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright: nox -f .ci/noxfile.py -s examples")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    port = free_port()
    program = ("-c", f"from tests.examples import __main__ as service\nservice.PORT = {port}\nservice.main()")
    with Server() as unused, started(unused, *program, OPENAI_STREAM_GUARD=guard) as process:

        def listening() -> str | None:
            with contextlib.suppress(httpx.ConnectError):
                return httpx.get(f"http://127.0.0.1:{port}/").text
            return None

        assert "<title>Chat</title>" in eventually(listening, process)
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            page.fill("#question", "Why?")
            page.click("button")
            page.wait_for_function("byId('status').textContent === ''", timeout=20_000)
            shown = page.text_content("#answer")
            browser.close()
    assert shown == TEXT if guard == "1" else TEXT.startswith(shown) and 0 < len(shown) < len(TEXT)
