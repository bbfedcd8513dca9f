"""The system around the devices: which it is, whether a container hides others, and how much memory it has."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Literal

from gpufit.devices.system_files import SystemFiles
from gpufit.records import record
from gpufit.units import KIB

Kind = Literal["linux", "wsl", "windows", "macos", "other"]
_KINDS: dict[str, Kind] = {"linux": "linux", "win32": "windows", "cygwin": "windows", "darwin": "macos"}
_CONTAINER_WORDS = ("docker", "containerd", "kubepods", "libpod", "lxc")


@record
class System:
    """``container`` names the kind of container this runs in. Sizes are those of the whole machine's memory."""

    kind: Kind
    container: str | None = None
    total_bytes: int | None = None
    available_bytes: int | None = None


def read_system(
    environ: Mapping[str, str], *, files: SystemFiles | None = None, platform: str = sys.platform
) -> System:
    """What the system says of itself in /proc and the marks that container engines leave."""
    files = SystemFiles() if files is None else files
    kind = _KINDS.get(platform, "other")
    release = files.text("/proc/sys/kernel/osrelease") or "" if kind == "linux" else ""
    if "microsoft" in release.lower():
        kind = "wsl"
    memory = files.fields("/proc/meminfo", ":") if kind in ("linux", "wsl") else {}
    return System(
        kind=kind,
        container=_container(environ, files) if kind in ("linux", "wsl") else None,
        total_bytes=_kib(memory.get("MemTotal")),
        available_bytes=_kib(memory.get("MemAvailable")),
    )


def _container(environ: Mapping[str, str], files: SystemFiles) -> str | None:
    """systemd's ``container`` variable, Kubernetes' own, Docker's and Podman's files, or the control group's name."""
    if environ.get("container"):
        return environ["container"][:40]
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if files.text("/.dockerenv") is not None:
        return "docker"
    if files.text("/run/.containerenv") is not None:
        return "podman"
    group = files.text("/proc/1/cgroup") or ""
    return next((word for word in _CONTAINER_WORDS if word in group), None)


def _kib(text: str | None) -> int | None:
    number, _, unit = (text or "").partition(" ")
    return int(number) * KIB if number.isdecimal() and unit.strip() == "kB" else None
