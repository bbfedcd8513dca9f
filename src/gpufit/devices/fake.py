"""Mocked devices for tests, CI and curious users: ``GPUFIT_FAKE_GPU="Tesla T4:15360MiB:free=14900MiB"``."""

from __future__ import annotations

import re
from collections.abc import Callable

from gpufit.devices.device import Device
from gpufit.devices.table import Gpu, GpuTable, load_gpus
from gpufit.errors import UsageError
from gpufit.records import record
from gpufit.units import MIB, parse_size

VARIABLE = "GPUFIT_FAKE_GPU"
_HINT = f'{VARIABLE}="Tesla T4:15360MiB:free=14900MiB", several with commas; see also vendor=amd, arch=gfx1100'
_OPTIONS = ("free", "used", "cc", "count", "uuid", "vendor", "arch", "integrated")
_VENDORS = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel", "apple": "Apple"}
_CC = re.compile(r"([0-9]{1,2})\.([0-9])")
_MOST_CARDS = 64


@record
class FakeProbe:
    """The devices that ``text`` describes; what it leaves out comes from the table where the name is known."""

    text: str
    table: Callable[[], GpuTable] = load_gpus

    @property
    def name(self) -> str:
        return "fake"

    def devices(self) -> tuple[Device, ...]:
        """Raises UsageError for a malformed description."""
        return parse_fakes(self.text, self.table())


def parse_fakes(text: str, table: GpuTable) -> tuple[Device, ...]:
    """Parse ``NAME[:TOTAL][:free=SIZE|used=SIZE][:cc=X.Y][:count=N][:uuid=ID]``, several separated by commas.

    Further ``vendor=amd``, ``arch=gfx1100`` and ``integrated=yes``.

    >>> fakes = parse_fakes("Tesla T4:15360MiB:free=14900MiB:count=2", load_gpus())
    >>> [(fake.index, fake.free_bytes, fake.compute_capability) for fake in fakes]
    [(0, 15623782400, (7, 5)), (1, 15623782400, (7, 5))]
    """
    found: list[Device] = []
    for part in text.split(","):
        found.extend(_parse_fake(part.strip(), table, len(found)))
    return tuple(found)


def _parse_fake(text: str, table: GpuTable, first_index: int) -> list[Device]:
    name, *rest = (piece.strip() for piece in text.split(":"))
    sizes = [piece for piece in rest if "=" not in piece]
    options = dict(_option(piece, text) for piece in rest if "=" in piece)
    if not name or len(sizes) > 1 or len(options) + len(sizes) != len(rest):
        raise _malformed(text)
    total_bytes = parse_size(sizes[0], what=f"{VARIABLE} total") if sizes else None
    known = table.resembling(name, total_bytes)
    if total_bytes is None:
        if known is None:
            raise _malformed(text, "no size given, and the name is not in gpus.yaml")
        total_bytes = known.memory_mib * MIB
    free_bytes = _free(options, total_bytes, text)
    return [
        Device(
            name=name,
            source="fake",
            index=first_index + place,
            uuid=options.get("uuid", f"GPU-fa4e0000-0000-0000-0000-{first_index + place:012d}"),
            total_bytes=total_bytes,
            free_bytes=free_bytes,
            used_bytes=total_bytes - free_bytes,
            vendor=_vendor(options, text) or (known.vendor if known else None),
            architecture=options.get("arch") or (known.architecture if known else None),
            integrated=_integrated(options, text),
            compute_capability=_capability(options, known, text),
            bandwidth_gb_per_s=known.bandwidth_gb_per_s if known else None,
        )
        for place in range(_count(options, text))
    ]


def _option(piece: str, text: str) -> tuple[str, str]:
    key, _, value = piece.partition("=")
    if key.strip() not in _OPTIONS or not value.strip():
        raise _malformed(text, f"{piece[:40]!r} is not one of {', '.join(_OPTIONS)}")
    return key.strip(), value.strip()


def _free(options: dict[str, str], total_bytes: int, text: str) -> int:
    if "free" in options and "used" in options:
        raise _malformed(text, "give free or used, not both")
    sizes = {key: _size(options[key], key) for key in ("free", "used") if key in options}
    free_bytes = sizes.get("free", total_bytes - sizes.get("used", 0))
    if not 0 <= free_bytes <= total_bytes:
        raise _malformed(text, "more free or used than the total")
    return free_bytes


def _size(text: str, key: str) -> int:
    return 0 if text.strip("0") == "" else parse_size(text, what=f"{VARIABLE} {key}")


def _capability(options: dict[str, str], known: Gpu | None, text: str) -> tuple[int, int] | None:
    if "cc" not in options:
        return known.compute_capability if known else None
    match = _CC.fullmatch(options["cc"])
    if match is None:
        raise _malformed(text, f"cc {options['cc'][:20]!r} is not a compute capability such as 7.5")
    return int(match[1]), int(match[2])


def _vendor(options: dict[str, str], text: str) -> str | None:
    vendor = _VENDORS.get(options.get("vendor", "").lower())
    if vendor is None and "vendor" in options:
        raise _malformed(text, f"vendor is one of {', '.join(_VENDORS)}")
    return vendor


def _integrated(options: dict[str, str], text: str) -> bool:
    answer = options.get("integrated", "no").lower()
    if answer not in ("yes", "no"):
        raise _malformed(text, "integrated is yes or no")
    return answer == "yes"


def _count(options: dict[str, str], text: str) -> int:
    count = options.get("count", "1")
    if not (count.isascii() and count.isdigit() and len(count) < 4 and 0 < int(count) <= _MOST_CARDS):
        raise _malformed(text, f"count must be 1 to {_MOST_CARDS}")
    return int(count)


def _malformed(text: str, problem: str = "it does not read as a device") -> UsageError:
    return UsageError(f"{VARIABLE}: {text[:60]!r}: {problem}", hint=_HINT)
