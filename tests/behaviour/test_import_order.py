"""The law: whatever is imported or called first, openai ends up guarded, its error is named, and nobody is warned."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from openai_stream_guard import OpenAIStreamParseError

pytestmark = pytest.mark.slow

FIRST = (
    "from openai_stream_guard import OpenAIStreamParseError",
    "import openai_stream_guard; openai_stream_guard.OpenAIStreamParseError",
    "import openai_stream_guard; assert openai_stream_guard.report(object()) is None",
    "import openai_stream_guard; openai_stream_guard.enable()",
    "import openai; import openai_stream_guard",
    "import openai_stream_guard; import openai",
    "import openai; from openai_stream_guard import OpenAIStreamParseError",
    "from openai_stream_guard.errors import OpenAIStreamParseError",
    "import pickle; assert pickle.loads(%r).fault == 'truncated'",
)
AFTERWARDS = """
import openai, openai_stream_guard
from openai_stream_guard import activation
assert openai.OpenAIStreamParseError is openai_stream_guard.OpenAIStreamParseError
assert activation.unguarded_patch_points() == []
assert openai_stream_guard.is_enabled()
assert hasattr(openai._streaming.Stream.__init__, "__wrapped__")
"""


PICKLED = pickle.dumps(OpenAIStreamParseError("cut", fault="truncated"))


@pytest.mark.parametrize("first", FIRST)
def test_the_first_import_does_not_matter(first: str) -> None:
    """The error's module imports openai, whose import names the error: neither may meet the other half made."""
    environment = {**os.environ, "OPENAI_STREAM_GUARD": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{first.replace('%r', repr(PICKLED))}\n{AFTERWARDS}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
