"""Which devices are here: the probes asked in turn, what each said, and the choice of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpufit.devices.device import Device, Probe, ProbeFailed
from gpufit.devices.visible import select_visible
from gpufit.errors import NoDevice
from gpufit.records import record, replace

FAKE_VARIABLE = "GPUFIT_FAKE_GPU"
_HINT = "say what to judge against: --vram 16GB, or --gpu t4"


@record
class Finding:
    """What one probe said. ``outcome``: found, none (it looked and saw nothing), absent (not installed), failed."""

    probe: str
    outcome: str
    message: str = ""
    devices: tuple[Device, ...] = ()


@record
class ProbeResult:
    """``devices`` are those a program started here would see, in its order; ``findings`` hold everything seen."""

    devices: tuple[Device, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


def default_probes() -> tuple[Probe, ...]:
    """NVML, then nvidia-smi, then torch."""
    from gpufit.devices.nvidia_smi import NvidiaSmiProbe
    from gpufit.devices.nvml import NvmlProbe
    from gpufit.devices.torch_probe import TorchProbe

    return NvmlProbe(), NvidiaSmiProbe(), TorchProbe()


def probe_devices(
    environ: Mapping[str, str], probes: Sequence[Probe] | None = None, *, ask_all: bool = False
) -> ProbeResult:
    """Ask ``probes`` (by default the real ones) until one finds devices; with ``ask_all`` every one, and compare.

    ``GPUFIT_FAKE_GPU`` replaces all of them, ``CUDA_VISIBLE_DEVICES`` selects and orders what they find. Raises
    UsageError for a malformed GPUFIT_FAKE_GPU; a probe that fails is a finding, never an error.
    """
    fake = environ.get(FAKE_VARIABLE, "").strip()
    if fake:
        from gpufit.devices.fake import FakeProbe

        probes = (FakeProbe(text=fake),)
    findings: list[Finding] = []
    for probe in default_probes() if probes is None else probes:
        findings.append(_ask(probe))
        if findings[-1].devices and not ask_all:
            break
    found = next((finding.devices for finding in findings if finding.devices), ())
    visible, notes = select_visible(tuple(_fill(device, environ) for device in found), environ)
    troubles = tuple(finding.message for finding in findings if finding.outcome == "failed")
    return ProbeResult(devices=visible, findings=tuple(findings), notes=(*troubles, *_disagreements(findings), *notes))


def choose_device(devices: Sequence[Device], findings: Sequence[Finding] = ()) -> Device:
    """The device with the most free memory, the first of equals; one whose memory is unknown only when all are so.

    Raises NoDevice when there is none, or none with a byte to give.
    """
    if not devices:
        hidden = sum(len(finding.devices) for finding in findings)
        said = [finding.message for finding in findings if finding.outcome == "failed"]
        message = f"{hidden} GPUs are here, and none is visible" if hidden else "; ".join(["no GPU found", *said])
        raise NoDevice(message, hint=_HINT)
    best = max(devices, key=_room)
    if best.free_bytes == 0:
        raise NoDevice(f"{best.name} has no free memory", hint=_HINT)
    return best


def _room(device: Device) -> int:
    if device.free_bytes is not None:
        return device.free_bytes
    return -1 if device.total_bytes is None else device.total_bytes


def _ask(probe: Probe) -> Finding:
    try:
        devices = probe.devices()
    except ProbeFailed as failure:
        return Finding(probe=probe.name, outcome="absent" if failure.is_absent else "failed", message=failure.message)
    if not devices:
        return Finding(probe=probe.name, outcome="none", message=f"{probe.name} sees no device")
    return Finding(probe=probe.name, outcome="found", devices=devices)


def _fill(device: Device, environ: Mapping[str, str]) -> Device:
    """Facts that no driver reports (bandwidth), or an old one does not (compute capability), from the table by name."""
    if device.bandwidth_gb_per_s is not None and device.compute_capability is not None:
        return device
    from gpufit.devices.table import load_gpus

    known = load_gpus(environ).resembling(device.name, device.total_bytes)
    if known is None:
        return device
    return replace(
        device,
        compute_capability=device.compute_capability or known.compute_capability,
        bandwidth_gb_per_s=device.bandwidth_gb_per_s or known.bandwidth_gb_per_s,
        vendor=device.vendor or known.vendor,
    )


def _disagreements(findings: Sequence[Finding]) -> list[str]:
    """Probes that found unlike devices; totals may differ by what the driver keeps, and torch sees less of that."""
    found = [finding for finding in findings if finding.devices]
    notes: list[str] = []
    for other in found[1:]:
        first = found[0]
        if len(first.devices) != len(other.devices):
            counts = f"{first.probe} sees {len(first.devices)} devices, {other.probe} {len(other.devices)}"
            notes.append(f"probes disagree: {counts}")
            continue
        for one, two in zip(first.devices, other.devices, strict=True):
            if one.total_bytes and two.total_bytes and abs(one.total_bytes - two.total_bytes) * 20 > one.total_bytes:
                totals = f"{first.probe} says {one.total_bytes} bytes, {other.probe} {two.total_bytes}"
                notes.append(f"probes disagree on GPU {one.index}: {totals}")
    return notes
