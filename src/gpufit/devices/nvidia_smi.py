"""``nvidia-smi --query-gpu``, for machines where NVML cannot be loaded but its tool answers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpufit.devices.bounded import LIMIT_SECONDS, CommandOutput, Runner, run_command
from gpufit.devices.device import Device, DeviceProcess, ProbeFailed
from gpufit.records import record
from gpufit.units import MIB

_FIELDS = (
    "index", "name", "uuid", "memory.total", "memory.free", "memory.used", "utilization.gpu", "temperature.gpu",
    "power.draw", "power.limit", "driver_version", "mig.mode.current", "compute_cap", "memory.reserved",
)  # fmt: skip
_SINCE_510 = ("mig.mode.current", "compute_cap", "memory.reserved")  # older drivers refuse the whole query for these
_FORMAT = "--format=csv,noheader,nounits"
_NUMBER = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,6})?")
_NO_DEVICES = "no devices were found"
_NO_DRIVER = ("couldn't communicate with the nvidia driver", "couldn't find libnvidia-ml")


@record
class NvidiaSmiProbe:
    run: Runner = run_command
    limit_seconds: float = LIMIT_SECONDS

    @property
    def name(self) -> str:
        return "nvidia-smi"

    def devices(self) -> tuple[Device, ...]:
        """All devices, in the order of the PCI bus. The two or three commands share the one time limit."""
        from time import monotonic

        end = monotonic() + self.limit_seconds

        def ask(*arguments: str, form: tuple[str, ...] = (_FORMAT,)) -> CommandOutput:
            return self.run(("nvidia-smi", *arguments, *form), limit_seconds=max(0.05, end - monotonic()))

        fields: Sequence[str] = _FIELDS
        answer = ask(f"--query-gpu={','.join(fields)}")
        if answer.code != 0 and "not a valid field" in answer.stdout + answer.stderr:
            fields = [field for field in _FIELDS if field not in _SINCE_510]
            answer = ask(f"--query-gpu={','.join(fields)}")
        if answer.code != 0:
            return _explain(answer)
        devices = parse_gpus(answer.stdout, fields)
        try:
            listed = ask("--query-compute-apps=gpu_uuid,pid,process_name,used_memory") if devices else None
        except ProbeFailed:  # the devices are known; who uses them stays unknown
            listed = None
        if listed is not None and listed.code == 0:
            devices = with_processes(devices, listed.stdout)
        divided = divided_cards(answer.stdout, fields)
        if divided:
            from gpufit.devices.nvidia_smi_mig import with_slices

            return with_slices(devices, divided, ask("-L", form=()).stdout, ask("-q", "-x", form=()).stdout)
        return devices


def parse_gpus(text: str, fields: Sequence[str] = _FIELDS) -> tuple[Device, ...]:
    """Parse the lines of ``--query-gpu=FIELDS --format=csv,noheader,nounits`` (sizes in MiB, power in W).

    ``[N/A]``, ``[Not Supported]``, ``[Unknown Error]`` and the like are unknown. Raises ProbeFailed for a line that
    does not have every field, which is how a killed nvidia-smi ends.

    >>> parse_gpus("0, Tesla T4, 15360", ("index", "name", "memory.total"))[0].total_bytes
    16106127360
    """
    return tuple(_parse_gpu(line, fields) for line in text.splitlines() if line.strip())


def divided_cards(text: str, fields: Sequence[str] = _FIELDS) -> set[str]:
    """The uuids of cards on which MIG is on."""
    rows = (dict(zip(fields, (cell.strip() for cell in line.split(", ")), strict=False)) for line in text.splitlines())
    return {row["uuid"] for row in rows if row.get("mig.mode.current") == "Enabled" and row.get("uuid")}


def with_processes(devices: Sequence[Device], text: str) -> tuple[Device, ...]:
    """Add the lines of ``--query-compute-apps=gpu_uuid,pid,process_name,used_memory`` to the devices they name."""
    from gpufit.records import replace

    held: dict[str, list[DeviceProcess]] = {}
    for line in text.splitlines():
        uuid, _, rest = line.partition(", ")
        pid, _, rest = rest.partition(", ")
        name, _, used = rest.rpartition(", ")  # a program's name may hold a comma
        if pid.strip().isdecimal():
            path = _known(name)
            process = DeviceProcess(
                pid=int(pid),
                name=path.replace("\\", "/").rpartition("/")[2] if path else None,
                used_bytes=_mib(used),
            )
            held.setdefault(uuid.strip(), []).append(process)
    return tuple(
        replace(device, processes=tuple(sorted(held.get(device.uuid or "", ()), key=lambda p: -(p.used_bytes or 0))))
        for device in devices
    )


def _parse_gpu(line: str, fields: Sequence[str]) -> Device:
    cells = [cell.strip() for cell in line.split(", ")]
    if len(cells) != len(fields):
        raise ProbeFailed(f"nvidia-smi answered with a line gpufit cannot read: {line.strip()[:80]!r}")
    cell = dict(zip(fields, cells, strict=True))
    if not cell["index"].isdecimal():
        raise ProbeFailed(f"nvidia-smi answered with a line gpufit cannot read: {line.strip()[:80]!r}")
    capability = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,2})", cell.get("compute_cap", ""))
    total, free = _mib(cell.get("memory.total", "")), _mib(cell.get("memory.free", ""))
    return Device(
        name=_known(cell["name"]) or f"NVIDIA GPU {cell['index']}",
        source="nvidia-smi",
        index=int(cell["index"]),
        uuid=_known(cell.get("uuid", "")),
        total_bytes=total or None,  # a total of 0 MiB is what some drivers print for unknown
        free_bytes=free if total else None,
        used_bytes=_mib(cell.get("memory.used", "")) if total else None,
        reserved_bytes=_mib(cell.get("memory.reserved", "")) if total else None,
        vendor="NVIDIA",
        utilization_percent=_whole(cell.get("utilization.gpu", "")),
        temperature_celsius=_whole(cell.get("temperature.gpu", "")),
        power_watts=_number(cell.get("power.draw", "")),
        power_limit_watts=_number(cell.get("power.limit", "")),
        driver=_known(cell.get("driver_version", "")),
        compute_capability=(int(capability[1]), int(capability[2])) if capability else None,
    )


def _explain(answer: CommandOutput) -> tuple[Device, ...]:
    said = " ".join((answer.stdout + "\n" + answer.stderr).split())
    if _NO_DEVICES in said.lower():
        return ()
    absent = any(phrase in said.lower() for phrase in _NO_DRIVER)
    raise ProbeFailed(f"nvidia-smi failed ({answer.code}): {said[:160] or 'it said nothing'}", is_absent=absent)


def _known(text: str) -> str | None:
    text = text.strip()
    return None if not text or (text[0] == "[" and text[-1] == "]") or text in ("N/A", "-") else text


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _whole(text: str) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


def _mib(text: str) -> int | None:
    number = _number(text)
    return None if number is None or number < 0 else int(number * MIB)
