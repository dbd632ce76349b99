"""The law: however a program is started, its streams are guarded, or it is said here and in the README that not.

Each test starts programs in processes of their own, which import this package as it is installed: run from a built
wheel, it is the wheel that is tested. What needs a package that is not installed is skipped.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import zipapp
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.programs import ANSWER, ENDED_EARLY, INSTALLED, NAME, PRINT, ROOT, environment, needs, run, whole

pytestmark = pytest.mark.slow

IMPORT = "import openai_stream_guard\n"
RUN = ("-m", "openai_stream_guard", "run")
METHODS = ("fork", "spawn", "forkserver")
AUTOWRAPT = {"AUTOWRAPT_BOOTSTRAP": "openai_stream_guard"}
AUTOWRAPT_IS_THERE = INSTALLED and importlib.util.find_spec("autowrapt") is not None
ON = {"OPENAI_STREAM_GUARD": "1"}
IN_A_CHILD = (
    ANSWER
    + """
import multiprocessing, sys
if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(ascii(pool.apply(answer)))
"""
)
SPENT = """
from openai_stream_guard import sdk
host = os.environ["SERVER"].split("/")[2]
from openai_stream_guard.engine.host_queue import Ticket
budget = sdk.RUNTIME.hosts.budget
while budget.request(Ticket(host, needs_token=True, lends=False), 0.0, outage_timeout=0) is None:
    pass
"""
WHILE_IMPORTING = """
import threading
thread = threading.Thread(target=__import__, args=("openai",))
thread.start()
import openai_stream_guard
thread.join()
"""
WSGI = """
def app(environ, start_response):
    body = ascii(answer()).encode()
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", str(len(body)))])
    return [body]
