"""The front door for Python. It wires the rooms together and holds no logic of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gpufit.records import replace
from gpufit.units import parse_size
from gpufit.verdict.check import Check, Subject, check_fit
from gpufit.verdict.plan import Request, plan_workload

if TYPE_CHECKING:
    from gpufit.accuracy.cards import Card
    from gpufit.accuracy.validate import Validation
    from gpufit.devices.device import Device
    from gpufit.facts.architecture import Architecture
    from gpufit.facts.audit import Added, Comparison
    from gpufit.facts.read import ConfigReader
    from gpufit.memory.explanation import Explanation
    from gpufit.sources.catalog import Catalog
    from gpufit.verdict.listing import Listed, ListFilter

Size = str | int | float


def check(
    model: str,
    *,
    vram: Size | None = None,
    gpu: str | None = None,
    context: int | None = None,
    prompt: int | None = None,
    new_tokens: int | None = None,
    batch: int = 1,
    dtype: str | None = None,
    quant: str | None = None,
    kv_dtype: str | None = None,
    attention: str | None = None,
    runtime: str = "transformers",
    images: int | None = None,
    reserve: Size = 0,
    catalog: str | Path | None = None,
    revision: str | None = None,
    environ: Mapping[str, str] | None = None,
    via_transformers: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Check:
    """Does ``model`` fit, doing this work, on this GPU?

    ``vram`` is a size (``16``, ``"16GB"``, ``"15360MiB"``), ``gpu`` a card by name (``"t4"``, ``"a100-80gb"``);
    with neither, the real devices are probed and the freest is used. Sizes are bytes throughout the result. With
    ``via_transformers`` the installed transformers builds a family that gpufit has no reader for, in a child process:
    weights and cache are then exact, and the verdict is "no" or "unknown".

    >>> result = check("llama-2-7b", vram="16GB", context=4096)
    >>> result.verdict, result.estimate.weights.total_bytes
    ('no', 13476831232)

    Raises UnknownName, UsageError, Unsupported, Undecided, BadFile, SourceError or AccessNeeded (see gpufit.errors).
    """
    environment = os.environ if environ is None else environ
    subject = find_model(
        model, catalog=catalog, revision=revision, environ=environment, progress=progress,
        via_transformers=via_transformers,
    )  # fmt: skip
    device = find_device(vram=vram, gpu=gpu, environ=environment)
    request = Request(
        context=context, prompt=prompt, new_tokens=new_tokens, batch=batch, dtype=dtype, quant=quant,
        kv_dtype=kv_dtype, attention=attention, runtime=runtime, images=images,
    )  # fmt: skip
    workload, notes = plan_workload(subject.architecture, device, request)
    return check_fit(
        subject, workload, device,
        reserve_bytes=parse_reserve(reserve), larger=lambda: larger_cards(device, environment), notes=notes,
    )  # fmt: skip


def find_model(
    model: str,
    *,
    catalog: str | Path | None = None,
    revision: str | None = None,
    environ: Mapping[str, str],
    progress: Callable[[str], None] | None = None,
    via_transformers: bool = False,
    trained: bool = False,
) -> Subject:
    """A catalog name, Hub id, folder, config.json, .safetensors or .gguf as a Subject; ``trained`` with a task head."""
    from gpufit.sources.resolve import resolve_model

    found = resolve_model(
        model, catalog=load_catalog(catalog, environ), environ=environ, revision=revision, progress=progress,
        read=config_reader(via_transformers, progress),
    )  # fmt: skip
    architecture = found.architecture
    if trained:
        from gpufit.facts.task_head import with_task_head

        architecture = with_task_head(architecture, found.config)
    return Subject(
        name=found.name, origin=found.origin, architecture=architecture, hub_id=found.hub_id, notes=found.notes
    )


def explain(
    model: str,
    *,
    vram: Size | None = None,
    gpu: str | None = None,
    context: int | None = None,
    prompt: int | None = None,
    new_tokens: int | None = None,
    batch: int = 1,
    dtype: str | None = None,
    quant: str | None = None,
    kv_dtype: str | None = None,
    attention: str | None = None,
    runtime: str = "transformers",
    images: int | None = None,
    catalog: str | Path | None = None,
    revision: str | None = None,
    environ: Mapping[str, str] | None = None,
    via_transformers: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Explanation:
    """Where every number of ``check`` comes from: formulas, files and keys, tensors by role, layers by cache kind.

    Takes what ``check`` takes, and needs no device: with neither ``vram`` nor ``gpu`` none is looked for.

    >>> explain("llama-3.1-8b").keys_of("kv_cache")[:2]
    ('model_type', 'hidden_size')

    Raises what ``check`` raises, but NoDevice.
    """
    from gpufit.memory.explanation import explain_estimate
    from gpufit.sources.resolve import resolve_model

    environment = os.environ if environ is None else environ
    found = resolve_model(
        model, catalog=load_catalog(catalog, environment), environ=environment, revision=revision, progress=progress,
        read=config_reader(via_transformers, progress),
    )  # fmt: skip
    named = vram is not None or gpu is not None
    device = find_device(vram=vram, gpu=gpu, environ=environment) if named else None
    request = Request(
        context=context, prompt=prompt, new_tokens=new_tokens, batch=batch, dtype=dtype, quant=quant,
        kv_dtype=kv_dtype, attention=attention, runtime=runtime, images=images,
    )  # fmt: skip
    workload, notes = plan_workload(found.architecture, device, request)
    return explain_estimate(
        found.architecture, workload, found.config or found.translated or {},
        name=found.name, origin=found.origin, source=found.config_source, hub_id=found.hub_id,
        notes=(*found.notes, *found.architecture.notes, *notes),
    )  # fmt: skip


def config_reader(via_transformers: bool, progress: Callable[[str], None] | None = None) -> ConfigReader:
    """What reads a config.json: gpufit's own readers, or those and, for other families, the installed transformers."""
    if via_transformers:
        from functools import partial

        from gpufit.replay.via_transformers import read_or_build

        return partial(read_or_build, progress=progress)
    from gpufit.facts.read import parse_config

    return parse_config


