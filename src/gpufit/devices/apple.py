"""Apple's chips: one memory for processor and graphics, of which Metal lets a program use a part.

That part is ``recommendedMaxWorkingSetSize``: two thirds of the memory up to 32 GB and three quarters above (as
llama.cpp logs it on machines of each size), or what the administrator set as ``iogpu.wired_limit_mb``, where 0 means
the default. Asked through ``sysctl`` and ``vm_stat``, which every macOS has.
"""

from __future__ import annotations

import re
import sys

from gpufit.devices.bounded import LIMIT_SECONDS, CommandOutput, Runner, call_together, run_command
from gpufit.devices.device import Device, ProbeFailed
from gpufit.devices.table import unified_bound_mib
from gpufit.records import record
from gpufit.units import MIB, format_gib

_SYSCTL = (
    "sysctl", "hw.memsize", "hw.optional.arm64", "machdep.cpu.brand_string", "iogpu.wired_limit_mb",
    "debug.iogpu.wired_limit", "kern.osproductversion",
)  # fmt: skip
_FREE_PAGES = ("Pages free", "Pages inactive", "Pages speculative")


@record
class AppleProbe:
    """``platform`` is that of ``sys``; anything but darwin has no such device."""

    run: Runner = run_command
    platform: str = sys.platform
    limit_seconds: float = LIMIT_SECONDS

    @property
    def name(self) -> str:
        return "apple"

    def devices(self) -> tuple[Device, ...]:
        """The one device of an Apple chip; none on a Mac with an Intel processor."""
        if self.platform != "darwin":
            raise ProbeFailed("this is not macOS", is_absent=True)
        facts, pages = call_together(
            [
                lambda: self.run(_SYSCTL, limit_seconds=self.limit_seconds),
                lambda: self.run(("vm_stat",), limit_seconds=self.limit_seconds),
            ]
        )
        if not isinstance(facts, CommandOutput):
            raise facts or ProbeFailed("sysctl did not answer")
        # sysctl ends with 1 where it does not know one of the names, and still answers the others
        return parse_apple(facts.stdout, pages.stdout if isinstance(pages, CommandOutput) else "")


def parse_apple(facts: str, pages: str = "") -> tuple[Device, ...]:
    """The device of ``sysctl``'s lines ``name: value`` and of ``vm_stat``. Raises ProbeFailed where they say nothing.

    >>> mac = parse_apple("hw.memsize: 17179869184" + chr(10) + "hw.optional.arm64: 1")[0]
    >>> mac.total_bytes // MIB
    10922
    """
    cells = dict(line.split(": ", 1) for line in facts.splitlines() if ": " in line)
    if not cells.get("hw.memsize", "").isdecimal():
        raise ProbeFailed(f"sysctl answered with something gpufit cannot read: {facts[:80]!r}")
    if cells.get("hw.optional.arm64") != "1":
        return ()
    memory_bytes = int(cells["hw.memsize"])
    limit_bytes, rule = _limit(cells, memory_bytes)
    available = _available(pages)
    free = None if available is None else min(limit_bytes, available)
    version = cells.get("kern.osproductversion")
    return (
        Device(
            name=cells.get("machdep.cpu.brand_string", "Apple GPU"),
            source="apple",
            total_bytes=limit_bytes,
            free_bytes=free,
            used_bytes=None if free is None else limit_bytes - free,
            vendor="Apple",
            driver=f"Metal of macOS {version}" if version else "Metal",
            notes=(f"shares {format_gib(memory_bytes)} with the processor; a program may use {rule}",),
        ),
    )


def _limit(cells: dict[str, str], memory_bytes: int) -> tuple[int, str]:
    for key, unit in (("iogpu.wired_limit_mb", MIB), ("debug.iogpu.wired_limit", MIB)):
        value = cells.get(key, "")
        if value.isdecimal() and 0 < int(value) * unit <= memory_bytes:
            return int(value) * unit, f"{format_gib(int(value) * unit)}, as {key} is set"
    gib = memory_bytes >> 30
    share = "two thirds" if gib <= 32 else "three quarters"
    return unified_bound_mib(
        "Apple", gib
    ) * MIB, f"{share} of it, Metal's rule (assumed; iogpu.wired_limit_mb changes it)"


def _available(pages: str) -> int | None:
    """What programs can take without swapping: pages that are free, or inactive and given up first."""
    size = re.search(r"page size of ([0-9]{3,7}) bytes", pages)
    counts = dict(re.findall(r"^(.+?):\s+([0-9]{1,15})\.?$", pages, flags=re.MULTILINE))
    if size is None or not all(name in counts for name in _FREE_PAGES):
        return None
    return int(size[1]) * sum(int(counts[name]) for name in _FREE_PAGES)
