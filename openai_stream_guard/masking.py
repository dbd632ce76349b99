"""Keeping keys out of what is kept for diagnosis."""

from __future__ import annotations

import re

_SECRETS = re.compile(
    rb"""(?ix)
    \b(?:sk|pk|rk|sess|org|proj)-[a-z0-9_\-]{6,}      # OpenAI's own forms
  | \b(?:bearer|basic)\s+[a-z0-9._~+/=\-]{6,}
  | (?:api[-_]?key|authorization|access[-_]?token|secret|password)
    ["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?[^\s"',}&]{4,}
  | \beyJ[a-z0-9_\-]{8,}\.[a-z0-9_\-]+\.[a-z0-9_\-]+   # JSON Web Tokens
  | \bAKIA[A-Z0-9]{12,}
    """
)


def masked(raw: bytes) -> bytes:
    """`raw` with everything that looks like a key or a token replaced by `***`."""
    return _SECRETS.sub(b"***", raw)
