"""The catalog: models that gpufit knows by name, without a network and without a download.

Three files make it, each later one adding to the earlier or replacing entries of the same name: the ``models.yaml``
that gpufit ships, the user's own (``$XDG_CONFIG_HOME/gpufit/models.yaml``), and the file given with ``--catalog``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from gpufit.errors import BadCatalog, BadConfig, UnknownName
from gpufit.facts.architecture import Architecture, Task
from gpufit.facts.read import ConfigReader, parse_config
from gpufit.records import derived, record, replace
from gpufit.sources.catalog_file import compile_models
from gpufit.sources.compiled import load_compiled, user_cache_dir
from gpufit.sources.data_files import data_file

_SHIPPED = "models.yaml"


@record(eq=False)
class CatalogEntry:
    """One model: who it is, and the keys of its config.json that decide what it needs.

    ``parameters`` is the published count, tied weights once; ``dtype`` what the checkpoint is stored in;
    ``context_tokens`` the published maximum, None where the design sets none. ``line`` is 1-based in ``file``.
    """

    name: str
    hub_id: str | None
    aliases: tuple[str, ...]
    task: Task
    family: str
    parameters: int
    dtype: str
    context_tokens: int | None
    config: Mapping[str, Any]
    notes: tuple[str, ...]
    file: str
    line: int
    _parsed: list[Architecture] = derived()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parsed", [])

    def architecture(self, read: ConfigReader = parse_config) -> Architecture:
        """The model's facts, read from ``config`` through the same door as any config.json; kept after the first call.

        Raises BadCatalog, with file and line, where the config cannot be read or does not hold ``parameters``, and
        UnknownFamily where gpufit has no reader.
        """
        if not self._parsed:
            self._parsed.append(self._parse(read))
        return self._parsed[0]

    def _parse(self, read: ConfigReader) -> Architecture:
        try:
            found = read(self.config)
        except BadConfig as error:
            raise BadCatalog(self.file, self.line, f"{self.name}: {error.message}", hint=error.hint) from None
        if found.parameters != self.parameters:
            raise BadCatalog(
                self.file,
                self.line,
                f"{self.name}: parameters is {self.parameters:,}, but its config makes {found.parameters:,}",
                hint="compare config with the model's config.json, or correct parameters",
            )
        return replace(
            found,
            task=self.task,
            dtype=self.dtype,
            max_context_tokens=self.context_tokens or found.max_context_tokens,
            notes=found.notes + self.notes,
            provenance=(*found.provenance, *self._stated()),
        )

    def _stated(self) -> tuple[tuple[str, str], ...]:
        """What the entry says beside ``config``."""
        context = (("context", str(self.context_tokens)),) if self.context_tokens else ()
        return (("task", self.task), ("dtype", self.dtype), *context)


class Catalog:
    """Entries by name. Built from compiled files; an entry is made only when somebody asks for it."""

    def __init__(self, layers: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """``layers`` are (file, what ``compile_models`` made of it), the strongest last."""
        self._layers = tuple(layers)
        self._made: dict[tuple[int, int], CatalogEntry] = {}

    def find(self, name: str) -> CatalogEntry | None:
        """The entry with this short name, alias or Hub id, whatever its case; None where there is none.

        An entry that replaces another of its name also answers to that one's aliases.

        >>> load_catalog(None, {}).find("Meta-Llama/Llama-2-7B-HF").name
        'llama-2-7b'
        """
        key = name.lower()
        for depth in reversed(range(len(self._layers))):
            position = self._layers[depth][1]["index"].get(key)
            if position is not None:
                return self._strongest(depth, position)
        return None

    def get(self, name: str) -> CatalogEntry:
        """As ``find``; raises UnknownName with the nearest names where there is no such entry."""
        entry = self.find(name)
        if entry is None:
            raise UnknownName("model", name[:100], self.nearest(name), hint="gpufit list shows all")
        return entry

    def nearest(self, name: str, count: int = 3) -> tuple[str, ...]:
        """The short names of the entries most like ``name``, best first, at most ``count``.

        >>> load_catalog(None, {}).nearest("lama-2-7b")[0]
        'llama-2-7b'
        """
        from difflib import get_close_matches

        close = get_close_matches(name[:100].lower(), self.names(), n=4 * count, cutoff=0.5)
        entries = (self.find(match) for match in close)
        return tuple(dict.fromkeys(entry.name for entry in entries if entry))[:count]

    def names(self) -> tuple[str, ...]:
        """Every name, alias and Hub id that ``find`` knows, in lower case."""
        return tuple(dict.fromkeys(name for _, compiled in self._layers for name in compiled["index"]))

    @property
    def entries(self) -> tuple[CatalogEntry, ...]:
        """Every entry in the order of the files; a replaced one in the place of the one that it replaces."""
        found: dict[str, CatalogEntry] = {}
        for depth, (_, compiled) in enumerate(self._layers):
            for position, fields in enumerate(compiled["entries"]):
                found[fields["name"].lower()] = self._entry(depth, position)
        return tuple(found.values())

    def __iter__(self) -> Iterator[CatalogEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len({fields["name"].lower() for _, compiled in self._layers for fields in compiled["entries"]})

    def source_of(self, entry: CatalogEntry) -> str:
        """Where the entry stands: file and line.

        >>> catalog = load_catalog(None, {})
        >>> catalog.source_of(catalog.get("gpt2")).startswith("models.yaml:")
        True
        """
        return f"{entry.file}:{entry.line}"

    def _strongest(self, depth: int, position: int) -> CatalogEntry:
        name = self._layers[depth][1]["entries"][position]["name"].lower()
        for above in reversed(range(depth + 1, len(self._layers))):
            _, compiled = self._layers[above]
            again = compiled["index"].get(name)
            if again is not None and compiled["entries"][again]["name"].lower() == name:
                return self._entry(above, again)
        return self._entry(depth, position)

    def _entry(self, depth: int, position: int) -> CatalogEntry:
        made = self._made.get((depth, position))
        if made is None:
            file, compiled = self._layers[depth]
            fields = compiled["entries"][position]
            made = _make_entry(file, fields, self._replaced(depth, fields["name"]))
            self._made[depth, position] = made
        return made

    def _replaced(self, depth: int, name: str) -> str | None:
        """The file whose entry of this name the layer at ``depth`` replaces."""
        for file, compiled in self._layers[:depth]:
            below = compiled["index"].get(name.lower())
            if below is not None and compiled["entries"][below]["name"].lower() == name.lower():
                return file
        return None


def load_catalog(extra: Path | None, environ: Mapping[str, str]) -> Catalog:
    """The shipped catalog, extended by the user's own and by ``extra``.

    Raises BadCatalog with file and line for a broken file, BadFile for one that cannot be read.

    >>> load_catalog(None, {}).get("llama-2-7b").parameters
    6738415616
    """
    cache = user_cache_dir(environ)
    shipped, *further = catalog_files(extra, environ)
    return Catalog([(_SHIPPED, _load(shipped, cache)), *((str(path), _load(path, cache)) for path in further)])


def catalog_files(extra: Path | None, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that make the catalog, the weakest first: the shipped one, the user's own, ``extra``."""
    return tuple(path for path in (data_file(_SHIPPED), user_catalog(environ), extra) if path is not None)


