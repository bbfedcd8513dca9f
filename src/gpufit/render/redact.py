"""Takes out of a text what must not be in a public bug report: tokens, passwords in addresses, and the user's name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

REMOVED = "<removed>"
_SECRET_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL)S?$", re.IGNORECASE)
_PATTERNS = (
    re.compile(r"\bhf_[A-Za-z0-9]{3,}"),  # Hugging Face
    re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{15,})"),
    re.compile(r"\bsk-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\bAKIA[0-9A-Z]{12,}"),
)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}")
_QUERY = re.compile(r"(?i)([?&;](?:access_?token|token|key|api_?key|password|secret|signature|sig)=)[^&;\s]+")
_SHORTEST = 6  # a shorter secret would take ordinary words with it; its own variable is hidden all the same


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds something that is never shown.

    >>> [is_secret(name) for name in ("HF_TOKEN", "MY_API_KEY", "HF_HOME", "HF_TOKEN_PATH")]
    [True, True, False, False]
    """
    return _SECRET_NAME.search(name) is not None


def make_redactor(environ: Mapping[str, str]) -> Callable[[str], str]:
    """A function that takes secrets out of a text, the values of this environment's own ones included.

    >>> redact = make_redactor({"HF_TOKEN": "abcdef123", "HOME": "/home/ada"})
    >>> redact("/home/ada/x abcdef123 hf_QwErTy https://ada:pw@host/")
    '~/x <removed> <removed> https://<removed>@host/'
    """
    secrets = sorted(
        {value.strip() for name, value in environ.items() if is_secret(name) and len(value.strip()) >= _SHORTEST},
        key=len,
        reverse=True,
    )
    homes = _homes(environ)

    def redact(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, REMOVED)
        for pattern in _PATTERNS:
            text = pattern.sub(REMOVED, text)
        text = _CREDENTIALS.sub(REMOVED, text)
        text = _BEARER.sub(lambda match: f"{match[1]} {REMOVED}", text)
        text = _QUERY.sub(lambda match: match[1] + REMOVED, text)
        for home in homes:
            text = re.sub(re.escape(home) + r"(?=$|[/\\:;,'\"\s)\]])", "~", text)
        return text

    return redact


def redact_all(value: Any, redact: Callable[[str], str]) -> Any:
    """The same for every text in a JSON-ready value.

    >>> redact_all({"a": ["secret", 1, None]}, lambda text: text.upper())
    {'a': ['SECRET', 1, None]}
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_all(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(item, redact) for item in value]
    return value


def _homes(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The home directory as variables and the system name it; the root directory is nobody's."""
    named = [environ.get(name, "") for name in ("HOME", "USERPROFILE")] + [os.path.expanduser("~")]
    homes = {home.rstrip("/\\") for home in named if os.path.isabs(home) or home[1:3] == ":\\"}
    return tuple(sorted((home for home in homes if len(home) > 3), key=len, reverse=True))