"""
ASGI = """
import asyncio
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = ascii(await asyncio.to_thread(answer)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def broken(server: Server) -> Server:
    """A server whose every other answer, the first included, ends early."""
    server.script(*[ENDED_EARLY, None] * 10)
    return server


def save(folder: Path, text: str, name: str = "program.py") -> Path:
    """A program in a file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_it_is_the_installed_package_that_is_tested(tmp_path: Path) -> None:
    """The programs import what is installed in this environment: a wheel from there, an editable one from here."""
    done = run("-c", "import openai_stream_guard as g; print(g.__file__)", cwd=tmp_path)
    told = metadata.distribution(NAME).read_text("direct_url.json") if INSTALLED else None
    editable = not INSTALLED or json.loads(told or "{}").get("dir_info", {}).get("editable", False)
    place = ROOT if editable else Path(sysconfig.get_path("purelib"))
    assert Path(done.stdout.strip()).is_relative_to(place), done.stderr


ORDERS = {
    "guard first": IMPORT + PRINT,
    "guard last": PRINT.replace("from openai import OpenAI\n", f"from openai import OpenAI\n{IMPORT}"),
    "guard before the first stream": ANSWER + IMPORT + "print(ascii(answer()))",
    "while another thread imports openai": WHILE_IMPORTING + PRINT,
}


@pytest.mark.parametrize("order", ORDERS)
def test_an_import(tmp_path: Path, broken: Server, order: str) -> None:
    """Before or after `import openai`, or while another thread is at it."""
    save(tmp_path, ORDERS[order])
    assert whole(broken, run("program.py", cwd=tmp_path, SERVER=broken.base_url, **ON))


@pytest.mark.parametrize("option", ["-O", "-I", "-E"])
def test_the_options_of_python(tmp_path: Path, broken: Server, option: str) -> None:
    """None of them takes the guard away; the variable is not one of those that `-I` and `-E` ignore."""
    if not INSTALLED and option in ("-I", "-E"):
        pytest.skip(f"{NAME} is not installed, and PYTHONPATH is ignored")
    save(tmp_path, IMPORT + PRINT)
    assert whole(broken, run(option, "program.py", cwd=tmp_path, SERVER=broken.base_url, **ON))


def test_without_site(tmp_path: Path, broken: Server) -> None:
    """With `-S` there are no installed packages, hence no autowrapt; where the path is set, the import works."""
    save(tmp_path, IMPORT + PRINT)
    path = os.pathsep.join([sysconfig.get_path("purelib"), *([] if INSTALLED else [str(ROOT)])])
    done = run("-S", "program.py", cwd=tmp_path, SERVER=broken.base_url, PYTHONPATH=path, **ON)
    if "No module named 'openai_stream_guard'" in done.stderr:
        pytest.skip(f"{NAME} is installed editable, which needs site")
    assert whole(broken, done)


def test_a_zip_archive(tmp_path: Path, broken: Server) -> None:
    """The program may be a zipapp, and the package in the zipapp, too."""
    source = tmp_path / "source"
    source.mkdir()
    save(source, IMPORT + PRINT, "__main__.py")
    package = Path(run("-c", "import openai_stream_guard as g; print(g.__file__)", cwd=tmp_path).stdout.strip()).parent
    for path in package.rglob("*.py"):
        target = source / "openai_stream_guard" / path.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    zipapp.create_archive(source, tmp_path / "program.pyz")
    assert whole(broken, run("program.pyz", cwd=tmp_path, SERVER=broken.base_url, **ON))


@pytest.mark.parametrize("method", METHODS)
def test_a_child_of_a_program_that_imports_the_guard(tmp_path: Path, broken: Server, method: str) -> None:
    """A forked child inherits the guard, others import the main module again."""
    save(tmp_path, IMPORT + IN_A_CHILD)
    assert whole(broken, run("program.py", method, cwd=tmp_path, SERVER=broken.base_url, **ON))


@pytest.mark.parametrize("method", METHODS)
def test_a_child_of_a_program_that_is_run(tmp_path: Path, broken: Server, method: str) -> None:
    """A forked child inherits the guard; others are guarded where autowrapt is installed, and else `run` says not."""
    save(tmp_path, IN_A_CHILD)
    done = run(*RUN, "program.py", method, cwd=tmp_path, SERVER=broken.base_url)
    reached = method == "fork" or AUTOWRAPT_IS_THERE
    assert done.stderr.count("NOT guarded; install autowrapt") == (not reached), done.stderr
    done.stderr = "\n".join(line for line in done.stderr.splitlines() if "install autowrapt" not in line)
    assert whole(broken, done) is reached


def test_a_forked_child_has_a_budget_of_its_own(tmp_path: Path, broken: Server) -> None:
    """What its parent has spent is not spent for it."""
    save(tmp_path, IMPORT + IN_A_CHILD.replace("    with", SPENT.replace("\n", "\n    ") + "\n    with"))
    assert whole(broken, run("program.py", "fork", cwd=tmp_path, SERVER=broken.base_url, **ON))


@pytest.mark.parametrize("method", ["none", *METHODS])
@pytest.mark.parametrize("value", ["", "0"])
def test_autowrapt(tmp_path: Path, broken: Server, method: str, value: str) -> None:
    """A program and its children, by a variable alone; the guard's own variable still says no."""
    needs("autowrapt")
    save(tmp_path, PRINT if method == "none" else IN_A_CHILD)
    more = {**AUTOWRAPT, "OPENAI_STREAM_GUARD": value, "SERVER": broken.base_url}
    assert whole(broken, run("program.py", method, cwd=tmp_path, **more)) is (value == "")


def test_autowrapt_leaves_the_last_word_to_the_program(tmp_path: Path, broken: Server) -> None:
    """What is configured in code is not undone when openai is imported."""
    needs("autowrapt")
    text = "import openai_stream_guard as g\nassert g.is_enabled()\ng.configure(recovery='none')\n" + ANSWER
    text += "try:\n    answer()\nexcept g.OpenAIStreamParseError as error:\n    print(error.stopped_by)\n"
    save(tmp_path, text)
    assert run("program.py", cwd=tmp_path, SERVER=broken.base_url, **AUTOWRAPT).stdout == "policy\n"


def test_autowrapt_and_a_bad_setting(tmp_path: Path) -> None:
    """No Python starts, and the last line says why."""
    needs("autowrapt")
    done = run("-c", "print()", cwd=tmp_path, OPENAI_STREAM_GUARD_MAX_RETRIES="many", **AUTOWRAPT)
    assert (done.returncode, done.stdout) == (1, "")
    assert "OPENAI_STREAM_GUARD_MAX_RETRIES is 'many'" in done.stderr.splitlines()[-1]


@contextlib.contextmanager
def serving(*arguments: str, cwd: Path, says: str, **more: str) -> Iterator[str]:
    """The address of a server that was started, and says in its log where it listens."""
    log = cwd / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen([sys.executable, *arguments], cwd=cwd, env=environment(**more), stdout=out, stderr=out) as job,
    ):
        try:
            while not (found := re.search(says, log.read_text(encoding="utf-8"))):
                assert job.poll() is None, log.read_text(encoding="utf-8")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    job.wait(0.05)
            yield found[1]
        finally:
            job.terminate()
            job.wait(20)


