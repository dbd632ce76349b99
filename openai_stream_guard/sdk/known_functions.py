"""The functions of the SDK that plans stand for, and what they said in the releases that plans were tested with.

A function is known by its text, without blank lines, comment lines and marks for type checkers. Before its text counts
it has to be the SDK's own: the source that Python finds for a wrapper is that of what it wraps.
"""

from __future__ import annotations

import hashlib
import re
import sys
from types import FunctionType
from typing import Any

from ..records import Record

ABSENT = "absent"
"""Stands for the digest of a function that a release did not have yet."""
PROCESS_RESPONSE_DATA = "BaseClient._process_response_data"
"""The function that the guard puts a wrapper around."""
_MARKS = r"\s+# (?:type|ty|pyright|noqa)\b.*$"

Files = dict[str, list[str]]
"""The lines of source files, by path, kept while several functions are looked at."""


class KnownFunction(Record):
    """A function of the SDK that plans stand for."""

    module: str
    path: str
    """Its name, behind that of its class where it is a method."""
    digests: frozenset[str]
    """What it said in the releases that plans were tested with."""

    @property
    def name(self) -> str:
        """Module and name."""
        return f"{self.module}.{self.path}"

    def find(self) -> Any:
        """The function as it is now, below a class method; None where this release has none of that name."""
        owner, _, name = self.path.rpartition(".")
        module = sys.modules[self.module]
        found = vars(getattr(module, owner) if owner else module).get(name)
        return found.__func__ if isinstance(found, classmethod) else found

    def knows(self, function: Any, files: Files) -> bool:
        """Whether `function` is the SDK's own, and says what it said in one of those releases. May raise `OSError`."""
        if function is None:
            return ABSENT in self.digests
        module = sys.modules[self.module]
        own = (
            type(function) is FunctionType
            and not hasattr(function, "__wrapped__")
            and function.__globals__ is vars(module)
            and function.__code__.co_filename == module.__file__
        )
        return own and digest(function, files) in self.digests


def digest(function: Any, files: Files) -> str:
    """A short hash of what a function says."""
    return hashlib.sha256(source(function, files).encode()).hexdigest()[:12]


def source(function: Any, files: Files) -> str:
    """The text of a function.

    It is cut out of its file by indentation: to parse the file would take ten times as long.
    """
    code = function.__code__
    if code.co_filename not in files:
        with open(code.co_filename, encoding="utf-8") as file:
            files[code.co_filename] = file.read().split("\n")
    lines: list[str] = []
    indentation, in_body = -1, False
    for line in files[code.co_filename][code.co_firstlineno - 1 :]:
        text = line.strip()
        if not text or text[0] == "#":
            continue
        indent = len(line) - len(line.lstrip())
        if indentation < 0:
            if not text.startswith("def "):  # a decorator
                continue
            indentation = indent
        if in_body and indent <= indentation:
            break
        lines.append(re.sub(_MARKS, "", line).rstrip())
        in_body = in_body or lines[-1].endswith(":")
    return "\n".join(lines)


def known(module: str, path: str, *digests: str) -> KnownFunction:
    """An entry of the table."""
    return KnownFunction(f"openai.{module}", path, frozenset(digests))


FUNCTIONS = (
    known(
        "_base_client",
        PROCESS_RESPONSE_DATA,
        "025b0e28f01f",  # 1.40.0
        "4c16070496d7",  # 3.0.0
        "de85534dcc92",  # 3.36.0
        "ceff79a19e51",  # 3.41.0
    ),
    known(
        "_models",
        "BaseModel.construct",
        "c6bd034b460b",  # 1.40.0
        "36a45867abd8",  # 1.59.6
        "8dd6b260d0ee",  # 1.97.1
        "e3fd40dbcdab",  # 1.106.0
    ),
    known(
        "_models",
        "construct_type",
        "7d82422eefe4",  # 1.40.0
        "781c40325e7a",  # 1.57.3
        "ca97d74148c1",  # 1.59.4
        "4c45b029ba27",  # 1.62.0
        "c89120a3f2c6",  # 1.93.3
        "d7b6e8c3992b",  # 1.97.1
        "7b143dac100a",  # 3.12.0
        "f868b52df435",  # 3.41.0
    ),
    known(
        "_models",
        "_construct_field",
        "a3b4d989a799",  # 1.40.0
        "9be64fff9158",  # 1.93.3
        "ea9df6d5f65c",  # 1.106.0
    ),
    known(
        "_models",
        "_get_extra_fields_type",
        ABSENT,  # 1.40.0
        "6ddb1a26a5a2",  # 1.97.1
        "f15a39d08873",  # 1.106.0
    ),
    known(
        "_models",
        "validate_type",
        "bd0cff5cd957",  # 1.40.0
        "6246b6966cd4",  # 3.41.0
    ),
    known(
        "_models",
        "_validate_non_model_type",
        "6c4a3a236df4",  # 1.40.0
    ),
    known(
        "_models",
        "_build_discriminated_union_meta",
        "b7bd4c4ff567",  # 1.40.0
        "68f7d5438c6d",  # 1.76.0
        "dd0c75726687",  # 1.106.0
        "6b571226e09a",  # 2.7.2
        "911c520e1ba1",  # 3.38.0
        "38d5372c2f52",  # 3.41.0
    ),
    known(
        "_models",
        "_extract_field_schema_pv2",
        "b9d86c75a97d",  # 1.40.0
        "1e62c1d5cd1c",  # 1.66.4
        "dbcb2973a081",  # 3.41.0
    ),
    known(
        "_models",
        "is_basemodel_type",
        "8829b215ff79",  # 1.40.0
        "9f0eb023e028",  # 1.41.1
    ),
    known(
        "_models",
        "build",
        "80886e9c4f0d",  # 1.40.0
    ),
    known(
        "_models",
        "construct_type_unchecked",
        "0c6db1b6d86a",  # 1.40.0
    ),
    known(
        "_compat",
        "field_get_default",
        "4bf4c2048eeb",  # 1.40.0
        "f108f0704fbc",  # 1.106.0
    ),
    known(
        "_compat",
        "get_model_fields",
        "bc8603a20f7f",  # 1.40.0
        "eb2320565bd0",  # 1.106.0
    ),
    known(
        "_compat",
        "get_model_config",
        "5d2a70f52d7e",  # 1.40.0
        "1400a36e6f77",  # 1.106.0
    ),
    known(
        "_compat",
        "parse_obj",
        "6f96d3404c7c",  # 1.40.0
        "9fe52a14babc",  # 1.106.0
        "20b56ef4c361",  # 3.41.0
    ),
)
"""What openai 1.40 to 3.57 says; behind each digest the first release. `python -m tests.proof.items --functions` prints
those of the installed one."""
