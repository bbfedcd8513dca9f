"""The slices of divided cards (MIG) by ``nvidia-smi``: ``--query-gpu`` knows only whole cards.

Sizes come from ``nvidia-smi -q -x``, ids and names from ``nvidia-smi -L``; both formats as in NVIDIA's MIG User Guide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from gpufit.devices.device import Device
from gpufit.records import record, replace
from gpufit.units import MIB

NO_SLICES = "MIG is on, and nvidia-smi lists no slice with a memory size: programs cannot use the whole card"
_CARD = re.compile(r"GPU [0-9]+: .*\(UUID: (GPU-[0-9a-fA-F-]+)\)")
_SLICE = re.compile(r"\s+MIG ([0-9a-z.+]+)\s+Device\s+([0-9]+): \(UUID: (MIG-[^)]+)\)")
_SIZE = re.compile(r"([0-9]{1,9}) MiB")


@record
class ListedSlice:
    """A line of ``nvidia-smi -L``: the card's id, the slice's number on it, its profile (3g.40gb) and its id."""

    card_uuid: str
    number: int
    profile: str
    uuid: str


def parse_list(text: str) -> tuple[ListedSlice, ...]:
    """The slices that ``nvidia-smi -L`` lists, in its order."""
    found, card = [], ""
    for line in text.splitlines():
        whole, part = _CARD.match(line), _SLICE.match(line)
        if whole:
            card = whole[1]
        elif part:
            found.append(ListedSlice(card_uuid=card, number=int(part[2]), profile=part[1], uuid=part[3]))
    return tuple(found)


def with_slices(devices: Sequence[Device], divided: set[str], listed: str, queried: str) -> tuple[Device, ...]:
    """The cards whose uuid is in ``divided`` replaced by their slices, with the slices' own memory."""
    slices, sizes = parse_list(listed), _memory_of_slices(queried)
    found: list[Device] = []
    for device in devices:
        if device.uuid not in divided:
            found.append(device)
            continue
        own = [part for part in slices if part.card_uuid == device.uuid]
        found += [_slice(device, part, sizes.get((device.uuid or "", part.number), {})) for part in own] or [
            replace(device, free_bytes=0, notes=(*device.notes, NO_SLICES))
        ]
    return tuple(found)


def _slice(card: Device, part: ListedSlice, sizes: dict[str, int | None]) -> Device:
    return replace(
        card,
        name=f"{card.name} MIG {part.profile}",
        uuid=part.uuid,
        total_bytes=sizes.get("total"),
        free_bytes=sizes.get("free"),
        used_bytes=sizes.get("used"),
        reserved_bytes=sizes.get("reserved"),
        utilization_percent=None,  # measured for the whole card alone
        processes=None,  # listed for the whole card alone
        notes=(*card.notes, f"MIG slice of GPU {card.index} ({card.name})"),
    )


def _memory_of_slices(text: str) -> dict[tuple[str, int], dict[str, int | None]]:
    """Sizes in bytes by the card's uuid and the slice's number; empty where the answer is no such XML."""
    from xml.etree import ElementTree

    try:
        tree = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", text).strip())
    except ElementTree.ParseError:
        return {}
    return dict(_read_slices(tree))


def _read_slices(tree: Any) -> Iterator[tuple[tuple[str, int], dict[str, int | None]]]:
    for card in tree.iter("gpu"):
        uuid = (card.findtext("uuid") or "").strip()
        for part in card.iter("mig_device"):
            number = (part.findtext("index") or "").strip()
            memory = part.find("fb_memory_usage")
            if number.isdecimal() and memory is not None:
                yield (uuid, int(number)), {child.tag: _mib(child.text or "") for child in memory}


def _mib(text: str) -> int | None:
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) * MIB if match else None