def fetch(address: str) -> str:
    """The answer that a worker has got; some servers say where they listen before they do."""
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address, timeout=20) as response:
                return str(ast.literal_eval(response.read().decode()))
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError) or time.monotonic() > end:
                raise
            time.sleep(0.1)


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
@pytest.mark.parametrize("start", ["import", "run", "autowrapt"])
def test_gunicorn(tmp_path: Path, broken: Server, start: str, preload: list[str]) -> None:
    """Workers are forked, before the application is imported or after."""
    needs("gunicorn", *["autowrapt"] * (start == "autowrapt"))
    save(tmp_path, IMPORT * (start == "import") + ANSWER + WSGI, "web.py")
    words = [*RUN[: 3 * (start == "run")], "-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:0", *preload, "web:app"]
    more = {"import": ON, "run": {}, "autowrapt": AUTOWRAPT}[start]
    with serving(
        *words, cwd=tmp_path, says=r"Listening at: (http://127\.0\.0\.1:\d+)", SERVER=broken.base_url, **more
    ) as address:
        assert [fetch(address) for _ in range(4)] == [TEXT] * 4


@pytest.mark.parametrize("start", ["import", "run", "autowrapt"])
def test_uvicorn(tmp_path: Path, broken: Server, start: str) -> None:
    """Workers are spawned: `run` reaches them where autowrapt is installed, and else does not."""
    needs("uvicorn", *["autowrapt"] * (start == "autowrapt"))
    save(tmp_path, IMPORT * (start == "import") + ANSWER + ASGI, "web.py")
    words = [*RUN[: 3 * (start == "run")], "-m", "uvicorn", "--workers", "2", "--port", "0", "web:app"]
    more = {"import": ON, "run": {}, "autowrapt": AUTOWRAPT}[start]
    with serving(
        *words, cwd=tmp_path, says=r"running on (http://127\.0\.0\.1:\d+)", SERVER=broken.base_url, **more
    ) as address:
        first = fetch(address)
        assert (first == TEXT) is (start != "run" or AUTOWRAPT_IS_THERE)
        if first == TEXT:
            assert [fetch(address) for _ in range(3)] == [TEXT] * 3


NOTEBOOK = """
import nbclient, nbformat, sys
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in sys.argv[1:]])
nbclient.NotebookClient(book, timeout=40).execute()
print("".join(output.text for cell in book.cells for output in cell.outputs if output.name == "stdout"), end="")
"""


@pytest.mark.parametrize("start", ["import", "autowrapt"])
def test_jupyter(tmp_path: Path, broken: Server, start: str) -> None:
    """A cell imports the guard, or autowrapt has guarded the kernel."""
    needs("nbclient", "ipykernel", *["autowrapt"] * (start == "autowrapt"))
    cells = [*[IMPORT] * (start == "import"), ANSWER, "print(ascii(answer()))"]
    more = ON if start == "import" else AUTOWRAPT
    done = run("-c", NOTEBOOK, *cells, cwd=tmp_path, SERVER=broken.base_url, IPYTHONDIR=str(tmp_path), **more)
    assert ast.literal_eval(done.stdout) == TEXT, done.stderr


@pytest.mark.timeout(900)
def test_a_frozen_program(tmp_path: Path, server: Server) -> None:
    """It finds the guard if it imports it; autowrapt does not reach it, since it reads no installed packages."""
    needs("PyInstaller", "autowrapt")
    save(tmp_path, f"import sys\nif sys.argv[1:]:\n    {IMPORT}{PRINT}")
    built = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--log-level", "ERROR", "program.py"],
        cwd=tmp_path,
        env=environment(PYINSTALLER_CONFIG_DIR=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    for arguments in ["import"], []:
        server.reset(fault=ENDED_EARLY)
        done = subprocess.run(
            [tmp_path / "dist" / "program" / "program", *arguments],
            env=environment(SERVER=server.base_url, **ON, **AUTOWRAPT),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert whole(server, done) is bool(arguments)
