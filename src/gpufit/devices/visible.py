"""Which devices a program started from here would see, and in which order: each vendor's variables.

CUDA_VISIBLE_DEVICES (CUDA C++ Programming Guide, "CUDA Environment Variables"): indices, or UUIDs or their beginnings,
or MIG ids; only what stands before the first invalid entry counts; an empty list or -1 hides everything. AMD (ROCm
documentation, "GPU isolation techniques"): ROCR_VISIBLE_DEVICES selects by index or UUID, then HIP_VISIBLE_DEVICES by
index among what is left; HIP takes CUDA_VISIBLE_DEVICES where its own variable is not set. Intel (Level Zero's
programming guide, "Affinity Mask"): ZE_AFFINITY_MASK lists indices, or ``index.tile``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpufit.devices.device import Device

CUDA, ROCR, HIP, ZE = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"
VARIABLES = (CUDA, "CUDA_DEVICE_ORDER", ROCR, HIP, ZE)

Seen = tuple[tuple[Device, ...], tuple[str, ...]]


def select_visible(devices: Sequence[Device], environ: Mapping[str, str]) -> Seen:
    """The visible devices in their variable's order, and notes on what was left out or is doubtful.

    >>> cards = [Device(name="A", source="fake", index=0), Device(name="B", source="fake", index=1)]
    >>> [card.name for card in select_visible(cards, {"CUDA_VISIBLE_DEVICES": "1,0"})[0]]
    ['B', 'A']
    """
    chosen: list[Device] = []
    notes: list[str] = []
    for vendor in dict.fromkeys(device.vendor for device in devices):
        own = tuple(device for device in devices if device.vendor == vendor)
        for variable in _variables_of(vendor, environ):
            own, said = _select(own, variable, environ[variable].strip(), by_place=vendor == "AMD" and variable != ROCR)
            notes += said
        if vendor in ("NVIDIA", None):
            notes += _note_order(devices, environ)
        chosen += own
    return tuple(chosen), tuple(dict.fromkeys(notes))


def variable_for(vendor: str | None) -> str:
    """The variable that chooses among a vendor's devices by what ``selection_ids`` gives.

    >>> variable_for("AMD"), variable_for("NVIDIA"), variable_for("Intel")
    ('ROCR_VISIBLE_DEVICES', 'CUDA_VISIBLE_DEVICES', 'ZE_AFFINITY_MASK')
    """
    return {"AMD": ROCR, "Intel": ZE}.get(vendor or "", CUDA)


def selection_ids(devices: Sequence[Device]) -> tuple[str, ...]:
    """What to write into that variable: UUIDs of NVIDIA cards, which no ordering can mix up, or else indices."""
    uuids = [device.uuid for device in devices if device.uuid and device.uuid.upper().startswith(("GPU-", "MIG-"))]
    if len(uuids) == len(devices) and all(device.vendor in ("NVIDIA", None) for device in devices):
        return tuple(uuids)
    return tuple(str(device.index) for device in devices)


def alone(device: Device) -> dict[str, str]:
    """What to set so that a program sees this device and no other, as its first.

    >>> alone(Device(name="A", source="fake", index=1, vendor="NVIDIA"))
    {'CUDA_VISIBLE_DEVICES': '1', 'CUDA_DEVICE_ORDER': 'PCI_BUS_ID'}
    """
    variable, (name,) = variable_for(device.vendor), selection_ids([device])
    if variable == ROCR:
        return {ROCR: name, HIP: "0"}  # of HIP's own, by place among what is left, an inherited one would choose again
    return {variable: name, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if variable == CUDA else {variable: name}


def _variables_of(vendor: str | None, environ: Mapping[str, str]) -> list[str]:
    if vendor == "AMD":
        second = HIP if HIP in environ else CUDA
        return [variable for variable in (ROCR, second) if variable in environ]
    return [variable for variable in {"Intel": (ZE,), "Apple": ()}.get(vendor or "", (CUDA,)) if variable in environ]


def _select(devices: tuple[Device, ...], variable: str, text: str, *, by_place: bool) -> Seen:
    """``by_place``: indices count what an earlier variable has left."""
    if variable == ZE and not text:  # an empty mask is no mask
        return devices, ()
    if text in ("", "-1", "NoDevFiles"):
        return (), (f"{variable}={text} hides every device",) if devices else ()
    if variable == ZE:
        entries = list(dict.fromkeys(part.strip().partition(".")[0] for part in text.split(",")))
        tiles = (f"{variable} names tiles: a tile has a part of its device's memory",) if "." in text else ()
    else:
        entries, tiles = [part.strip() for part in text.split(",")], ()
    chosen: list[Device] = []
    for entry in entries:
        found = _find(devices, entry, by_place)
        if len(found) != 1:
            reason = "names no device" if not found else "names several devices"
            whose = ", as CUDA does" if variable == CUDA else ""
            return tuple(chosen), (
                f"{variable}: {entry[:60]!r} {reason}; it and what follows are ignored{whose}",
                *tiles,
            )
        if found[0] in chosen:
            return (), (f"{variable}: {entry[:60]!r} appears twice, and CUDA then sees no device",)
        chosen.append(found[0])
    return tuple(chosen), tiles


def _note_order(devices: Sequence[Device], environ: Mapping[str, str]) -> list[str]:
    ours = {device.name for device in devices if device.vendor in ("NVIDIA", None)}
    by_index = environ.get(CUDA, "").strip()[:1].isdigit()
    if not by_index or len(ours) < 2 or environ.get("CUDA_DEVICE_ORDER", "FASTEST_FIRST") == "PCI_BUS_ID":
        return []
    return [
        "CUDA numbers unlike cards fastest first, drivers by PCI bus: set CUDA_DEVICE_ORDER=PCI_BUS_ID or use UUIDs"
    ]


def _find(devices: Sequence[Device], entry: str, by_place: bool) -> list[Device]:
    if entry.isascii() and entry.isdigit():
        number = int(entry[:9])
        if by_place:
            return list(devices[number : number + 1])
        return [device for device in devices if device.index == number][:1]  # of a divided card: its first slice
    if not entry.upper().startswith(("GPU-", "MIG-")):
        return []
    wanted = entry.lower()
    exact = [device for device in devices if (device.uuid or "").lower() == wanted]
    return exact or [device for device in devices if (device.uuid or "").lower().startswith(wanted)]
