"""Whatever the user calls a model -> its Architecture: catalog name, path on disk, or Hub id, in this order."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufit.errors import BadFile, UnknownName, UsageError, no_such_path
from gpufit.facts.architecture import Architecture
from gpufit.facts.read import ConfigReader, parse_config
from gpufit.records import record

if TYPE_CHECKING:
    from gpufit.facts.stored import StoredWeights
    from gpufit.sources.catalog import Catalog
    from gpufit.sources.http import Transport

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95})(?::([^:\\]{1,250}))?", re.ASCII)
_MODEL_FILES = (".gguf", ".safetensors", ".json")


@record
class ResolvedModel:
    """A model and where its facts come from.

    ``stored`` is the checkpoint's own weights, None where only a configuration was read. ``origin`` says in words
    where the facts come from; ``config_source`` is the file that gave the configuration.
    """

    name: str
    architecture: Architecture
    origin: str
    config_source: str
    hub_id: str | None = None
    commit: str | None = None
    stored: StoredWeights | None = None
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None  # the raw configuration, for those who run the modelling code itself
    translated: Mapping[str, Any] | None = None  # a GGUF's metadata in the words of a config.json


def resolve_model(
    text: str,
    *,
    catalog: Catalog,
    environ: Mapping[str, str],
    transport: Transport | None = None,
    revision: str | None = None,
    progress: Callable[[str], None] | None = None,
    read: ConfigReader = parse_config,
) -> ResolvedModel:
    """Find the model that ``text`` names. ``revision`` asks the Hub, also for models of the catalog.

    ``read`` turns a config.json into facts.

    Raises UnknownName with the nearest names, BadFile, BadConfig, Undecided, SourceError or AccessNeeded.
    """
    if revision is None and (entry := catalog.find(text)) is not None:
        return ResolvedModel(
            name=entry.name, architecture=entry.architecture(read), origin=f"catalog {catalog.source_of(entry)}",
            config_source=catalog.source_of(entry), hub_id=entry.hub_id, config=entry.config,
        )  # fmt: skip
    path = Path(os.path.expanduser(text)) if text and "\0" not in text else None
    if path is not None and revision is None and os.path.lexists(path):
        return resolve_path(path, read)
    names_a_file = text.endswith(_MODEL_FILES) and ":" not in text  # owner/name:file.gguf names one on the Hub
    hub_id = None if names_a_file else _HUB_ID.fullmatch(text)
    if hub_id is None:
        raise _not_found(text, catalog, revision)
    from gpufit.sources.resolve_hub import resolve_hub

    return resolve_hub(
        hub_id[1], hub_id[2], revision=revision, environ=environ, transport=transport, progress=progress, read=read
    )


def resolve_path(path: Path, read: ConfigReader = parse_config) -> ResolvedModel:
    """A folder, a config.json, a .safetensors, an index of shards, or a .gguf."""
    from gpufit.sources.checkpoint import read_checkpoint
    from gpufit.sources.files import Folder

    if path.is_dir():
        folder, wanted = path, None
    elif path.name.endswith(_MODEL_FILES):
        folder, wanted = path.parent, path.name
    else:
        raise BadFile(
            f"{path} is no model file", hint="give a folder, config.json, .safetensors, its index.json or .gguf"
        )
    found = read_checkpoint(Folder(folder), wanted, read)
    return ResolvedModel(
        name=str(path), architecture=found.architecture, origin=str(path.absolute()),
        config_source=str(folder / found.config_source), stored=found.stored, notes=found.notes, config=found.config,
        translated=found.translated,
    )  # fmt: skip


def _not_found(text: str, catalog: Catalog, revision: str | None) -> UsageError | BadFile:
    """The error for a text that is neither known, nor there, nor a Hub id."""
    if revision is not None:
        return UsageError("--revision belongs to a Hub id", hint="write owner/name --revision REVISION")
    if text.startswith(("http://", "https://")):
        return UsageError("a web address is not a model", hint="write the Hub id alone: owner/name")
    if text.endswith(_MODEL_FILES) or os.sep in text or text.startswith((".", "~")):
        return no_such_path(text)
    hint = "gpufit list shows all; owner/name asks the Hub"
    return UnknownName("model", text[:100], catalog.nearest(text), hint=hint)
