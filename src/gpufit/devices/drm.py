"""Graphics cards as the Linux kernel lists them: ``/sys/class/drm/card*``, and their names from the usual tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpufit.devices.device import ProbeFailed
from gpufit.devices.system_files import SystemFiles
from gpufit.records import record

_DRM = "/sys/class/drm"
_CARD = re.compile(r"card([0-9]{1,4})")
_RENDER = re.compile(r"renderD([0-9]{1,6})")
_PCI_IDS = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")


@record
class DrmCard:
    """One card: where its files are, its PCI address and ids (four hexadecimal digits, lower case), and its driver."""

    folder: str
    number: int
    address: str
    device_id: str
    driver: str | None
    render_minor: int | None


def drm_cards(files: SystemFiles, vendor_id: str) -> Iterator[DrmCard]:
    """The cards of one PCI vendor, by number. Raises ProbeFailed, as absent, where there is no such folder."""
    names = files.names(_DRM)
    if not names:
        raise ProbeFailed(f"there is no {_DRM}", is_absent=True)
    for name in names:
        match = _CARD.fullmatch(name)
        folder = f"{_DRM}/{name}/device"
        if match is None or files.text(f"{folder}/vendor") != f"0x{vendor_id}":
            continue
        event = files.fields(f"{folder}/uevent", "=")
        minors = [_RENDER.fullmatch(child) for child in files.names(f"{folder}/drm")]
        yield DrmCard(
            folder=folder,
            number=int(match[1]),
            address=event.get("PCI_SLOT_NAME", ""),
            device_id=(files.text(f"{folder}/device") or "").removeprefix("0x").lower(),
            driver=event.get("DRIVER"),
            render_minor=next((int(minor[1]) for minor in minors if minor), None),
        )


def pci_name(files: SystemFiles, vendor_id: str, device_id: str) -> str | None:
    """The name in the system's pci.ids, for ``DG2 [Arc A770]`` what stands in brackets; None where it is not listed."""
    for path in _PCI_IDS:
        table = files.whole(path)
        vendor = table.find(f"\n{vendor_id}  ".encode())
        place = table.find(f"\n\t{device_id}  ".encode(), vendor + 1) if vendor >= 0 and device_id else -1
        if place < 0 or re.search(rb"\n[0-9a-f]", table[vendor + 1 : place]):  # the next vendor's device
            continue
        name = table[place + 1 :].split(b"\n", 1)[0][6:].decode("utf-8", "replace").strip()
        bracketed = re.search(r"\[(.+)\]", name)
        return bracketed[1] if bracketed else name
    return None


def hwmon_folder(files: SystemFiles, folder: str) -> str | None:
    """The folder of a card's sensors."""
    names = files.names(f"{folder}/hwmon")
    return f"{folder}/hwmon/{names[0]}" if names else None
