"""A Hub id -> its Architecture: what is already downloaded first, the Hub itself after that."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from gpufit.errors import SourceError, UsageError
from gpufit.facts.read import ConfigReader, parse_config
from gpufit.sources.checkpoint import read_checkpoint
from gpufit.sources.compiled import user_cache_dir
from gpufit.sources.files import Folder
from gpufit.sources.http import Transport, Unreachable
from gpufit.sources.hub import HubFiles, PieceCache, kept_commit
from gpufit.sources.hub_cache import find_snapshot, find_token, is_offline
from gpufit.sources.hub_client import HubClient
from gpufit.sources.resolve import ResolvedModel

_DEFAULT_ENDPOINT = "https://huggingface.co"
_ADDRESS = re.compile(r"https?://[\w.-]{1,253}(:[0-9]{1,5})?(/[\w./-]{0,200})?", re.ASCII)
_WEIGHTS = (".safetensors", ".gguf")


def resolve_hub(
    repository: str,
    wanted: str | None,
    *,
    revision: str | None,
    environ: Mapping[str, str],
    transport: Transport | None = None,
    progress: Callable[[str], None] | None = None,
    read: ConfigReader = parse_config,
) -> ResolvedModel:
    """Read ``repository`` at ``revision`` (default: main); ``wanted`` names one of its files.

    A downloaded snapshot serves when it holds the weights asked about; a partial one only when the Hub cannot be had.
    """
    revision = revision or "main"
    if not revision.isprintable() or len(revision) > 250:
        raise UsageError("the revision is not a branch, tag or commit")
    snapshot = find_snapshot(environ, repository, revision)
    if snapshot is not None and _serves(snapshot, wanted):
        return _from_snapshot(repository, wanted, snapshot, read)
    endpoint = (environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT).rstrip("/")
    if not _ADDRESS.fullmatch(endpoint):
        raise UsageError("HF_ENDPOINT is not an http address", hint=f"unset it to use {_DEFAULT_ENDPOINT}")
    cache = PieceCache(user_cache_dir(environ))
    if transport is None:
        from gpufit.sources.http import get

        transport = get
    offline = is_offline(environ)
    client = HubClient(
        endpoint=endpoint, transport=_refuse(repository) if offline else transport, token=find_token(environ)
    )
    try:
        return _from_hub(HubFiles(client, repository, revision, cache, progress), wanted, read)
    except (Unreachable, Offline) as error:
        commit = kept_commit(cache, endpoint, repository, revision)
        if commit is not None:  # read before: the same commit again, if all of it was kept
            note = f"{error.message}; facts are those of commit {commit[:12]}, read before"
            return _from_hub(HubFiles(client, repository, commit, cache, progress), wanted, read, (note,))
        if snapshot is not None:
            return _from_snapshot(repository, wanted, snapshot, read, (f"{error.message}; the download is incomplete",))
        raise


class Offline(SourceError):
    """The user has forbidden the network."""


def _refuse(repository: str) -> Transport:
    def transport(*args: object, **kwargs: object) -> None:
        raise Offline(
            f"offline (HF_HUB_OFFLINE is set), and {repository} is not in the local cache",
            hint="unset HF_HUB_OFFLINE, or give a folder or a config.json",
        )

    return transport  # type: ignore[return-value]


def _serves(snapshot: Path, wanted: str | None) -> bool:
    """Whether a snapshot holds the file asked for, or a configuration with weights."""
    if wanted is not None:
        return (snapshot / wanted).is_file()
    names = Folder(snapshot).sizes()
    return any(name.endswith(_WEIGHTS) for name in names)


def _from_snapshot(
    repository: str, wanted: str | None, snapshot: Path, read: ConfigReader, notes: tuple[str, ...] = ()
) -> ResolvedModel:
    found = read_checkpoint(Folder(snapshot), wanted, read)
    return ResolvedModel(
        name=_name(repository, wanted), architecture=found.architecture,
        origin=f"downloaded {repository} at {snapshot.name[:12]}", config_source=found.config_source,
        hub_id=repository, commit=snapshot.name, stored=found.stored, notes=(*found.notes, *notes),
        config=found.config, translated=found.translated,
    )  # fmt: skip


def _from_hub(files: HubFiles, wanted: str | None, read: ConfigReader, notes: tuple[str, ...] = ()) -> ResolvedModel:
    found = read_checkpoint(files, wanted, read)
    return ResolvedModel(
        name=_name(files.repository, wanted), architecture=found.architecture,
        origin=f"Hub {files.repository} at {files.commit[:12]}", config_source=found.config_source,
        hub_id=files.repository, commit=files.commit, stored=found.stored, notes=(*found.notes, *notes),
        config=found.config, translated=found.translated,
    )  # fmt: skip


def _name(repository: str, wanted: str | None) -> str:
    return f"{repository}:{wanted}" if wanted else repository
