"""``xpu-smi discovery --dump``: Intel's tool, for the memory that the kernel's files leave out.

Property numbers and the layout of the lines: cmd_discovery.cpp of xpu-smi 2.0; 1.2 puts texts into quotation marks.
"""

from __future__ import annotations

import csv

from gpufit.devices.bounded import LIMIT_SECONDS, CommandOutput, Runner, run_command
from gpufit.devices.device import Device, ProbeFailed
from gpufit.devices.tool_json import known, quantity
from gpufit.records import record
from gpufit.units import KIB, MIB

_BASE = "1,2,4,8,11,16"  # id, name, uuid, driver, PCI address, memory
_FREE = ",34"  # an older tool does not know the free size
_UNITS = {"B": 1, "KIB": KIB, "MIB": MIB, "GIB": 1 << 30}
_INTEGRATED_BUS = "0000:00:02.0"


@record
class XpuSmiProbe:
    run: Runner = run_command
    limit_seconds: float = LIMIT_SECONDS

    @property
    def name(self) -> str:
        return "xpu-smi"

    def devices(self) -> tuple[Device, ...]:
        """All Intel cards by the tool's ids. The second command is for tools that refuse the whole first."""
        from time import monotonic

        end = monotonic() + self.limit_seconds
        answer = CommandOutput(code=1, stdout="")
        for properties in (_BASE + _FREE, _BASE):
            answer = self.run(
                ("xpu-smi", "discovery", "--dump", properties), limit_seconds=max(0.05, end - monotonic())
            )
            if answer.code == 0 and answer.stdout.strip():
                return parse_xpu_smi(answer.stdout)
        said = " ".join((answer.stdout + "\n" + answer.stderr).split())
        if "no device" in said.lower():
            return ()
        raise ProbeFailed(f"xpu-smi failed ({answer.code}): {said[:160] or 'it said nothing'}")


def parse_xpu_smi(text: str) -> tuple[Device, ...]:
    """The lines of ``--dump``, the first with the properties' names. Raises ProbeFailed for anything else.

    >>> text = 'Device ID, Device Name, Memory Physical Size' + chr(10) + '0, Intel(R) Arc(TM) B580, 12288.00 MiB'
    >>> parse_xpu_smi(text)[0].total_bytes
    12884901888
    """
    try:
        rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
    except csv.Error:
        rows = []
    if not rows or "Device ID" not in rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ProbeFailed(f"xpu-smi answered with something gpufit cannot read: {text[:80]!r}")
    cells = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    return tuple(_device(cell) for cell in cells if cell["Device ID"].strip().isdecimal())


def _device(cell: dict[str, str]) -> Device:
    index = int(cell["Device ID"])
    total, free = _size(cell.get("Memory Physical Size")), _size(cell.get("Memory Free Size"))
    driver = known(cell.get("Driver Version"))
    return Device(
        name=_plain(known(cell.get("Device Name"))) or f"Intel GPU {index}",
        source="xpu-smi",
        index=index,
        uuid=known(cell.get("SOC UUID") or cell.get("UUID")),
        total_bytes=total or None,
        free_bytes=free if total and free is not None and free <= total else None,
        used_bytes=total - free if total and free is not None and free <= total else None,
        integrated=known(cell.get("PCI BDF Address")) == _INTEGRATED_BUS,
        vendor="Intel",
        driver=driver,
    )


def _plain(name: str | None) -> str | None:
    """The name without signs of trademarks, as tables of cards have it."""
    return name.replace("(R)", "").replace("(TM)", "").replace("  ", " ") if name else None


def _size(text: str | None) -> int | None:
    number, _, unit = (text or "").strip().partition(" ")
    value = quantity(number) if number else None
    factor = _UNITS.get(unit.strip().upper() or "B")
    return int(value * factor) if value is not None and factor else None