def user_catalog(environ: Mapping[str, str]) -> Path | None:
    """The user's own catalog, where there is one.

    >>> user_catalog({"XDG_CONFIG_HOME": "/nonexistent"}) is None
    True
    """
    path = user_catalog_place(environ)
    return path if os.path.lexists(path) else None


def user_catalog_place(environ: Mapping[str, str]) -> Path:
    """Where the user's own catalog lies, or would lie.

    >>> user_catalog_place({"XDG_CONFIG_HOME": "/home/ada/.config"}).as_posix()
    '/home/ada/.config/gpufit/models.yaml'
    """
    place = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(place):  # the XDG rules: a relative path is ignored
        place = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return Path(place, "gpufit", _SHIPPED)


def _load(path: Path, cache: Path | None) -> Mapping[str, Any]:
    try:
        return cast("Mapping[str, Any]", load_compiled(path, compile_models, cache_dir=cache))
    except BadCatalog as error:
        raise BadCatalog(str(path), error.line, error.problem, hint=error.hint) from None


def _make_entry(file: str, fields: Mapping[str, Any], replaced: str | None) -> CatalogEntry:
    notes = (fields["notes"],) if "notes" in fields else ()
    return CatalogEntry(
        name=fields["name"],
        hub_id=fields.get("hub"),
        aliases=tuple(fields.get("aliases", ())),
        task=fields["task"],
        family=fields.get("family") or fields["config"]["model_type"],
        parameters=fields["parameters"],
        dtype=fields["dtype"],
        context_tokens=fields.get("context"),
        config=fields["config"],
        notes=(*notes, f"{file} replaces the entry of {replaced}") if replaced else notes,
        file=file,
        line=fields["line"],
    )
