"""Which frameworks are tried: what to install, and the programs, ordinary ones, that stream through them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

PROGRAMS = Path(__file__).parent / "programs"

Kind = Literal["tools", "text", "fields", "object"]
"""What a program does with an answer: prints it and calls tools, only prints it, prints the one field it was asked to
fill in, or prints an object made of the arguments of a tool call."""


@dataclass(frozen=True)
class Program:
    """A file beside `weather.py`: it streams one answer, and knows nothing of the guard."""

    name: str
    kind: Kind = "tools"
    reached: bool = True
    """Whether its streams are the SDK's. The guard cannot help the others."""

    @property
    def path(self) -> Path:
        return PROGRAMS / f"{self.name}.py"


@dataclass(frozen=True)
class Framework:
    """One framework, as pip resolves it."""

    name: str
    package: str
    programs: tuple[Program, ...]
    extra: str = ""
    also: tuple[str, ...] = ()
    """What it imports for these programs and does not ask for itself."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables to set beside OPENAI_STREAM_GUARD=1."""
    keeps_causes: bool = True
    """Whether the exceptions that it raises lead back to those of the SDK."""

    @property
    def requirements(self) -> tuple[str, ...]:
        """What to install."""
        return (self.package + self.extra, *self.also)


def find(name: str) -> Framework:
    """The framework of this name. Raises `ValueError`, naming those there are."""
    known = {framework.name: framework for framework in FRAMEWORKS}
    if name not in known:
        raise ValueError(f"no framework is called {name!r}: there are {', '.join(map(repr, known))}")
    return known[name]


def _programs(*names: str, kind: Kind = "tools") -> tuple[Program, ...]:
    return tuple(Program(name, kind) for name in names)


def _both(*names: str, kind: Kind = "tools") -> tuple[Program, ...]:
    return _programs(*(name + client_kind for name in names for client_kind in ("", "_async")), kind=kind)


FRAMEWORKS = (
    Framework("LangChain", "langchain-openai", _both("langchain_chat", "langchain_responses")),
    Framework("OpenAI Agents", "openai-agents", _programs("openai_agents_chat", "openai_agents_responses")),
    Framework("Pydantic AI", "pydantic-ai-slim", _both("pydantic_ai_chat", "pydantic_ai_responses"), "[openai]"),
    Framework("Instructor", "instructor", _both("instructor_partial", kind="object")),
    Framework("LlamaIndex", "llama-index-llms-openai-like", _both("llama_index_chat")),
    Framework(
        "LiteLLM",
        "litellm",
        (*_both("litellm_chat"), Program("litellm_responses", "text", reached=False)),
        also=("mcp",),  # imported as soon as a request has tools
    ),
    Framework("LLM", "llm", _both("llm_chat", "llm_responses")),
    Framework("DSPy", "dspy", _programs("dspy_predict", kind="fields"), keeps_causes=False),
    Framework(
        "DSPy, `max_retries=2`",
        "dspy",
        _programs("dspy_predict", kind="fields"),
        settings={"OPENAI_STREAM_GUARD_MAX_RETRIES": "2"},  # it retries by itself, and asks the SDK for no retries
        keeps_causes=False,
    ),
)
