"""What huggingface_hub has already downloaded, and the token it keeps. Read only; never written.

Layout: docs of huggingface_hub, "Understand caching": ``models--owner--name/refs/<revision>`` holds a commit,
``snapshots/<commit>/`` the files, as links into ``blobs/``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from gpufit.errors import BadFile
from gpufit.sources.files import read_range

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE = frozenset({"1", "true", "yes", "on"})


def is_commit(text: str) -> bool:
    """Whether a revision is already a full commit.

    >>> is_commit("main"), is_commit("0123456789abcdef0123456789abcdef01234567")
    (False, True)
    """
    return _COMMIT.fullmatch(text) is not None


def is_offline(environ: Mapping[str, str]) -> bool:
    """Whether the user has forbidden the network.

    >>> is_offline({"HF_HUB_OFFLINE": "1"}), is_offline({})
    (True, False)
    """
    return any(environ.get(key, "").strip().lower() in _TRUE for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def _expanded(path: str) -> Path:
    """``~`` replaced; unlike pathlib's own, a user who does not exist is no error but a folder that is not there."""
    return Path(os.path.expanduser(path))


def _home(environ: Mapping[str, str]) -> Path:
    """``HF_HOME``, else huggingface/ in the user's cache folder."""
    if home := environ.get("HF_HOME"):
        return _expanded(home)
    if cache := environ.get("XDG_CACHE_HOME"):
        return _expanded(cache) / "huggingface"
    user = environ.get("HOME") or environ.get("USERPROFILE")
    return (Path(user) if user else _expanded("~")) / ".cache" / "huggingface"


def hub_folder(environ: Mapping[str, str]) -> Path:
    """Where huggingface_hub caches repositories.

    >>> hub_folder({"HF_HOME": "/data/hf"}).as_posix()
    '/data/hf/hub'
    """
    for key in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if folder := environ.get(key):
            return _expanded(folder)
    return _home(environ) / "hub"


def find_snapshot(environ: Mapping[str, str], repository: str, revision: str) -> Path | None:
    """The folder of a downloaded revision, or None. It may hold only some of the files."""
    root = hub_folder(environ) / f"models--{repository.replace('/', '--')}"
    commit = revision if is_commit(revision) else _read_text(root / "refs" / revision)
    if commit is None or not is_commit(commit):
        return None
    snapshot = root / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def find_token(environ: Mapping[str, str]) -> str | None:
    """The user's access token: ``HF_TOKEN``, then the file of ``HF_TOKEN_PATH``, then the login's. Never shown.

    ``HF_HUB_DISABLE_IMPLICIT_TOKEN`` leaves out the login's, as it does in huggingface_hub.
    """
    if token := _clean(environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN")):
        return token
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").strip().lower() in _TRUE:
        return None
    path = environ.get("HF_TOKEN_PATH")
    return _clean(_read_text(_expanded(path) if path else _home(environ) / "token"))


def _clean(token: str | None) -> str | None:
    """Without blanks around; a token with anything that may not stand in a header is none."""
    token = (token or "").strip()
    return token if token and token.isascii() and token.isprintable() and " " not in token else None


def _read_text(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        return read_range(path, 0, 4096).decode("ascii").strip()
    except (BadFile, UnicodeDecodeError):
        return None
