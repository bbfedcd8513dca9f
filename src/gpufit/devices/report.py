"""Everything that explains an answer of gpufit on this machine, gathered at once; no part can make another fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gpufit.__about__ import __version__
from gpufit.devices.bounded import Runner, call_together, run_command
from gpufit.devices.device import Device
from gpufit.devices.probe import ProbeResult, Rounds, choose_device, default_rounds, probe_devices
from gpufit.devices.settings import Place, Setting, read_places, read_variables, token_origin
from gpufit.devices.system import System, read_system
from gpufit.devices.system_files import SystemFiles
from gpufit.devices.transcript import Said, Transcript
from gpufit.devices.versions import cuda_driver_version, package_versions, system_versions, torch_target
from gpufit.errors import GpufitError
from gpufit.records import record

_LIMIT_SECONDS = 6.0  # two of the slowest probes one after the other, and what is quick


@record
class Report:
    """``troubles`` name the parts that could not be gathered, with the reason."""

    version: str
    system: System | None
    versions: tuple[tuple[str, str], ...]
    packages: tuple[tuple[str, str | None], ...]
    variables: tuple[Setting, ...]
    token_from: str | None
    places: tuple[Place, ...]
    probes: ProbeResult | None
    chosen: str
    said: tuple[Said, ...]
    files: tuple[tuple[str, str], ...]
    troubles: tuple[str, ...]


def make_report(
    environ: Mapping[str, str],
    make_rounds: Callable[[SystemFiles, Runner], Rounds] = default_rounds,
    run: Runner = run_command,
) -> Report:
    """Ask every probe at once and gather the rest beside it, within seconds. Never raises what a part raises.

    ``make_rounds`` makes the probes from the files and the runner that keep what they read.
    """
    transcript, files = Transcript(run), SystemFiles(seen={})
    parts: dict[str, Callable[[], Any]] = {
        "probes": lambda: probe_devices(environ, make_rounds(files, transcript), ask_all=True),
        "system": lambda: read_system(environ),
        "versions": system_versions,
        "CUDA": cuda_driver_version,
        "torch": torch_target,
        "packages": package_versions,
        "places": lambda: read_places(environ),
        "token": lambda: token_origin(environ),
    }
    answers = dict(zip(parts, call_together(list(parts.values()), _LIMIT_SECONDS), strict=True))
    troubles = [f"{name}: {_words(answer)}" for name, answer in answers.items() if isinstance(answer, BaseException)]
    known = {name: None if isinstance(answer, BaseException) else answer for name, answer in answers.items()}
    probes: ProbeResult | None = known["probes"]
    if probes is None and not isinstance(answers["probes"], BaseException):
        troubles.append(f"probes: no answer within {_LIMIT_SECONDS:g} s")
    versions = [*(known["versions"] or ()), ("CUDA of the driver", known["CUDA"]), ("torch built for", known["torch"])]
    return Report(
        version=__version__,
        system=known["system"],
        versions=tuple((name, value or "unknown") for name, value in versions),
        packages=known["packages"] or (),
        variables=read_variables(environ),
        token_from=known["token"],
        places=known["places"] or (),
        probes=probes,
        chosen=_chosen(probes),
        said=tuple(transcript.said),
        files=tuple((files.seen or {}).items()),
        troubles=tuple(troubles),
    )


def _chosen(probes: ProbeResult | None) -> str:
    """What ``check`` would judge against, or why it would refuse."""
    if probes is None:
        return "nothing"
    try:
        device: Device = choose_device(probes.devices, probes.findings)
    except GpufitError as error:
        return f"nothing: {error.message}"
    return f"GPU {device.index} {device.name}, asked through {device.source}"


def _words(error: BaseException) -> str:
    return error.message if isinstance(error, GpufitError) else f"{type(error).__name__}: {error}"
