"""The server that the doctor examines, and the key for it, checked before anything is sent."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ...apis.request import StreamRequest

Api: TypeAlias = Literal["chat", "responses", "completions"]
KEY_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"
"""Sent to a server that needs no key, because the SDK requires one."""


@dataclass(frozen=True)
class Target:
    """A server, and what to request from it."""

    url: str
    api: Api
    model: str | None
    key: str
    key_name: str
    timeout: float

    @property
    def shown(self) -> str:
        """The URL without its user, password and query, which may be secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def proxy(self) -> str | None:
        """The HTTP proxy of the environment that requests go through, without its credentials; None if there is none.

        The HTTP library chooses it, by the variables that `urllib` reads too.
        """
        parts, proxies = urlsplit(self.url), getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all")
        if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        scheme, separator, rest = proxy.rpartition("://")
        return f"{scheme or 'http'}{separator or '://'}{rest.rpartition('@')[2].rstrip('/')}"

    @property
    def official(self) -> bool:
        """Whether this is the API of OpenAI or of Azure."""
        return StreamRequest("post", "", _host(self.url)).official

    @property
    def key_advice(self) -> str:
        """What to check if the server rejects the key."""
        if self.key == NO_KEY:
            return f"none was sent; name the variable that holds it with --api-key-env (default: {KEY_VARIABLE})"
        return f"check the variable {self.key_name}"

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
    """Return the target that the arguments and the environment describe. Raises `ValueError` with one sentence.

    A server on this machine gets a key only if a variable was named, because the usual variable holds the key of the
    real API.
    """
    url = url or environ.get("OPENAI_BASE_URL") or ""
    if not url:
        raise ValueError(
            "give the server's URL with --base-url (or in OPENAI_BASE_URL), such as http://127.0.0.1:8000/v1"
        )
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"--base-url is not a URL: {error}") from None
    if not usable or not url.isprintable():
        raise ValueError(f"--base-url {url!r} is not a URL such as https://api.openai.com/v1")
    if not 0 < timeout <= 3600:
        raise ValueError(f"--timeout {timeout:g} is not a number of seconds above 0 and at most 3600")
    needs_key = key_name is not None or not _is_local(parts.hostname or "")
    key = (environ.get(key_name or KEY_VARIABLE) or "") if needs_key else ""
    if key_name is not None and not key:
        raise ValueError(f"the variable {key_name!r}, named by --api-key-env, is not set")
    if not key.isascii() or not key.isprintable() or key != key.strip():
        variable = key_name or KEY_VARIABLE
        raise ValueError(
            f"the variable {variable!r} cannot be a key: it holds spaces, line ends or non-ASCII characters"
        )
    target = Target(url, api, model, key or NO_KEY, key_name or KEY_VARIABLE, timeout)
    if target.official and not key:
        raise ValueError(f"{target.shown} needs a key: set {KEY_VARIABLE}, or name another variable with --api-key-env")
    return target


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_local(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
