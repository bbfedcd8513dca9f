"""JSON from strangers: bounded in bytes, in values and in depth, with repeated keys refused.

NaN and Infinity are no JSON numbers, but Python writes them and published configurations hold them: they are let
through where the caller says so, and refused by the typed reading of ``gpufit.facts.config`` where a fact is asked for.

Python's own parser needs about twenty bytes of memory for one byte of ``[[],[],...``, so a limit on the length alone
bounds nothing; the number of values is counted before the first one is built.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from gpufit.errors import BadFile

MIB = 1 << 20
_DEEPEST = 64  # the deepest of 348 published configurations has 7


def parse_json(
    data: bytes,
    what: str,
    *,
    largest_bytes: int = 4 * MIB,
    most_values: int = 250_000,
    condense: Callable[[dict[str, Any]], Any] | None = None,
    python_floats: bool = False,
) -> dict[str, Any]:
    """Parse a JSON object of at most ``largest_bytes`` with at most ``most_values`` values.

    ``condense`` may put something smaller in the place of each object as soon as it is read; with
    ``python_floats`` NaN, Infinity and -Infinity are numbers.

    >>> parse_json(b'{"hidden_size": 4096}', "config.json")
    {'hidden_size': 4096}

    Raises BadFile, naming ``what``, for anything that is not such an object.
    """
    if len(data) > largest_bytes:
        raise BadFile(f"{what} has {len(data)} bytes; gpufit reads at most {largest_bytes}")
    values = sum(map(data.count, (b",", b"[", b"{", b":")))  # an upper bound: strings may hold these characters too
    if values > most_values:
        raise BadFile(f"{what} holds more than {most_values} values")
    try:
        constant = float if python_floats else _no_constant
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_reading(condense), parse_constant=constant)
    except UnicodeDecodeError:
        raise BadFile(f"{what} is not UTF-8 text") from None
    except RecursionError:
        raise BadFile(f"{what} nests too deep") from None
    except ValueError as error:
        raise BadFile(f"{what} is not JSON that gpufit takes: {str(error)[:120]}") from None
    if not isinstance(value, dict):
        raise BadFile(f"{what} is not a JSON object")
    if _deeper_than(value, _DEEPEST):
        raise BadFile(f"{what} nests deeper than {_DEEPEST} levels")
    return value


def _deeper_than(value: dict[str, Any], most: int) -> bool:
    """Whether containers nest deeper than ``most``; walked level by level, since recursion is what is feared here."""
    level: list[Any] = [value]
    for _ in range(most):
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) in (dict, list)
        ]
        if not level:
            return False
    return True


def _reading(condense: Callable[[dict[str, Any]], Any] | None) -> Callable[[list[tuple[str, Any]]], Any]:
    return _unrepeated if condense is None else lambda pairs: condense(_unrepeated(pairs))


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {repeated[:60]!r} stands there twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
