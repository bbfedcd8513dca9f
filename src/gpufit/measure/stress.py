"""A burn test: fill a share of the free memory, multiply matrices whose product is known, and look for wrong results.

Every matrix is filled with one number, so that each element of the product is the same exact number: a wrong one is
the device's fault and no question of rounding.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from gpufit.errors import MeasureFailed, UsageError
from gpufit.records import as_dict, record
from gpufit.units import format_bytes

MATRIX_SIDE = {"cuda": 4096, "cpu": 512}
LARGEST_SHARE = 0.9


@record
class StressReport:
    """What a burn test found. ``wrong`` counts elements that were not what they must be."""

    device: str
    held_bytes: int
    seconds: float
    multiplications: int
    wrong: int
    teraflops: float
    temperature_celsius: tuple[int, int] | None = None  # at the start, the highest
    throttled: tuple[str, ...] = ()


def burn(device: str, *, seconds: float, hold_bytes: int, sample: Callable[[], Mapping[str, Any]]) -> StressReport:
    """Hold ``hold_bytes`` in blocks that are written and read back, and compute until ``seconds`` have passed.

    ``sample`` reads temperature and throttling; it is asked about once a second.
    """
    import torch

    side = MATRIX_SIDE[torch.device(device).type]
    dtype = torch.float32
    left, right = torch.full((side, side), 1.0, device=device), torch.full((side, side), 2.0, device=device)
    own = 3 * side * side * dtype.itemsize
    block = 64 << 20
    blocks = [
        torch.full((block // 4,), index % 251, dtype=torch.int32, device=device)
        for index in range(max(0, hold_bytes - own) // block)
    ]
    wrong = multiplications = 0
    samples = [sample()]
    start = next_sample = time.perf_counter()
    while (now := time.perf_counter()) - start < seconds:
        product = left @ right
        wrong += int((product != 2.0 * side).sum())  # side × 1 × 2, exact in fp32
        multiplications += 1
        if blocks:
            index = multiplications % len(blocks)
            wrong += int((blocks[index] != index % 251).sum())
        if now >= next_sample:
            samples.append(sample())
            next_sample = now + 1.0
    spent = time.perf_counter() - start
    temperatures = [s["temperature_celsius"] for s in samples if s.get("temperature_celsius") is not None]
    return StressReport(
        device=device, held_bytes=own + len(blocks) * block, seconds=spent, multiplications=multiplications,
        wrong=wrong, teraflops=multiplications * 2 * side**3 / spent / 1e12,
        temperature_celsius=(temperatures[0], max(temperatures)) if temperatures else None,
        throttled=tuple(sorted({reason for s in samples for reason in s.get("throttled", ())})),
    )  # fmt: skip


def run_stress(
    device: str,
    *,
    seconds: float,
    free_bytes: int | None,
    reserve_bytes: int = 0,
    hold_bytes: int | None = None,
    visible: Mapping[str, str] | None = None,
    uuid: str | None = None,
) -> StressReport:
    """A burn test in a process of its own, ended when it takes a minute longer than asked.

    It holds ``hold_bytes``, or nine tenths of what is free less the reserve. Raises UsageError where more is asked for
    than that leaves, and MeasureFailed where the process ends without a report.
    """
    import subprocess

    if free_bytes is None:
        raise UsageError("the device does not say how much memory is free", hint="name what to hold with --limit")
    room = free_bytes - reserve_bytes
    if room <= 0 or (hold_bytes is not None and hold_bytes > room):
        wanted = f"{format_bytes(hold_bytes)} are" if hold_bytes is not None else "the reserve is"
        raise UsageError(
            f"{wanted} more than the {format_bytes(max(0, room))} that are free less the reserve",
            hint="use a smaller --limit or --reserve",
        )
    asked = {
        "device": device, "seconds": seconds, "uuid": uuid,
        "hold_bytes": int(LARGEST_SHARE * room) if hold_bytes is None else hold_bytes,
    }  # fmt: skip
    environ = {**os.environ, **(visible or {})}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gpufit.measure.stress"], input=json.dumps(asked) + "\n", capture_output=True,
            text=True, timeout=seconds + 60, env=environ, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise MeasureFailed(f"the burn test did not end within {seconds + 60:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise MeasureFailed(f"the burn test ended with {said[-1][:300] if said else f'code {done.returncode}'}")
    fields = json.loads(done.stdout)
    warmth = fields.pop("temperature_celsius")
    return StressReport(
        **{**fields, "throttled": tuple(fields["throttled"])},
        temperature_celsius=(warmth[0], warmth[1]) if warmth else None,
    )  # fmt: skip


def main() -> None:
    """Read what to do from standard input, print the report."""
    asked = json.loads(sys.stdin.readline())
    report = burn(
        asked["device"], seconds=asked["seconds"], hold_bytes=asked["hold_bytes"],
        sample=lambda: sample_device(asked["uuid"]) if asked.get("uuid") else {},
    )  # fmt: skip
    print(json.dumps(as_dict(report)))


def sample_device(uuid: str) -> dict[str, Any]:
    """Temperature and the reasons why the clock is held back, from NVML (nvml.h, nvmlClocksEventReasons)."""
    import pynvml

    reasons = {
        "power cap": pynvml.nvmlClocksThrottleReasonSwPowerCap,
        "hardware slowdown": pynvml.nvmlClocksThrottleReasonHwSlowdown,
        "thermal": pynvml.nvmlClocksThrottleReasonSwThermalSlowdown | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    }
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        mask = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return {
            "temperature_celsius": int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
            "throttled": [name for name, bit in reasons.items() if mask & bit],
        }
    except pynvml.NVMLError:
        return {}


if __name__ == "__main__":
    main()
