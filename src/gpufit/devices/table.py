"""GPUs by name, from ``gpus.yaml``: what ``--gpu t4`` means, and the facts a driver leaves out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpufit.devices.device import Device
from gpufit.devices.names import is_one_slip, split_count, squash_name, strip_size
from gpufit.errors import UnknownName, UsageError
from gpufit.records import record
from gpufit.sources.compiled import load_compiled, user_cache_dir
from gpufit.sources.data_files import data_file
from gpufit.units import MIB

_MOST_CARDS = 1024
_LONGEST_NAME = 80
_SERIES = ("rtx", "gtx", "rx")  # what people leave out: 4090 is the RTX 4090, 7900 xtx the RX 7900 XTX


@record
class Gpu:
    """One card of the table. Exactly one of ``total_mib``, ``bound_mib`` and ``unified`` says what it holds.

    ``usable_mib`` is what an idle card offers to programs, where that is known: the total less the driver's own part.
    """

    key: str
    name: str
    vendor: str
    box_gb: int
    total_mib: int | None
    usable_mib: int | None
    bound_mib: int | None
    unified: bool
    compute_capability: tuple[int, int] | None
    architecture: str | None
    bandwidth_gb_per_s: float | None
    sources: tuple[str, ...]
    note: str

    @property
    def memory_mib(self) -> int:
        """The driver's total, or the cautious bound where there is none."""
        return self.total_mib or self.bound_mib or unified_bound_mib(self.vendor, self.box_gb)


@record
class GpuTable:
    """The compiled file (see ``devices.gpu_file``); cards become records only when they are asked for."""

    raw: dict[str, Any]

    def names(self) -> tuple[str, ...]:
        """All keys, in the order of the file."""
        return tuple(self.raw["gpus"])

    def devices(self) -> tuple[Device, ...]:
        """An idle device of every card."""
        return tuple(device_of(self[key]) for key in self.names())

    def __getitem__(self, key: str) -> Gpu:
        return _gpu(key, self.raw["gpus"][key])

    def named(self, name: str) -> Gpu | None:
        """The one card of this name, in any spelling; None for an unknown name and for one sold in several sizes."""
        key = self.raw["index"].get(squash_name(name))
        return None if key is None else self[key]

    def typed(self, name: str) -> Gpu | None:
        """The one card that a person means: its name, or its number alone where only one series has it."""
        exact = self.named(name)
        if exact is not None or not squash_name(name)[:1].isdigit():
            return exact
        found = [gpu for series in _SERIES if (gpu := self.named(series + name)) is not None]
        return found[0] if len(found) == 1 else None

    def sizes_of(self, name: str) -> tuple[str, ...]:
        """The keys of the cards that share this name and differ in size."""
        return tuple(self.raw["sizes"].get(squash_name(name), ()))

    def resembling(self, name: str, total_bytes: int | None) -> Gpu | None:
        """The card that a driver means by ``name``; among several sizes the one nearest to its total.

        Drivers print one name for all sizes of a card, and put a size into names where the table has none.
        """
        keys = self.sizes_of(name) or self.sizes_of(strip_size(name))
        if total_bytes is not None and keys and self.named(name) is None:
            return min((self[key] for key in keys), key=lambda gpu: abs(gpu.memory_mib * MIB - total_bytes))
        return self.named(name) or self.named(strip_size(name))

    def nearest(self, name: str) -> tuple[str, ...]:
        """The closest keys, best first: the sizes of this very name, one letter away, or names that look alike."""
        from difflib import get_close_matches

        sizes = self.sizes_of(name)
        if sizes:
            return sizes
        index = self.raw["index"]
        wanted = squash_name(name)
        families: dict[str, list[str]] = {**{other: [key] for other, key in index.items()}, **self.raw["sizes"]}
        near = [other for other in families if is_one_slip(wanted, other)]
        near.sort(key=lambda other: other[0] != wanted[:1])  # the first letter is seldom the wrong one
        slips = [key for other in near for key in families[other]]
        close = [index[other] for other in get_close_matches(wanted, index, n=8, cutoff=0.6)]
        holding = [index[other] for other in index if len(wanted) > 1 and wanted in other]
        return tuple(dict.fromkeys((*slips, *close[:3], *holding, *close[3:])))[:5]


