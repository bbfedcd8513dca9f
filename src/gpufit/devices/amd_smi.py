"""``amd-smi``, AMD's newer tool: three questions in JSON, asked at once.

Layout as in amdsmi_commands.py and amdsmi_logger.py of ROCm 6.3, a list with one object a GPU; ROCm 7 puts the list
under ``gpu_data``.
"""

from __future__ import annotations

from typing import Any

from gpufit.devices.bounded import LIMIT_SECONDS, CommandOutput, Runner, call_together, run_command
from gpufit.devices.device import Device, DeviceProcess, ProbeFailed
from gpufit.devices.tool_json import known, parse_answer, quantity, size
from gpufit.records import record

_STATIC = ("amd-smi", "static", "--asic", "--driver", "--limit", "--vram", "--json")
_METRIC = ("amd-smi", "metric", "--mem-usage", "--usage", "--power", "--temperature", "--json")
_PROCESS = ("amd-smi", "process", "--json")
_HOST_MEMORY = ("DDR", "LPDDR")  # what an integrated card's memory is called; cards of their own have GDDR or HBM
Answers = dict[int, dict[str, Any]]


@record
class AmdSmiProbe:
    run: Runner = run_command
    limit_seconds: float = LIMIT_SECONDS

    @property
    def name(self) -> str:
        return "amd-smi"

    def devices(self) -> tuple[Device, ...]:
        """All AMD cards by the tool's ids; who uses them stays unknown where only that question fails."""

        def ask(command: tuple[str, ...]) -> CommandOutput:
            return self.run(command, limit_seconds=self.limit_seconds)

        commands = (_STATIC, _METRIC, _PROCESS)
        static, metric, process = call_together([lambda command=command: ask(command) for command in commands])  # type: ignore[misc]
        if not isinstance(static, CommandOutput) or not isinstance(metric, CommandOutput):
            raise next(answer for answer in (static, metric) if isinstance(answer, BaseException))
        try:
            held = _by_gpu(parse_answer(self.name, process)) if isinstance(process, CommandOutput) else {}
        except ProbeFailed:
            held = {}
        return parse_amd_smi(parse_answer(self.name, static), parse_answer(self.name, metric), held)


def parse_amd_smi(static: Any, metric: Any, processes: Answers | None = None) -> tuple[Device, ...]:
    """The cards of ``amd-smi static`` with their readings. Raises ProbeFailed where these are something else."""
    readings = _by_gpu(metric)
    held = processes or {}
    return tuple(
        _device(index, fields, readings.get(index, {}), held.get(index)) for index, fields in _by_gpu(static).items()
    )


def _by_gpu(data: Any) -> Answers:
    if isinstance(data, dict):
        data = data.get("gpu_data")
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise ProbeFailed(f"amd-smi answered with something gpufit cannot read: {str(data)[:80]!r}")
    return {item["gpu"]: item for item in data if type(item.get("gpu")) is int}


def _device(index: int, static: dict[str, Any], metric: dict[str, Any], process: dict[str, Any] | None) -> Device:
    asic, memory, limit = _part(static, "asic"), _part(metric, "mem_usage"), _part(static, "limit")
    total, used = size(memory.get("total_vram")), size(memory.get("used_vram"))
    total = size(_part(static, "vram").get("size")) if total is None else total
    temperatures = _part(metric, "temperature")
    celsius = quantity(temperatures.get("edge"))
    celsius = quantity(temperatures.get("hotspot")) if celsius is None else celsius
    use = quantity(_part(metric, "usage").get("gfx_activity"))
    serial = known(asic.get("asic_serial"))
    driver = known(_part(static, "driver").get("version"))
    return Device(
        name=known(asic.get("market_name")) or f"AMD GPU {index}",
        source="amd-smi",
        index=index,
        uuid=f"GPU-{serial.removeprefix('0x').lower()}" if serial else None,
        total_bytes=total or None,
        free_bytes=total - used if total and used is not None and used <= total else None,
        used_bytes=used if total else None,
        shared_bytes=size(memory.get("total_gtt")),
        shared_used_bytes=size(memory.get("used_gtt")),
        integrated=str(_part(static, "vram").get("type", "")).upper().startswith(_HOST_MEMORY),
        vendor="AMD",
        utilization_percent=None if use is None else int(use),
        temperature_celsius=None if celsius is None else int(celsius),
        power_watts=quantity(_part(metric, "power").get("socket_power")),
        power_limit_watts=quantity(limit.get("socket_power")),
        driver=f"amdgpu {driver}" if driver else None,
        architecture=known(asic.get("target_graphics_version")),
        processes=None if process is None else _processes(process),
    )


def _processes(answer: dict[str, Any]) -> tuple[DeviceProcess, ...]:
    found = []
    listed = answer.get("process_list")
    for item in listed if isinstance(listed, list) else ():
        info = item.get("process_info") if isinstance(item, dict) else None
        if isinstance(info, dict) and type(info.get("pid")) is int:
            used = size(_part(info, "memory_usage").get("vram_mem"))
            found.append(DeviceProcess(pid=info["pid"], name=known(info.get("name")), used_bytes=used))
    return tuple(sorted(found, key=lambda process: (-(process.used_bytes or 0), process.pid)))


def _part(data: dict[str, Any], key: str) -> dict[str, Any]:
    part = data.get(key)
    return part if isinstance(part, dict) else {}
