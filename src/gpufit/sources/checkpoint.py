"""One checkpoint out of a set of files: which format, which files belong together, what their headers say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gpufit.errors import BadFile, GpufitError, UsageError
from gpufit.facts.architecture import Architecture
from gpufit.facts.json_text import MIB, parse_json
from gpufit.facts.read import ConfigReader, parse_config
from gpufit.facts.stored import StoredTensor, StoredWeights
from gpufit.records import record, replace
from gpufit.sources.files import Files, read_whole
from gpufit.sources.shards import first_shards, list_models, shard_names

_CONFIG_BYTES = 4 * MIB
_MOST_TENSORS = 250_000  # 60 layers of 384 experts with scales have 138,240
_MOST_GGUF_SHARDS = 64  # each is read at once and may carry 65,536 tensors


@record
class Checkpoint:
    """What a set of files says about one model. ``stored`` is None where no header could be read (pickles, none)."""

    architecture: Architecture
    stored: StoredWeights | None
    config_source: str
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    translated: Mapping[str, Any] | None = None  # a GGUF's metadata in the words of a config.json


def read_checkpoint(files: Files, wanted: str | None = None, read: ConfigReader = parse_config) -> Checkpoint:
    """Read the model in ``files``; ``wanted`` names one file of it (a .gguf, .safetensors, index or config.json).

    ``read`` turns a config.json into facts.

    Without ``wanted`` the choice is that of ``from_pretrained``: model.safetensors, its index, other safetensors.
    GGUF files are never mixed in: beside safetensors they are named in a note, and several ask for a choice.

    Raises UsageError where a choice is needed, BadFile, BadConfig and Undecided as the readers do.
    """
    if wanted is not None:
        return _read_wanted(files, wanted, read)
    names = files.sizes()
    ggufs = first_shards(names, ".gguf")
    if "config.json" not in names:
        if len(ggufs) == 1:
            return _read_gguf(files, ggufs[0])
        raise _no_configuration(files, ggufs)
    found = _read_with_config(files, None, read)
    if not ggufs:
        return found
    beside = f"GGUF files lie beside and are not counted: {list_models(names, ggufs)}"
    return replace(found, notes=(*found.notes, beside))


def _read_wanted(files: Files, wanted: str, read: ConfigReader) -> Checkpoint:
    """One file by its name; its folder is not listed, since it may be anything."""
    if wanted.endswith(".gguf"):
        return _read_gguf(files, wanted)
    if wanted.endswith((".safetensors", ".index.json")):
        return _read_with_config(files, wanted, read)
    if wanted.endswith(".json"):
        config = _read_config(files, wanted)
        return Checkpoint(architecture=read(config), stored=None, config_source=wanted, config=config)
    raise UsageError(f"{wanted} is no file that gpufit reads", hint="give a .gguf, .safetensors, index or config.json")


def _read_with_config(files: Files, wanted: str | None, read: ConfigReader) -> Checkpoint:
    """The configuration, and the safetensors that it belongs to, if there are any."""
    config_name = f"{wanted.rpartition('/')[0]}/config.json".lstrip("/") if wanted else "config.json"
    config = _read_config(files, config_name)
    architecture = read(config)
    weights = _choose_safetensors(files, wanted)
    if not weights:
        return Checkpoint(architecture=architecture, stored=None, config_source=config_name, config=config)
    stored = _read_safetensors(files, weights, quantization_section(config))
    return Checkpoint(
        architecture=replace(architecture, stored=stored),
        stored=stored,
        config_source=config_name,
        notes=_notes(stored, architecture),
        config=config,
    )


def _no_configuration(files: Files, ggufs: list[str]) -> GpufitError:
    """Why nothing can be read without a config.json."""
    if ggufs:
        return UsageError(
            f"{files.label} holds {len(ggufs)} GGUF models: {list_models(files.sizes(), ggufs)}",
            hint=f"name one, such as {files.choose.format(ggufs[0])}",
        )
    if "adapter_config.json" in files.sizes():
        return UsageError(f"{files.label} is an adapter, not a model", hint="check its base model with --train lora")
    return BadFile(
        f"{files.label} has no config.json", hint="weights alone do not say how the model caches and computes"
    )


def _notes(stored: StoredWeights, architecture: Architecture) -> tuple[str, ...]:
    from gpufit.facts.stored_check import difference_note

    difference = difference_note(stored, architecture)
    return stored.notes if difference is None else (*stored.notes, difference)


def quantization_section(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """``quantization_config`` of a configuration, or of its nested text configuration.

    >>> quantization_section({"text_config": {"quantization_config": {"quant_method": "fp8"}}})
    {'quant_method': 'fp8'}
    """
    for section in (config, config.get("text_config")):
        if isinstance(section, Mapping) and isinstance(found := section.get("quantization_config"), Mapping):
            return found
    return None


def _read_config(files: Files, name: str) -> dict[str, Any]:
    if files.size(name) is None:
        raise BadFile(f"{files.label} has no {name}", hint="weights alone do not say how the model caches and computes")
    return parse_json(read_whole(files, name, _CONFIG_BYTES), name, largest_bytes=_CONFIG_BYTES, python_floats=True)


def _choose_safetensors(files: Files, wanted: str | None) -> tuple[str, ...]:
    """The safetensors files that make up the model; empty where there are none."""
    from gpufit.facts.safetensors import LARGEST_INDEX_BYTES, parse_index

    index = "model.safetensors.index.json"
    if wanted and wanted.endswith(".index.json"):
        index = wanted
    elif wanted:
        return shard_names(wanted)
    elif files.size("model.safetensors") is not None:
        return ("model.safetensors",)
    if wanted or files.size(index) is not None:
        folder = index.rpartition("/")[0]
        shards = parse_index(read_whole(files, index, LARGEST_INDEX_BYTES), index)
        return tuple(f"{folder}/{shard}" if folder else shard for shard in shards)
    names = files.sizes()
    top = [name for name in first_shards(names, ".safetensors") if "/" not in name and "adapter" not in name]
    if len(top) > 1:
        raise UsageError(
            f"{files.label} holds {len(top)} safetensors models: {list_models(names, top)}",
            hint=f"name one, such as {files.choose.format(top[0])}",
        )
    return shard_names(top[0]) if top else ()


def _require(files: Files, wanted: tuple[str, ...]) -> None:
    missing = [name for name in wanted if files.size(name) is None]
    if missing:
        raise BadFile(
            f"{files.label} lacks {len(missing)} of {len(wanted)} weight files, the first {missing[0]}",
            hint="finish the download, or check by the Hub id",
        )


def _read_safetensors(files: Files, names: tuple[str, ...], section: Mapping[str, Any] | None) -> StoredWeights:
    from gpufit.facts.stored_quant import recognise
    from gpufit.sources.headers import read_safetensors_header

    _require(files, names)
    per_file = files.each(_counted(lambda name: read_safetensors_header(files, name), files.label), names)
    tensors = tuple(tensor for header in per_file for tensor in header)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise BadFile(f"{files.label}: two weight files hold a tensor of the same name")
    found = recognise(tensors, section)
    total = sum(tensor.size_bytes for tensor in tensors)
    return StoredWeights(
        format="safetensors", tensors=tensors, files=names, device_bytes=total,
        method=found.method, quant=found.quant, notes=found.notes,
    )  # fmt: skip


def _counted(read: Callable[[str], tuple[StoredTensor, ...]], label: str) -> Callable[[str], tuple[StoredTensor, ...]]:
    """``read`` that stops once all shards together hold more tensors than any model."""
    seen = 0

    def counted(name: str) -> tuple[StoredTensor, ...]:
        nonlocal seen
        tensors = read(name)
        seen += len(tensors)
        if seen > _MOST_TENSORS:
            raise BadFile(f"{label}: the shards hold more than {_MOST_TENSORS} tensors")
        return tensors

    return counted


def _read_gguf(files: Files, name: str) -> Checkpoint:
    from gpufit.facts.gguf_config import gguf_to_config
    from gpufit.facts.gguf_model import join_headers, to_stored
    from gpufit.sources.headers import read_gguf_header

    names = shard_names(name)
    _require(files, names)
    if len(names) > _MOST_GGUF_SHARDS:
        raise BadFile(f"{name} is one of {len(names)} shards; gpufit reads at most {_MOST_GGUF_SHARDS}")
    header = join_headers(files.each(lambda shard: read_gguf_header(files, shard), names), name)
    translated = gguf_to_config(header)
    architecture = parse_config(translated)
    stored = to_stored(header, names)
    return Checkpoint(
        architecture=replace(architecture, stored=stored), stored=stored, config_source=names[0],
        notes=_notes(stored, architecture), translated=translated,
    )  # fmt: skip
