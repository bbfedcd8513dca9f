"""Bytes to text and text to bytes. Inside gpufit sizes are ints; text appears only at the edge."""

from __future__ import annotations

import re

from gpufit.errors import UsageError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_UNIT_BYTES = {
    "": 10**9,  # a bare number is GB, as it is printed on the box
    "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,12})?)\s*([a-z]{0,3})\s*", re.IGNORECASE | re.ASCII)
_COUNT = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,12})?)\s*([kmbt]?)\s*", re.IGNORECASE | re.ASCII)
_LARGEST_BYTES = 1 << 60


def parse_size(text: str | int | float, *, what: str = "size") -> int:
    """Read a positive memory size: ``16`` and ``16GB`` are 16×10⁹ bytes, ``16GiB`` and ``15360MiB`` binary.

    >>> parse_size("16"), parse_size("16GiB"), parse_size("15360MiB")
    (16000000000, 17179869184, 16106127360)
    """
    match = _SIZE.fullmatch(str(text))
    unit = _UNIT_BYTES.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{what} {str(text)[:40]!r} is not a size", hint="write 16, 16GB, 16GiB or 15360MiB")
    whole, _, fraction = match[1].partition(".")
    size = int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
    if not 0 < size <= _LARGEST_BYTES:
        raise UsageError(f"{what} must be more than 0 and at most 1 EiB", hint="write 16, 16GB, 16GiB or 15360MiB")
    return size


def format_bytes(size_bytes: int) -> str:
    """Show a size in the largest binary unit that keeps it above one.

    >>> format_bytes(13_476_831_232), format_bytes(524_288), format_bytes(-3)
    ('12.55 GiB', '512.0 KiB', '-3 B')
    """
    magnitude = abs(size_bytes)
    if magnitude >= GIB:
        return f"{size_bytes / GIB:.2f} GiB"
    if magnitude >= MIB:
        return f"{size_bytes / MIB:.1f} MiB"
    if magnitude >= KIB:
        return f"{size_bytes / KIB:.1f} KiB"
    return f"{size_bytes} B"


def format_gib(size_bytes: int) -> str:
    """Show a size in GiB, for columns; only what two digits could not show falls to a smaller unit.

    >>> format_gib(13_476_831_232), format_gib(143_654_912), format_gib(34_000_000), format_gib(0)
    ('12.55 GiB', '0.13 GiB', '32.4 MiB', '0.00 GiB')
    """
    if 0 < abs(size_bytes) * 10 < GIB:
        return format_bytes(size_bytes)
    return f"{size_bytes / GIB:.2f} GiB"


def parse_count(text: str) -> int:
    """Read a parameter count: ``7B``, ``350M``, ``1.5b``, ``7000000000``.

    >>> parse_count("350M"), parse_count("1.5b")
    (350000000, 1500000000)
    """
    match = _COUNT.fullmatch(text)
    if match is None:
        raise UsageError(f"{text[:40]!r} is not a parameter count", hint="write 7B, 350M or a whole number")
    whole, _, fraction = match[1].partition(".")
    scale = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}[match[2].lower()]
    count = int(whole) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
    if not count:
        raise UsageError("a parameter count must be more than 0", hint="write 7B, 350M or a whole number")
    return count


def format_count(count: int) -> str:
    """Show a parameter count as people say it.

    >>> format_count(6_738_415_616), format_count(124_439_808), format_count(999_885_952)
    ('6.74B', '124M', '1.00B')
    """
    if count >= 999_995 * 10**6:  # what would round up to a thousand of the smaller unit
        return f"{count / 10**12:.2f}T"
    if count >= 9_995 * 10**5:
        return f"{count / 10**9:.2f}B"
    if count >= 10**6:
        return f"{count / 10**6:.0f}M"
    return str(count)