def load_catalog(catalog: str | Path | None, environ: Mapping[str, str]) -> Catalog:
    """The shipped catalog, extended by the user's own and by ``catalog``."""
    from gpufit.sources.catalog import load_catalog as load

    return load(Path(catalog) if catalog is not None else None, environ)


def add_to_catalog(
    model: str,
    *,
    name: str | None = None,
    file: str | Path | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    environ: Mapping[str, str] | None = None,
    via_transformers: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Added:
    """Write an entry for ``model`` into the catalog ``file``, by default the user's own.

    ``dtype`` says what the model is stored in where neither its configuration nor its files do. Raises UsageError for a
    name that is taken, and what ``check`` raises for a model or file that cannot be read.
    """
    from gpufit.sources.catalog import user_catalog_place
    from gpufit.sources.catalog_write import add_model
    from gpufit.sources.resolve import resolve_model

    environment = os.environ if environ is None else environ
    path = user_catalog_place(environment) if file is None else Path(file).expanduser()
    known = load_catalog(path if file is not None and path.exists() else None, environment)
    found = resolve_model(
        model, catalog=known, environ=environment, revision=revision, progress=progress,
        read=config_reader(via_transformers, progress),
    )  # fmt: skip
    return add_model(found, path, known, name=name, dtype=dtype)


def compare_with_config(
    name: str, config: str | Path, *, catalog: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> Comparison:
    """Hold the catalog's entry ``name`` against a config.json, or a folder with one."""
    from gpufit.errors import no_such_path
    from gpufit.sources.catalog_audit import compare_entry
    from gpufit.sources.resolve import resolve_path

    known = load_catalog(catalog, os.environ if environ is None else environ)
    entry, path = known.get(name), Path(config).expanduser()
    if not os.path.lexists(path):
        raise no_such_path(path)
    return compare_entry(entry, resolve_path(path), known.source_of(entry))


def find_device(*, vram: Size | None, gpu: str | None, environ: Mapping[str, str]) -> Device:
    """The device to judge against: given by size, by name, or the freest one that the probes find."""
    from gpufit.devices.given import given_device

    given = given_device(vram=vram, gpu=gpu, environ=environ)
    if given is not None:
        return given
    from gpufit.devices.probe import choose_device, probe_devices

    result = probe_devices(environ)
    chosen = choose_device(result.devices, result.findings)
    return replace(chosen, others=tuple(other for other in result.devices if other is not chosen))


def parse_reserve(reserve: Size) -> int:
    """Bytes to keep free; 0 is allowed."""
    return 0 if str(reserve).strip() in ("0", "0.0", "") else parse_size(reserve, what="reserve")


def list_models(
    *,
    fits: bool = False,
    vram: Size | None = None,
    gpu: str | None = None,
    reserve: Size = 0,
    context: int | None = None,
    batch: int = 1,
    filters: ListFilter | None = None,
    catalog: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Listed, ...]:
    """The catalog, or with ``fits`` what of it fits a device, each with its best quantization.

    >>> [row.entry.name for row in list_models(fits=True, vram="1GB") if row.entry.name == "gpt2"]
    ['gpt2']
    """
    from gpufit.sources.catalog import catalog_files
    from gpufit.sources.compiled import user_cache_dir
    from gpufit.sources.kept import Kept, file_stamp
    from gpufit.verdict.listing import Listed as Row
    from gpufit.verdict.listing import ListFilter as Filter
    from gpufit.verdict.listing import check_family, list_entries
    from gpufit.verdict.menu import Menus, kind_of

    environment = os.environ if environ is None else environ
    wanted = filters or Filter()
    known = load_catalog(catalog, environment).entries
    check_family(wanted.family, (entry.family for entry in known))
    entries = tuple(entry for entry in known if wanted.admits(entry))
    if not fits and vram is None and gpu is None:
        if wanted.quant is not None:
            from gpufit.verdict.weights_list import weigh_alone

            return weigh_alone(entries, wanted.quant)
        return tuple(Row(entry=entry) for entry in entries)
    device = find_device(vram=vram, gpu=gpu, environ=environment)
    files = catalog_files(None if catalog is None else Path(catalog), environment)
    cache = user_cache_dir(environment)
    kept = Kept([*kind_of(device), batch, *map(file_stamp, files)], cache)
    menus = Menus(kept.read(), whole=cache is not None and batch == 1)  # other batches fill up as they are asked about
    listed = list_entries(
        entries, device=device, reserve_bytes=parse_reserve(reserve),
        request=Request(context=context, batch=batch, quant=wanted.quant), menus=menus,
    )  # fmt: skip
    if menus.changed:
        kept.write(menus.kept)
    return tuple(row for row in listed if row.option is not None) if fits else listed


def architecture_of(model: str, *, environ: Mapping[str, str] | None = None) -> Architecture:
    """The facts of a model, for use with gpufit.memory.

    >>> architecture_of("gpt2").parameters
    124439808
    """
    return find_model(model, environ=os.environ if environ is None else environ).architecture


def validate(
    file: str | Path,
    *,
    configs: str | Path | None = None,
    catalog: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Validation:
    """Hold the estimates against the measurements of a CSV file.

    A row's ``architecture`` is looked up in the catalog, then as ``owner__name.json`` in the folder ``configs``, then
    on the Hub, once for each; a row whose model is nowhere is refused. Raises BadFile where the file itself cannot be
    read.
    """
    from gpufit.accuracy.measurements import read_measurements
    from gpufit.accuracy.validate import validate as compare_all
    from gpufit.sources.known import known_architectures, or_the_hub

    environment = os.environ if environ is None else environ
    rows = read_measurements(Path(file))
    folder = Path(configs) if configs is not None else None
    known = known_architectures(load_catalog(catalog, environment), folder)
    return compare_all(
        rows,
        find_architecture=or_the_hub(known, environment),
        find_card=card_facts(environment),
    )


def card_facts(environ: Mapping[str, str]) -> Callable[[str], Card]:
    """What the table of GPUs knows of a card that a measurement names in its own words."""
    from gpufit.accuracy.cards import UNKNOWN_CARD, Card
    from gpufit.devices.table import load_gpus

    table = load_gpus(environ)

    def find(name: str) -> Card:
        gpu = table.named(name)
        if gpu is None:
            sizes = table.sizes_of(name)  # sold in several sizes: the generation is known, the total is not
            return Card(capability=table[sizes[0]].compute_capability) if sizes else UNKNOWN_CARD
        return Card(
            capability=gpu.compute_capability,
            total_bytes=gpu.total_mib << 20 if gpu.total_mib else None,
            usable_bytes=gpu.usable_mib << 20 if gpu.usable_mib else None,
        )

    return find


def larger_cards(device: Device, environ: Mapping[str, str]) -> tuple[Device, ...]:
    """Cards of the table with more memory than this one, smallest first."""
    from gpufit.devices.table import load_gpus

    own = device.total_bytes or 0
    cards = (card for card in load_gpus(environ).devices() if (card.total_bytes or 0) > own)
    return tuple(sorted(cards, key=lambda card: (card.total_bytes or 0, card.name)))
