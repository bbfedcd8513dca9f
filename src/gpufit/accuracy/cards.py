"""The card of a row, as the caller knows it, and how many of them there were."""

from __future__ import annotations

import re

from gpufit.records import record

_COUNT = re.compile(r"^\s*(\d{1,3})\s*x\s+(.+)$", re.IGNORECASE)


@record
class Card:
    """What matters of a GPU here. ``usable_bytes`` is the total less the driver's own part, where it is known."""

    capability: tuple[int, int] | None = None
    total_bytes: int | None = None
    usable_bytes: int | None = None


UNKNOWN_CARD = Card()


def split_count(gpu: str) -> tuple[int, str]:
    """How many cards, and which.

    Of unlike cards the first stands for all.

    >>> split_count("2x A100-80GB"), split_count("Tesla T4"), split_count("RTX 4090 + RTX 3090-Ti")
    ((2, 'A100-80GB'), (1, 'Tesla T4'), (2, 'RTX 4090'))
    """
    cards = 0
    names = []
    for one in gpu.split(" + "):
        found = _COUNT.match(one)
        cards += max(1, int(found[1])) if found else 1
        names.append((found[2] if found else one).strip())
    return cards, names[0]
