"""``CUDA_VISIBLE_DEVICES``: which devices a program started from here would see, and in which order.

Rules: CUDA C++ Programming Guide, "CUDA Environment Variables". The list holds indices, or UUIDs or their beginnings,
or MIG ids; only what stands before the first invalid entry counts; an empty list or -1 hides everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpufit.devices.device import Device

VARIABLE = "CUDA_VISIBLE_DEVICES"


def select_visible(devices: Sequence[Device], environ: Mapping[str, str]) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """The visible devices in the variable's order, and notes on what was left out or is doubtful.

    >>> cards = [Device(name="A", source="fake", index=0), Device(name="B", source="fake", index=1)]
    >>> [card.name for card in select_visible(cards, {"CUDA_VISIBLE_DEVICES": "1,0"})[0]]
    ['B', 'A']
    """
    if VARIABLE not in environ:
        return tuple(devices), ()
    text = environ[VARIABLE].strip()
    if text in ("", "-1", "NoDevFiles"):
        return (), (f"{VARIABLE}={text} hides every device",) if devices else ()
    chosen: list[Device] = []
    notes: list[str] = []
    for entry in (part.strip() for part in text.split(",")):
        found = _find(devices, entry)
        if len(found) != 1:
            reason = "names no device" if not found else "names several devices"
            notes.append(f"{VARIABLE}: {entry[:60]!r} {reason}; it and what follows are ignored, as CUDA does")
            break
        if found[0] in chosen:
            return (), (f"{VARIABLE}: {entry[:60]!r} appears twice, and CUDA then sees no device",)
        chosen.append(found[0])
    order = environ.get("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    if any(character.isdigit() for character in text[:1]) and order != "PCI_BUS_ID" and _are_unlike(devices):
        notes.append(
            "CUDA numbers unlike cards fastest first, drivers by PCI bus: set CUDA_DEVICE_ORDER=PCI_BUS_ID or use UUIDs"
        )
    return tuple(chosen), tuple(notes)


def _find(devices: Sequence[Device], entry: str) -> list[Device]:
    if entry.isascii() and entry.isdigit():
        return [device for device in devices if device.index == int(entry[:9])][
            :1
        ]  # of a divided card: its first slice
    if not entry.upper().startswith(("GPU-", "MIG-")):
        return []
    wanted = entry.lower()
    exact = [device for device in devices if (device.uuid or "").lower() == wanted]
    return exact or [device for device in devices if (device.uuid or "").lower().startswith(wanted)]


def _are_unlike(devices: Sequence[Device]) -> bool:
    return len({device.name for device in devices}) > 1
