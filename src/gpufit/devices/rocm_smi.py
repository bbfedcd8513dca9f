"""``rocm-smi --json``, for machines where AMD's older tool answers and the newer one is not installed.

Keys as printed by rocm_smi.py of ROCm 5.2.3 (Debian 12) and later, which renamed some.
"""

from __future__ import annotations

import re
from typing import Any

from gpufit.devices.bounded import LIMIT_SECONDS, Runner, run_command
from gpufit.devices.device import Device, ProbeFailed
from gpufit.devices.tool_json import known, parse_answer, quantity, size
from gpufit.records import record

_COMMAND = (
    "rocm-smi", "--showid", "--showuniqueid", "--showproductname", "--showuse", "--showtemp", "--showpower",
    "--showmaxpower", "--showdriverversion", "--showmeminfo", "vram", "gtt", "--json",
)  # fmt: skip
_CARD = re.compile(r"card([0-9]{1,4})")


@record
class RocmSmiProbe:
    run: Runner = run_command
    limit_seconds: float = LIMIT_SECONDS

    @property
    def name(self) -> str:
        return "rocm-smi"

    def devices(self) -> tuple[Device, ...]:
        """All AMD cards, in the tool's order."""
        answer = self.run(_COMMAND, limit_seconds=self.limit_seconds)
        said = answer.stdout + answer.stderr
        if "No JSON data to report" in said:
            return ()
        if "driver not initialized" in said.lower():
            raise ProbeFailed("rocm-smi: the amdgpu driver is not loaded", is_absent=True)
        return parse_rocm_smi(parse_answer(self.name, answer))


def parse_rocm_smi(data: Any) -> tuple[Device, ...]:
    """The cards of the tool's object, ``card0`` and on. Raises ProbeFailed where it holds something else."""
    if not isinstance(data, dict) or not all(isinstance(fields, dict) for fields in data.values()):
        raise ProbeFailed(f"rocm-smi answered with something gpufit cannot read: {str(data)[:80]!r}")
    driver = known(data.get("system", {}).get("Driver version"))
    cards = {int(match[1]): data[key] for key in data if (match := _CARD.fullmatch(key))}
    return tuple(_device(index, cards[index], driver) for index in sorted(cards))


def _device(index: int, fields: dict[str, Any], driver: str | None) -> Device:
    total, used = size(fields.get("VRAM Total Memory (B)")), size(fields.get("VRAM Total Used Memory (B)"))
    serial = known(fields.get("Unique ID"))
    gfx = known(fields.get("GFX Version"))  # since ROCm 6.1
    temperature = quantity(fields.get("Temperature (Sensor edge) (C)"))
    if temperature is None:  # Instinct cards have no sensor at the edge
        temperature = quantity(fields.get("Temperature (Sensor junction) (C)"))
    use = quantity(fields.get("GPU use (%)"))
    return Device(
        name=_name(fields) or f"AMD GPU {index}",
        source="rocm-smi",
        index=index,
        uuid=f"GPU-{int(serial, 16):016x}" if serial and re.fullmatch(r"0x[0-9a-fA-F]{1,16}", serial) else None,
        total_bytes=total or None,
        free_bytes=total - used if total and used is not None and used <= total else None,
        used_bytes=used if total else None,
        shared_bytes=size(fields.get("GTT Total Memory (B)")),
        shared_used_bytes=size(fields.get("GTT Total Used Memory (B)")),
        vendor="AMD",
        utilization_percent=None if use is None else int(use),
        temperature_celsius=None if temperature is None else int(temperature),
        power_watts=_power(fields),
        power_limit_watts=quantity(fields.get("Max Graphics Package Power (W)")),
        driver=f"amdgpu {driver}" if driver else None,
        architecture=gfx,
    )


def _name(fields: dict[str, Any]) -> str | None:
    """Series and model trade places between releases; a bare hexadecimal number is no name."""
    for key in ("Card series", "Card Series", "Card model", "Card Model"):
        name = known(fields.get(key))
        if name and not re.fullmatch(r"0x[0-9a-fA-F]+", name):
            bracketed = re.search(r"\[(.+)\]", name)  # "Aldebaran/MI200 [Instinct MI210]"
            return bracketed[1] if bracketed else name
    return None


def _power(fields: dict[str, Any]) -> float | None:
    current = quantity(fields.get("Current Socket Graphics Package Power (W)"))  # since ROCm 5.7, Instinct MI300
    return quantity(fields.get("Average Graphics Package Power (W)")) if current is None else current
