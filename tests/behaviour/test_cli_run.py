"""The law: `run` gives a program what Python would give it, but for the guard. Each test compares processes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openai_stream_guard.testing import Server
from tests.support.programs import ENDED_EARLY, PRINT, environment, run, whole

pytestmark = pytest.mark.slow

GUARD = ("-m", "openai_stream_guard", "run")
LOOK = """
import pickle, sys
class Local: pass
assert pickle.loads(pickle.dumps(Local)) is Local
spec = __spec__ and (__spec__.name, __spec__.origin)
print(__name__, __file__, __package__, type(__loader__).__name__, spec, type(__builtins__), sys.argv, sys.path[0])
"""
FILES = {
    "look.py": LOOK,
    "fail.py": "def inner():\n    raise ValueError('mine')\ninner()\n",
    "needs.py": "import not_there\n",
    "syntax.py": "x = = 1\n",
    "latin.py": "# -*- coding: latin-1 -*-\nprint(ascii('é'))\n",
    "leave.py": "import sys\nsys.exit('good bye')\n",
    "leave3.py": "raise SystemExit(3)\n",
    "chain.py": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('k') from error\n",
    "hook.py": "import sys\nsys.excepthook = lambda kind, error, trace: print(kind, trace.tb_lineno)\n1 / 0\n",
    "own.py": "class Own(BaseException): pass\nraise Own('mine')\n",
    "killed.py": "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n",
    "thread.py": "import threading\nthread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()\n",
    "late.py": "import atexit, sys\natexit.register(lambda: print(sys.modules['__main__'].here))\nhere = 'here'\n",
    "folder/__main__.py": LOOK,
    "package/__init__.py": "",
    "package/__main__.py": LOOK,
    "package/inside.py": LOOK,
    "broken/__init__.py": "",
    "broken/__main__.py": "import not_there\n",
    "failing/__init__.py": "1 / 0\n",
    "empty/readme": "",
}
SAME = [
    "look.py", "look.py a -m --b -- -h", "./look.py", "link.py", "-- look.py -- x", "folder x", "package", "folder/ y",
    "fail.py", "needs.py", "syntax.py", "latin.py", "leave.py", "leave3.py", "chain.py", "hook.py", "late.py",
    "own.py", "killed.py", "thread.py",
    "-m look", "-m look -m -h --c=d -- e", "-m package x", "-m package.inside", "-m leave3",
]  # fmt: skip
ABSENT = {
    "nope.py": "cannot read nope.py: No such file or directory.",
    "empty": "there is no __main__.py in empty.",
    "-m nope": "there is no module nope to run.",
    "-m package.nope": "there is no module package.nope to run.",
    "-m empty": "there is no module empty.__main__ to run.",
    "-m math": "there is no module math to run.",
    "-m .look": ".look is a relative name; give the full name of the module.",
    "": "no program was named: give a script, or -m and a module.",
    "-m": "no program was named: give a script, or -m and a module.",
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs."""
    folder = tmp_path_factory.mktemp("programs")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="latin-1")
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "look.py").write_text(LOOK, encoding="utf-8")
    (folder / "link.py").symlink_to("elsewhere/look.py")
    return folder


@pytest.mark.parametrize("line", SAME)
def test_a_program_finds_what_python_gives_it(programs: Path, line: str) -> None:
    """Output, errors with their tracebacks, and exit code are those of Python without `run`."""
    plain, guarded = run(*line.split(), cwd=programs), run(*GUARD, *line.split(), cwd=programs)
    numbers = re.compile(r"Thread-\d+|0x[0-9a-f]+")
    assert (guarded.stdout, guarded.returncode) == (plain.stdout, plain.returncode)
    assert numbers.sub("", guarded.stderr) == numbers.sub("", plain.stderr)


