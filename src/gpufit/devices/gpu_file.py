"""``gpus.yaml`` read and checked: bytes in, a plain table out, ready for the compiled cache. Runs only when it changed.

The table is ``{"gpus": {key: fields}, "index": {squashed name: key}, "sizes": {squashed name: [keys]}}``; ``sizes``
holds the names that are sold in several sizes and therefore name no card by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gpufit.devices.names import squash_name, strip_size
from gpufit.errors import BadCatalog
from gpufit.sources.strict_yaml import parse_yaml

_FILE = "gpus.yaml"
_CC = re.compile(r"[0-9]{1,2}\.[0-9]")
_GFX = re.compile(r"gfx[0-9]{1,2}[0-9a-f]{2}")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 10**8


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < 10**6  # type: ignore[operator]


def _is_text(value: object) -> bool:
    return type(value) is str and bool(value.strip())


def _is_texts(value: object) -> bool:
    return type(value) is list and bool(value) and all(map(_is_text, value))


def _is_counts(value: object) -> bool:
    return type(value) is list and bool(value) and all(map(_is_count, value))


def _is_gfx(value: object) -> bool:
    return type(value) is str and _GFX.fullmatch(value) is not None


def _is_cc(value: object) -> bool:
    return type(value) is str and _CC.fullmatch(value) is not None


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "name": (_is_text, "text"),
    "vendor": (_is_text, "text"),
    "gb": (_is_count, "a whole number above 0"),
    "sizes_gb": (_is_counts, "a list of whole numbers"),
    "mib": (_is_count, "a whole number above 0"),
    "usable_mib": (_is_count, "a whole number above 0"),
    "bound_mib": (_is_count, "a whole number above 0"),
    "unified": (lambda value: value is True, "true, or absent"),
    "cc": (_is_cc, 'text such as "7.5"'),
    "gfx": (_is_gfx, "text such as gfx1100"),
    "gb_per_s": (_is_number, "a number above 0"),
    "aliases": (_is_texts, "a list of names"),
    "source": (_is_texts, "a list of sources"),
    "note": (_is_text, "text"),
}
_SHARED = ("vendor", "cc", "gfx", "source")


def compile_gpus(content: bytes) -> dict[str, Any]:
    """Check the whole file and build the table. Raises BadCatalog with the line of the first fault."""
    data, lines = parse_yaml(content, _FILE)
    if not isinstance(data, dict) or not isinstance(data.get("sources"), dict):
        raise BadCatalog(_FILE, 1, "needs 'sources' and groups of cards at the top level")
    citations = data.pop("sources")
    gpus: dict[str, dict[str, Any]] = {}
    index: dict[str, str] = {}
    for group_name, group in data.items():
        if not isinstance(group, dict) or not isinstance(group.get("gpus"), dict):
            raise BadCatalog(_FILE, lines[(group_name,)], f"group {group_name!r} needs 'gpus'")
        shared = {field: value for field, value in group.items() if field != "gpus"}
        _check_fields(shared, _SHARED, lines[(group_name,)])
        for key, own in group["gpus"].items():
            line = lines[group_name, "gpus", key]
            if not isinstance(own, dict):
                raise BadCatalog(_FILE, line, f"{key} must be a mapping of fields")
            _check_fields(own, tuple(_FIELDS), line)
            entry = {**shared, **own}
            _check_whole(key, entry, line)
            entry["source"] = [citations.get(source, source) for source in entry["source"]]
            for sized_key, sized in _sizes(key, entry):
                _add(gpus, index, sized_key, sized, line)
    return {"gpus": gpus, "index": index, "sizes": _several_sizes(gpus, index)}


def _check_fields(fields: dict[str, Any], allowed: tuple[str, ...], line: int) -> None:
    for field, value in fields.items():
        if field not in allowed:
            raise BadCatalog(_FILE, line, f"unknown field {field!r}", hint=f"known fields: {', '.join(allowed)}")
        is_right, wanted = _FIELDS[field]
        if not is_right(value):
            raise BadCatalog(_FILE, line, f"{field} must be {wanted}, not {str(value)[:40]!r}")


def _check_whole(key: str, entry: dict[str, Any], line: int) -> None:
    for field in ("name", "vendor", "source"):
        if field not in entry:
            raise BadCatalog(_FILE, line, f"{key} lacks {field!r}")
    if ("gb" in entry) == ("sizes_gb" in entry):
        raise BadCatalog(_FILE, line, f"{key} needs either gb or sizes_gb")
    if sum(field in entry for field in ("mib", "bound_mib", "unified")) != 1:
        raise BadCatalog(_FILE, line, f"{key} needs exactly one of mib, bound_mib and unified")
    largest_mib = entry.get("gb", 0) * 1024 * 21 // 20  # sellers count some cards in 10⁹ bytes or leave some out
    for field in ("mib", "usable_mib", "bound_mib"):
        if field in entry and entry[field] > largest_mib:
            raise BadCatalog(_FILE, line, f"{key}: {field} {entry[field]} is more than {entry['gb']} GB hold")
    if entry.get("usable_mib", 0) > entry.get("mib", 0):
        raise BadCatalog(_FILE, line, f"{key}: usable_mib is more than mib")


def _sizes(key: str, entry: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    if "sizes_gb" not in entry:
        return [(key, entry)]
    common = {field: value for field, value in entry.items() if field not in ("sizes_gb", "aliases")}
    return [
        (
            f"{key}-{gb}gb",
            {**common, "gb": gb, "name": f"{entry['name']} ({gb} GB)"}
            | {"aliases": [f"{alias}-{gb}gb" for alias in entry.get("aliases", [])]},
        )
        for gb in entry["sizes_gb"]
    ]


def _add(gpus: dict[str, dict[str, Any]], index: dict[str, str], key: str, entry: dict[str, Any], line: int) -> None:
    if key in gpus:
        raise BadCatalog(_FILE, line, f"{key!r} stands in two groups")
    gpus[key] = entry
    for name in (key, entry["name"], *entry.get("aliases", ())):
        owner = index.setdefault(squash_name(name), key)
        if owner != key:
            raise BadCatalog(_FILE, line, f"{name!r} already means {owner}")


def _several_sizes(gpus: dict[str, dict[str, Any]], index: dict[str, str]) -> dict[str, list[str]]:
    """Names that become equal once their size is left out, such as a100 and rtx-4060-ti."""
    found: dict[str, list[str]] = {}
    for key, entry in gpus.items():
        for bare in {squash_name(strip_size(name)) for name in (key, entry["name"], *entry.get("aliases", ()))}:
            found.setdefault(bare, []).append(key)
    return {bare: keys for bare, keys in found.items() if bare not in index and bare}
