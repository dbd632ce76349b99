"""Whom the doctor asks, and with which key: the command and the environment, looked at before anything is sent."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from ...apis.request import StreamRequest

Api: TypeAlias = Literal["chat", "responses", "completions"]
KEY = "OPENAI_API_KEY"
NO_KEY = "none"
"""What a server is sent that wants none; the SDK wants something."""


@dataclass(frozen=True)
class Target:
    """A server, and what is asked of it."""

    url: str
    api: Api
    model: str | None
    key: str
    key_name: str
    timeout: float

    @property
    def shown(self) -> str:
        """The URL without what may be a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def official(self) -> bool:
        """Whether it is OpenAI's own API, or Azure's."""
        return StreamRequest("post", "", _host(self.url)).official

    @property
    def about_key(self) -> str:
        """What to look at where the key is refused."""
        if self.key == NO_KEY:
            return f"none was sent; put one into a variable, and name that with --api-key-env (default: {KEY})"
        return f"look at the variable {self.key_name}"

    def __repr__(self) -> str:
        return f"<Target {self.shown}>"  # not the key


def target_from(
    url: str | None,
    api: Api,
    model: str | None,
    key_name: str | None,
    timeout: float,
    environ: Mapping[str, str] = os.environ,
) -> Target:
    """What is to be asked. Raises `ValueError` with one sentence.

    A server on this machine is sent the key only where a variable was named: it is a test server's, or a proxy's, and
    the usual variable holds that of the real API.
    """
    url = url or environ.get("OPENAI_BASE_URL") or ""
    if not url:
        raise ValueError(
            "give the server's URL with --base-url (or in OPENAI_BASE_URL), such as http://127.0.0.1:8000/v1"
        )
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"--base-url is no URL: {error}") from None
    if not known or not url.isprintable():
        raise ValueError(f"--base-url {url!r} is no URL such as https://api.openai.com/v1")
    if not 0 < timeout <= 3600:
        raise ValueError(f"--timeout {timeout:g} is not a number of seconds above 0 and at most 3600")
    wanted = key_name is not None or not _is_here(parts.hostname or "")
    key = (environ.get(key_name or KEY) or "") if wanted else ""
    if key_name is not None and not key:
        raise ValueError(f"the variable {key_name!r}, named by --api-key-env, is not set")
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise ValueError(
            f"the variable {key_name or KEY!r} holds what cannot be a key: a line end, a space or a letter"
        )
    target = Target(url, api, model, key or NO_KEY, key_name or KEY, timeout)
    if target.official and not key:
        raise ValueError(f"{target.shown} wants a key: set {KEY}, or name another variable with --api-key-env")
    return target


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_here(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
