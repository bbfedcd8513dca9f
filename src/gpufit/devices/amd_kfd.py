"""AMD's compute driver in ``/sys/class/kfd``: the order in which ROCm counts cards, their instruction set, and who
holds memory on them."""

from __future__ import annotations

from gpufit.devices.device import DeviceProcess
from gpufit.devices.nvml_processes import read_process_name
from gpufit.devices.system_files import SystemFiles
from gpufit.records import record

_KFD = "/sys/class/kfd/kfd"


@record
class KfdNode:
    """A node that computes. ``architecture`` as in gfx90a: major, minor and stepping, the last two hexadecimal."""

    gpu_id: str
    render_minor: int | None
    architecture: str | None


def kfd_nodes(files: SystemFiles) -> tuple[KfdNode, ...]:
    """The nodes with compute units, in the driver's order."""
    found = []
    for number in files.names(f"{_KFD}/topology/nodes"):
        folder = f"{_KFD}/topology/nodes/{number}"
        properties = files.fields(f"{folder}/properties")
        if properties.get("simd_count", "0") == "0":  # a processor's node
            continue
        minor = properties.get("drm_render_minor", "")
        found.append(
            KfdNode(
                gpu_id=files.text(f"{folder}/gpu_id") or "",
                render_minor=int(minor) if minor.isdecimal() else None,
                architecture=gfx_name(properties.get("gfx_target_version", "")),
            )
        )
    return tuple(found)


def gfx_name(version: str) -> str | None:
    """The instruction set's name for the driver's number, five or six decimal digits.

    >>> gfx_name("110000"), gfx_name("90010"), gfx_name("90402"), gfx_name("0")
    ('gfx1100', 'gfx90a', 'gfx942', None)
    """
    if not version.isdecimal() or not 0 < int(version) < 10**6:
        return None
    major, rest = divmod(int(version), 10_000)
    minor, stepping = divmod(rest, 100)
    return f"gfx{major}{minor:x}{stepping:x}"


def kfd_processes(files: SystemFiles, node: KfdNode) -> tuple[DeviceProcess, ...]:
    """Processes with memory on a node, largest first; those of other containers are not listed."""
    found = []
    for pid in files.names(f"{_KFD}/proc"):
        used = files.number(f"{_KFD}/proc/{pid}/vram_{node.gpu_id}") if pid.isdecimal() else None
        if used:
            found.append(DeviceProcess(pid=int(pid), name=read_process_name(int(pid), files.root), used_bytes=used))
    return tuple(sorted(found, key=lambda process: (-(process.used_bytes or 0), process.pid)))
