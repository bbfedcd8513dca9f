"""A catalog file read and checked: YAML bytes in, plain data out, ready for the compiled cache.

The compiled form is ``{"entries": [fields...], "index": {lower-case name: position}}``. Besides its short name, aliases
and Hub ids, an entry answers to the last part of each Hub id, unless two entries would. Runs only when a file changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args

from gpufit.errors import BadCatalog
from gpufit.facts.architecture import Task
from gpufit.sources.strict_yaml import Lines, parse_yaml

TASKS: tuple[str, ...] = get_args(Task)
DTYPES = ("fp32", "fp16", "bf16")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,95}")
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9._-]{1,96}")
_MOST_CONFIG_VALUES = 10_000
_FILE = "catalog"  # the caller, who knows the path, puts it here


def _is_text(longest: int) -> Callable[[object], bool]:
    return lambda value: type(value) is str and 0 < len(value.strip()) <= longest and value.isprintable()


def _is_count(largest: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and 0 < value <= largest


def _is_hub_id(value: object) -> bool:
    return type(value) is str and _HUB_ID.fullmatch(value) is not None


def _is_names(value: object) -> bool:
    return type(value) is list and all(
        type(name) is str and (_NAME.fullmatch(name) or _HUB_ID.fullmatch(name)) for name in value
    )


def _is_config(value: object) -> bool:
    return type(value) is dict and type(value.get("model_type")) is str and _count_values(value) <= _MOST_CONFIG_VALUES


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "hub": (_is_hub_id, "a Hub id such as meta-llama/Llama-2-7b-hf"),
    "aliases": (_is_names, "a list of names or Hub ids"),
    "family": (_is_text(40), "a short text"),
    "task": (lambda value: value in TASKS, f"one of {', '.join(TASKS)}"),
    "parameters": (_is_count(1 << 50), "a whole number above 0"),
    "dtype": (lambda value: value in DTYPES, f"one of {', '.join(DTYPES)}"),
    "context": (_is_count(1 << 40), "a whole number of tokens above 0"),
    "notes": (_is_text(300), "a text of at most 300 characters"),
    "config": (_is_config, "the keys of a config.json, with model_type among them"),
}
_REQUIRED = ("task", "parameters", "dtype", "config")


def compile_models(content: bytes) -> dict[str, Any]:
    """Check the whole file and build entries and index. Raises BadCatalog with the line of the first fault.

    >>> compile_models(b'''
    ... models:
    ...   tiny: {task: causal-lm, parameters: 5, dtype: fp16, config: {model_type: llama}}
    ... ''')["index"]
    {'tiny': 0}
    """
    models, lines = _models(content)
    entries = [_check_entry(name, fields, lines) for name, fields in models.items()]
    return {"entries": entries, "index": _index(entries, lines)}


def find_faults(content: bytes) -> tuple[dict[str, Any], tuple[BadCatalog, ...]]:
    """As ``compile_models``, but every faulty entry is left out and named, instead of the first one raised.

    Raises BadCatalog where the file as a whole is no catalog.

    >>> compiled, faults = find_faults(b"models: {a: 1, b: 2}")
    >>> compiled["entries"], [fault.problem for fault in faults]
    ([], ['a must be a mapping of fields', 'b must be a mapping of fields'])
    """
    models, lines = _models(content)
    entries: list[dict[str, Any]] = []
    faults: list[BadCatalog] = []
    for name, fields in models.items():
        try:
            entries.append(_check_entry(name, fields, lines))
            _index(entries, lines)
        except BadCatalog as fault:
            faults.append(fault)
            entries = [entry for entry in entries if entry["name"] != name]
    return {"entries": entries, "index": _index(entries, lines)}, tuple(faults)


def _models(content: bytes) -> tuple[dict[str, Any], Lines]:
    """The entries as written, and the line of every key."""
    data, lines = parse_yaml(content, _FILE)
    if not isinstance(data, dict) or not isinstance(data.get("models"), dict):
        raise BadCatalog(_FILE, 1, "needs 'models:' at the top level", hint="with one 'name: {...}' for each model")
    for key in data:
        if key != "models":
            raise BadCatalog(_FILE, lines[(key,)], f"unknown key {key[:40]!r} at the top level", hint="only 'models'")
    return data["models"], lines


def _check_entry(name: str, fields: object, lines: Lines) -> dict[str, Any]:
    line = lines["models", name]
    if not _NAME.fullmatch(name):
        raise BadCatalog(_FILE, line, f"{name[:60]!r} is not a name", hint="letters, digits and . _ + - make one")
    if not isinstance(fields, dict):
        raise BadCatalog(_FILE, line, f"{name} must be a mapping of fields")
    for field, value in fields.items():
        at = lines["models", name, field]
        if field not in _FIELDS:
            raise BadCatalog(
                _FILE, at, f"{name}: unknown field {field[:40]!r}", hint=f"known fields: {', '.join(_FIELDS)}"
            )
        is_right, wanted = _FIELDS[field]
        if not is_right(value):
            raise BadCatalog(_FILE, at, f"{name}: {field} must be {wanted}, not {_shown(value)}")
    for field in _REQUIRED:
        if field not in fields:
            raise BadCatalog(_FILE, line, f"{name} lacks {field!r}", hint=f"it must be {_FIELDS[field][1]}")
    return {"name": name, "line": line, **fields}


def _index(entries: list[dict[str, Any]], lines: Lines) -> dict[str, int]:
    """Lower-case name -> position in ``entries``; a name that two entries claim is an error."""
    index: dict[str, int] = {}
    for position, entry in enumerate(entries):
        for name in _own_names(entry):
            owner = index.setdefault(name.lower(), position)
            if owner != position:
                where = next(
                    (at for field in ("hub", "aliases") if (at := lines.get(("models", entry["name"], field)))),
                    entry["line"],
                )
                problem = f"{entry['name']}: {name!r} already means {entries[owner]['name']}"
                raise BadCatalog(_FILE, where, problem, hint="give every model names of its own")
    last_parts: dict[str, set[int]] = {}
    for position, entry in enumerate(entries):
        for name in _own_names(entry):
            if "/" in name:
                last_parts.setdefault(name.rpartition("/")[2].lower(), set()).add(position)
    for part, owners in last_parts.items():
        if len(owners) == 1:
            index.setdefault(part, *owners)
    return index


def _own_names(entry: dict[str, Any]) -> tuple[str, ...]:
    hub = (entry["hub"],) if "hub" in entry else ()
    return (entry["name"], *hub, *entry.get("aliases", ()))


def _count_values(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_count_values, value.values()))
    return 1 + sum(map(_count_values, value)) if isinstance(value, list) else 1


def _shown(value: object) -> str:
    return f"a {type(value).__name__}" if isinstance(value, (dict, list)) else repr(value)[:40]
