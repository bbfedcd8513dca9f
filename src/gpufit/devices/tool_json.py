"""What vendors' tools answer in JSON: values with units, N/A, and lines that do not belong there."""

from __future__ import annotations

import json
from typing import Any

from gpufit.devices.bounded import CommandOutput
from gpufit.devices.device import ProbeFailed

_UNIT_BYTES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def parse_answer(tool: str, answer: CommandOutput) -> Any:
    """The JSON in a tool's answer, warnings before it skipped. Raises ProbeFailed with the tool's words otherwise.

    The exit code says little: rocm-smi 5.2.3 prints all it knows and ends with 2 where one sensor of a card is missing.
    """
    lines = answer.stdout.splitlines(keepends=True)
    start = next((place for place, line in enumerate(lines) if line[:1] in ("{", "[")), len(lines))
    try:
        return json.loads("".join(lines[start:]))
    except ValueError:
        said = " ".join((answer.stderr + "\n" + answer.stdout).split())[:160]
        if answer.code != 0 or not said:
            raise ProbeFailed(f"{tool} failed ({answer.code}): {said or 'it said nothing'}") from None
        raise ProbeFailed(f"{tool} answered with something gpufit cannot read: {said!r}") from None


def quantity(value: Any) -> float | None:
    """The number of ``5``, ``"5.0"`` or ``{"value": 5, "unit": "W"}``; None for N/A and the like.

    >>> quantity({"value": 41, "unit": "C"}), quantity("9.0"), quantity("N/A")
    (41.0, 9.0, None)
    """
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < 1e18 else None


def size(value: Any) -> int | None:
    """The bytes of ``{"value": 24560, "unit": "MB"}`` (AMD's MB are 2²⁰ bytes), or of a bare number of bytes.

    >>> size({"value": 24560, "unit": "MB"}), size("17163091968"), size("N/A")
    (25753026560, 17163091968, None)
    """
    number = quantity(value)
    if number is None:
        return None
    unit = str(value.get("unit", "B")).upper() if isinstance(value, dict) else "B"
    return int(number * _UNIT_BYTES[unit]) if unit in _UNIT_BYTES else None


def known(value: Any) -> str | None:
    """Text, unless it stands for nothing.

    >>> known(" Radeon "), known("N/A"), known(None)
    ('Radeon', None, None)
    """
    text = value.strip() if isinstance(value, str) else ""
    return None if text.upper() in ("", "N/A", "UNKNOWN", "NONE") else text