@pytest.mark.parametrize("option", ["-I", "-O"])
@pytest.mark.parametrize("line", ["look.py", "folder", "-m json.tool --help"])
def test_the_options_of_python_hold(programs: Path, option: str, line: str) -> None:
    """Isolated, a script's folder is not on the path; a folder with a `__main__` is."""
    start = f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); sys.argv[1:1] = ['run']; "
    start += "from openai_stream_guard.cli import main; sys.argv[0] = 'openai-stream-guard'; sys.exit(main())"
    plain = run(option, *line.split(), cwd=programs)
    guarded = run(option, "-c", start, *line.split(), cwd=programs)
    assert (guarded.stdout, guarded.stderr, guarded.returncode) == (plain.stdout, plain.stderr, plain.returncode)


@pytest.mark.parametrize("line", ["fail.py", "-m package.inside", "-m broken", "-m failing.inside"])
def test_no_frame_is_ours(programs: Path, line: str) -> None:
    """A traceback begins in the program, also where Python's own would begin in its machinery."""
    told = run(*GUARD, *line.split(), cwd=programs).stderr
    assert "openai_stream_guard" not in told
    assert "importlib" not in told


@pytest.mark.parametrize("line", ABSENT)
def test_a_program_that_is_not_there_is_told_in_a_line(programs: Path, line: str) -> None:
    """And the exit code is 2."""
    done = run(*GUARD, *line.split(), cwd=programs)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"openai-stream-guard run: {ABSENT[line]}\n"


@pytest.mark.parametrize("mode", ["", "1"])
def test_a_bad_setting_is_told_in_a_line(programs: Path, mode: str) -> None:
    """Also where only `run` switches the guard on; the program is not begun."""
    bad = {"OPENAI_STREAM_GUARD": mode, "OPENAI_STREAM_GUARD_MAX_RETRIES": "many"}
    done = run(*GUARD, "look.py", cwd=programs, **bad)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "OPENAI_STREAM_GUARD_MAX_RETRIES is 'many'" in done.stderr


@pytest.mark.parametrize(
    ("mode", "guarded"), [("", True), ("1", True), ("yes", True), ("0", False), ("off", False), ("observe", False)]
)
def test_a_program_is_guarded_unless_the_variable_says_otherwise(
    tmp_path: Path, server: Server, mode: str, guarded: bool
) -> None:
    """A stream that ends early comes out whole."""
    (tmp_path / "program.py").write_text(PRINT, encoding="utf-8")
    server.reset(fault=ENDED_EARLY)
    done = run(*GUARD, "program.py", cwd=tmp_path, SERVER=server.base_url, OPENAI_STREAM_GUARD=mode)
    assert whole(server, done) is guarded


def test_the_children_of_a_program_find_the_variables(tmp_path: Path) -> None:
    """`OPENAI_STREAM_GUARD` for those that import the guard, `AUTOWRAPT_BOOTSTRAP` for all where autowrapt is."""
    (tmp_path / "program.py").write_text(
        "import os; print(os.environ['OPENAI_STREAM_GUARD'], os.environ['AUTOWRAPT_BOOTSTRAP'])", encoding="utf-8"
    )
    for given, found in {"": "openai_stream_guard", "a,b": "a,b,openai_stream_guard"}.items():
        done = run(*GUARD, "program.py", cwd=tmp_path, AUTOWRAPT_BOOTSTRAP=given)
        assert done.stdout == f"1 {found}\n", done.stderr


def test_an_interrupt_ends_a_program_as_it_would(tmp_path: Path) -> None:
    """Python prints the KeyboardInterrupt and dies of the signal, so that a shell's loop ends, too."""
    (tmp_path / "program.py").write_text(
        "import time\ntry:\n    print('on', flush=True)\n    time.sleep(50)\nfinally:\n    print('off')",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, *GUARD, "program.py"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "on\n"
        time.sleep(0.05)  # into the sleep
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=20)
    assert (program.returncode, out) == (-signal.SIGINT, "off\n")
    assert err.rstrip().endswith("KeyboardInterrupt")
