"""One GPU has many spellings: rtx-4090, RTX 4090, NVIDIA GeForce RTX 4090. Here they become one."""

from __future__ import annotations

import re

_SILENT = {"nvidia", "geforce", "tesla", "amd", "instinct", "radeon", "intel", "apple", "gpu", "graphics", "generation"}
_WORD = re.compile(r"[a-z0-9.+]+")
_SIZE = re.compile(r"(?<![a-z0-9])[0-9]{1,4}\s?gi?b(?![a-z0-9])")
_BEFORE = re.compile(r"([0-9]{1,4})\s*[x×*]\s*(\S.*)")
_AFTER = re.compile(r"(.*\S)\s*[x×*]\s*([0-9]{1,4})")


def squash_name(name: str) -> str:
    """The letters and digits that tell one card from another.

    >>> squash_name("NVIDIA GeForce RTX 4090"), squash_name("rtx4090"), squash_name("RTX 4060 Ti (16 GB)")
    ('rtx4090', 'rtx4090', 'rtx4060ti16gb')
    """
    words = _WORD.findall(name.lower())
    return "".join([word for word in words if word not in _SILENT] or words)


def strip_size(name: str) -> str:
    """The name without its memory size.

    >>> squash_name(strip_size("NVIDIA A100 80GB PCIe")), squash_name(strip_size("a100-80gb"))
    ('a100pcie', 'a100')
    """
    return _SIZE.sub(" ", name.lower())


def split_count(text: str) -> tuple[tuple[int, str], ...]:
    """The ways to read a request as several equal cards, most usual first; empty when it is not one.

    >>> split_count("t4x2"), split_count("2xt4"), split_count("t4")
    (((2, 't4'),), ((2, 't4'),), ())
    """
    text = text.strip().lower()
    after, before = _AFTER.fullmatch(text), _BEFORE.fullmatch(text)
    readings = [(int(after[2]), after[1].rstrip(" -_"))] if after else []
    readings += [(int(before[1]), before[2])] if before else []
    return tuple(readings)


def is_one_slip(typed: str, name: str) -> bool:
    """Whether one letter was changed, left out, put in, or swapped with the next.

    >>> [is_one_slip(typed, "a100") for typed in ("a101", "a10", "a1000", "a010", "a100", "h200")]
    [True, True, True, True, False, False]
    """
    same = next((i for i, (own, other) in enumerate(zip(typed, name, strict=False)) if own != other), None)
    if same is None:
        return abs(len(typed) - len(name)) == 1
    own, other = typed[same:], name[same:]
    swapped = own[:2] == other[1::-1] and own[2:] == other[2:]
    return own[1:] == other[1:] or own[1:] == other or own == other[1:] or swapped
