"""Which devices are here: rounds of probes asked together, what each said, and the choice of one device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gpufit.devices.believe import Finding, believed, disagreements
from gpufit.devices.bounded import LIMIT_SECONDS, Runner, call_together, run_command
from gpufit.devices.device import Device, Probe, ProbeFailed
from gpufit.devices.system import System, read_system
from gpufit.devices.system_files import SystemFiles
from gpufit.devices.visible import select_visible
from gpufit.errors import GpufitError, NoDevice
from gpufit.records import record

__all__ = ["Finding", "ProbeResult", "choose_device", "default_rounds", "no_device", "probe_devices"]
FAKE_VARIABLE = "GPUFIT_FAKE_GPU"
_HINT = "say what to judge against: --vram 16GB, or --gpu t4"
_ROUND_SECONDS = LIMIT_SECONDS + 1.0  # every probe keeps its own limit; this is for one that does not

Rounds = Sequence[Sequence[Probe]]


@record
class ProbeResult:
    """``devices`` are those a program started here would see, in its order; ``findings`` hold everything seen."""

    devices: tuple[Device, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


def default_rounds(files: SystemFiles | None = None, run: Runner = run_command) -> Rounds:
    """First what answers within this process, then the vendors' tools, and torch when all of these are silent."""
    from gpufit.devices.amd_smi import AmdSmiProbe
    from gpufit.devices.amd_sysfs import AmdSysfsProbe
    from gpufit.devices.apple import AppleProbe
    from gpufit.devices.intel_sysfs import IntelSysfsProbe
    from gpufit.devices.nvidia_smi import NvidiaSmiProbe
    from gpufit.devices.nvml import NvmlProbe
    from gpufit.devices.rocm_smi import RocmSmiProbe
    from gpufit.devices.torch_probe import TorchProbe
    from gpufit.devices.xpu_smi import XpuSmiProbe

    files = SystemFiles() if files is None else files
    return (
        (NvmlProbe(), AmdSysfsProbe(files=files), IntelSysfsProbe(files=files), AppleProbe(run=run)),
        (NvidiaSmiProbe(run=run), AmdSmiProbe(run=run), RocmSmiProbe(run=run), XpuSmiProbe(run=run)),
        (TorchProbe(),),
    )


def probe_devices(
    environ: Mapping[str, str],
    rounds: Rounds | None = None,
    *,
    ask_all: bool = False,
    system: Callable[[Mapping[str, str]], System] = read_system,
) -> ProbeResult:
    """Ask one round after the other until a device of known size is found; with ``ask_all`` every probe at once.

    ``GPUFIT_FAKE_GPU`` replaces all of them; ``CUDA_VISIBLE_DEVICES`` and its like select and order what they find.
    Raises UsageError for a malformed GPUFIT_FAKE_GPU; a probe that fails is a finding, never an error.
    """
    fake = environ.get(FAKE_VARIABLE, "").strip()
    if fake:
        from gpufit.devices.fake import FakeProbe

        rounds, system = ((FakeProbe(text=fake),),), lambda environ: System(kind="other")
    elif rounds is None:
        rounds = default_rounds()
    if ask_all:
        rounds = (tuple(probe for members in rounds for probe in members),)
    findings: list[Finding] = []
    found: tuple[Device, ...] = ()
    for members in rounds:
        findings += _ask_together(members)
        found = believed(findings)
        if found:
            found = _complete(found, environ, system(environ))
        if any(device.total_bytes is not None and not device.integrated for device in found):
            break
    visible, notes = select_visible(found, environ)
    troubles = tuple(finding.message for finding in findings if finding.outcome == "failed")
    notes = (*troubles, *disagreements(findings), *notes)
    return ProbeResult(devices=visible, findings=tuple(findings), notes=tuple(dict.fromkeys(notes)))


def choose_device(devices: Sequence[Device], findings: Sequence[Finding] = ()) -> Device:
    """The device with the most free memory, the first of equals; one whose memory is unknown only when all are so.

    An integrated device is never chosen: it shares the processor's memory, and few libraries run on it. Raises NoDevice
    when there is no other, or none with a byte to give.
    """
    own = [device for device in devices if not device.integrated]
    if devices and not own:
        name = devices[0].name
        raise NoDevice(
            f"the only GPU here is part of the processor ({name}), which is not chosen by itself", hint=_HINT
        )
    if not devices:
        raise no_device(findings)
    best = max(own, key=_room)
    if best.free_bytes == 0:
        raise NoDevice(f"{best.name} has no free memory", hint=_HINT)
    return best


def no_device(findings: Sequence[Finding], hint: str = _HINT) -> NoDevice:
    """Why there is none: those that are here are hidden, or nobody found any, with the words of who failed."""
    hidden = len(believed(findings))
    said = [finding.message for finding in findings if finding.outcome == "failed"]
    message = f"{hidden} GPUs are here, and none is visible" if hidden else "; ".join(["no GPU found", *said])
    return NoDevice(message, hint=hint)


def _room(device: Device) -> int:
    if device.free_bytes is not None:
        return device.free_bytes
    return -1 if device.total_bytes is None else device.total_bytes


def _ask_together(probes: Sequence[Probe]) -> list[Finding]:
    """What each said; one alone is asked without a thread."""
    if len(probes) == 1:
        return [_ask(probes[0])]
    calls: list[Callable[[], Finding]] = [lambda probe=probe: _ask(probe) for probe in probes]  # type: ignore[misc]
    findings = []
    for probe, answer in zip(probes, call_together(calls, _ROUND_SECONDS), strict=True):
        if isinstance(answer, BaseException):  # only what _ask lets through
            raise answer
        late = f"{probe.name} did not answer within {_ROUND_SECONDS:g} s"
        findings.append(answer or Finding(probe=probe.name, outcome="failed", message=late))
    return findings


def _ask(probe: Probe) -> Finding:
    """What a probe said; its own faults are failures too, so that one driver's surprise never hides the other cards."""
    try:
        devices = probe.devices()
    except ProbeFailed as failure:
        return Finding(probe=probe.name, outcome="absent" if failure.is_absent else "failed", message=failure.message)
    except GpufitError:  # the user's own mistake, in GPUFIT_FAKE_GPU
        raise
    except Exception as fault:  # noqa: BLE001  told in the notes and by doctor
        message = f"{probe.name} broke: {type(fault).__name__}: {str(fault)[:160]}"
        return Finding(probe=probe.name, outcome="failed", message=message)
    if not devices:
        return Finding(probe=probe.name, outcome="none", message=f"{probe.name} sees no device")
    return Finding(probe=probe.name, outcome="found", devices=devices)


def _complete(devices: Sequence[Device], environ: Mapping[str, str], system: System) -> tuple[Device, ...]:
    """The devices with what the table of GPUs, the system around them and earlier measurements add."""
    from gpufit.devices.contexts import with_contexts
    from gpufit.devices.surroundings import fill_facts, fill_unified, note_surroundings
    from gpufit.devices.table import GpuTable, load_gpus

    def table() -> GpuTable:
        return load_gpus(environ)

    filled = (fill_unified(fill_facts(device, table), system, table) for device in devices)
    return with_contexts([note_surroundings(device, system) for device in filled], environ)
