"""Is a catalog right: every entry held against its own count, and one entry against the model's config.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpufit.errors import BadCatalog, GpufitError, no_such_path
from gpufit.facts.architecture import Architecture
from gpufit.facts.audit import ABSENT, Audit, Comparison, Difference, Problem
from gpufit.facts.dtypes import parse_dtype
from gpufit.facts.essence import differing_facts, from_leaves, leaves, try_parse
from gpufit.facts.read import ConfigReader, parse_config
from gpufit.records import replace
from gpufit.sources.catalog import Catalog, CatalogEntry
from gpufit.sources.catalog_file import find_faults
from gpufit.sources.compiled import LARGEST_FILE_BYTES
from gpufit.sources.files import Folder, read_whole
from gpufit.sources.resolve import ResolvedModel

_SHAPES = frozenset({"parameters", "tensors", "stacks", "cache"})


def audit_catalog(path: Path, read: ConfigReader = parse_config) -> Audit:
    """Parse every entry with ``read`` and count its parameters. Raises BadFile where there is no file to read."""
    file = str(path)
    if not path.exists():
        raise no_such_path(path)
    content = read_whole(Folder(path.parent), path.name, LARGEST_FILE_BYTES)
    try:
        compiled, faults = find_faults(content)
    except BadCatalog as fault:
        compiled, faults = {"entries": [], "index": {}}, (fault,)
    problems = [Problem(file=file, line=fault.line, message=fault.problem, hint=fault.hint) for fault in faults]
    for entry in Catalog([(file, compiled)]):
        try:
            entry.architecture(read)
        except BadCatalog as fault:
            problems.append(Problem(file=file, line=fault.line, message=fault.problem, hint=fault.hint))
        except GpufitError as error:  # no reader for this family or class
            problems.append(
                Problem(file=file, line=entry.line, message=f"{entry.name}: {error.message}", hint=error.hint)
            )
    problems.sort(key=lambda problem: problem.line)
    return Audit(file=file, entries=len(compiled["entries"]) + len(faults), problems=tuple(problems))


def compare_entry(entry: CatalogEntry, found: ResolvedModel, source: str) -> Comparison:
    """Hold ``entry`` against the model that was read from a configuration.

    A key that only one side states is a difference only where leaving it out, or putting it in, changes the model:
    entries leave out what equals the default. Raises BadCatalog where the entry itself is wrong.
    """
    ours = entry.architecture()
    theirs = replace(found.architecture, task=ours.task)
    if theirs.dtype is None:  # nothing to compare with: the configuration leaves it to the files
        theirs = replace(theirs, dtype=ours.dtype)
    facts = differing_facts(ours, theirs)
    keys = tuple(_keys(entry, found)) or (tuple(_keys(entry, found, joint=True)) if _SHAPES & set(facts) else ())
    return Comparison(
        name=entry.name, source=source, config_source=found.config_source,
        differences=(*keys, *_stated(entry, found.architecture)), facts=facts,
        catalog_parameters=ours.parameters, config_parameters=theirs.parameters,
    )  # fmt: skip


def _keys(entry: CatalogEntry, found: ResolvedModel, *, joint: bool = False) -> Iterator[Difference]:
    """Keys that differ; ``joint`` names one-sided ones too that change nothing alone, as those of a section do."""
    ours, theirs = leaves(entry.config), leaves(found.config or found.translated or {})
    read = {tuple(key.split(".")) for key, _ in found.architecture.provenance}
    own = try_parse(entry.config)
    for path in dict.fromkeys((*ours, *(path for path in theirs if path in read))):
        if path[-1] in ("dtype", "torch_dtype"):
            continue  # a field of the entry
        here, there = ours.get(path, ABSENT), theirs.get(path, ABSENT)
        if here == there:
            continue
        if here is ABSENT:
            matters = joint or _changes(entry, own, {**ours, path: there})
        elif there is ABSENT:
            matters = joint or _changes(entry, own, {key: value for key, value in ours.items() if key != path})
        else:
            matters = True
        if matters:
            yield Difference(key=".".join(path), catalog=_shown(here), config=_shown(there))


def _shown(value: object) -> str:
    """A value as config.json writes it, a text without its quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=dict)


def _changes(entry: CatalogEntry, own: Architecture | None, values: dict[tuple[str, ...], Any]) -> bool:
    """Whether the entry, ``own`` as it is read, is another model with these values in its configuration."""
    other = try_parse(from_leaves(values))
    if other is None or own is None:
        return True
    if entry.context_tokens:  # the entry's own field decides, whatever its config says
        own, other = (replace(one, max_context_tokens=entry.context_tokens) for one in (own, other))
    return bool(differing_facts(own, other))


def _stated(entry: CatalogEntry, theirs: Architecture) -> Iterator[Difference]:
    """The fields that stand beside an entry's configuration."""
    if theirs.dtype and parse_dtype(theirs.dtype) != entry.dtype:
        yield Difference(key="dtype", catalog=entry.dtype, config=theirs.dtype)
    context = entry.architecture().max_context_tokens
    if context != theirs.max_context_tokens:
        yield Difference(key="context", catalog=str(context or ABSENT), config=str(theirs.max_context_tokens or ABSENT))