def load_gpus(environ: Mapping[str, str] | None = None, *, path: Path | None = None) -> GpuTable:
    """The table of ``path`` (by default gpufit's own), compiled once and then read from the user's cache.

    Raises BadFile for an unreadable file and BadCatalog, with its line, for a wrong one.

    >>> load_gpus()["t4"].total_mib
    15360
    """
    cache_dir = user_cache_dir(os.environ if environ is None else environ)
    return GpuTable(raw=load_compiled(path or data_file("gpus.yaml"), _compile, cache_dir=cache_dir))


def find_gpu(text: str, table: GpuTable | None = None) -> Device:
    """The device a name stands for: ``t4``, ``RTX 4090``, ``4090``, and ``t4x2`` or ``2xt4`` for two of them.

    Sizes are those of one card; ``count`` says how many. ``free_bytes`` is what an idle card offers. Raises
    UnknownName with the nearest keys, also for a name that is sold in several sizes, and UsageError for a bad count.

    >>> device = find_gpu("2xT4")
    >>> device.name, device.count, device.total_bytes
    ('Tesla T4', 2, 16106127360)
    """
    table = table or load_gpus()
    gpu = table.typed(text) if text.strip() else None
    if gpu is not None:
        return device_of(gpu)
    for count, name in split_count(text):
        gpu = table.typed(name)
        if gpu is not None:
            if not 0 < count <= _MOST_CARDS:
                raise UsageError(f"{count} cards is not a sensible number", hint=f"1 to {_MOST_CARDS}, such as t4x2")
            return device_of(gpu, count)
    readings = split_count(text)
    name = readings[0][1] if readings and not table.nearest(text) else text
    several = "it is sold in several sizes" if table.sizes_of(name) else ""
    raise UnknownName("GPU", text[:_LONGEST_NAME], table.nearest(name[:_LONGEST_NAME]), hint=several)


def device_of(gpu: Gpu, count: int = 1) -> Device:
    """An idle device of this kind."""
    memory_bytes = gpu.memory_mib * MIB
    free_bytes = (gpu.usable_mib or gpu.memory_mib) * MIB
    return Device(
        name=gpu.name,
        source="gpus.yaml",
        total_bytes=memory_bytes,
        free_bytes=free_bytes,
        used_bytes=0,
        reserved_bytes=memory_bytes - free_bytes if gpu.usable_mib else None,
        total_is_bound=gpu.total_mib is None,
        count=count,
        vendor=gpu.vendor,
        compute_capability=gpu.compute_capability,
        architecture=gpu.architecture,
        bandwidth_gb_per_s=gpu.bandwidth_gb_per_s,
        notes=tuple(_notes(gpu)),
    )


def unified_bound_mib(vendor: str, box_gb: int) -> int:
    """What one program may take of memory that GPU and CPU share.

    Metal's recommendedMaxWorkingSetSize is two thirds up to 32 GB and three quarters above; elsewhere no driver states
    a limit, and three quarters leaves room for the system.

    >>> unified_bound_mib("Apple", 16), unified_bound_mib("Apple", 64), unified_bound_mib("NVIDIA", 128)
    (10922, 49152, 98304)
    """
    mib = box_gb * 1024
    return mib * 2 // 3 if vendor == "Apple" and box_gb <= 32 else mib * 3 // 4


def _notes(gpu: Gpu) -> list[str]:
    notes = [gpu.note] if gpu.note else []
    if gpu.unified:
        notes.append(f"shares {gpu.box_gb} GB with the CPU and has no total of its own; taken: a cautious bound")
    elif gpu.total_mib is None:
        notes.append(f"no driver's total is known for this card; taken: a cautious bound below its {gpu.box_gb} GB")
    elif gpu.usable_mib:
        notes.append(f"the driver keeps {gpu.total_mib - gpu.usable_mib} MiB of the total for itself")
    return notes


def _compile(content: bytes) -> Any:
    from gpufit.devices.gpu_file import compile_gpus

    return compile_gpus(content)


def _gpu(key: str, fields: dict[str, Any]) -> Gpu:
    major, _, minor = fields.get("cc", "").partition(".")
    return Gpu(
        key=key,
        name=fields["name"],
        vendor=fields["vendor"],
        box_gb=fields["gb"],
        total_mib=fields.get("mib"),
        usable_mib=fields.get("usable_mib"),
        bound_mib=fields.get("bound_mib"),
        unified=fields.get("unified", False),
        compute_capability=(int(major), int(minor)) if major else None,
        architecture=fields.get("gfx"),
        bandwidth_gb_per_s=float(fields["gb_per_s"]) if "gb_per_s" in fields else None,
        sources=tuple(fields["source"]),
        note=fields.get("note", ""),
    )
