"""Memory that processor and graphics share, Windows, and containers."""

from __future__ import annotations

from pathlib import Path

import pytest
from told import Answers, Said, recorded
from trees import plant

from gpufit.devices.apple import AppleProbe
from gpufit.devices.bounded import CommandOutput
from gpufit.devices.device import Device, DeviceProcess, ProbeFailed
from gpufit.devices.nvidia_smi import NvidiaSmiProbe
from gpufit.devices.probe import choose_device, probe_devices
from gpufit.devices.surroundings import NO_SIZES, SPILLS
from gpufit.devices.system import System, read_system
from gpufit.devices.system_files import SystemFiles

MIB, GIB = 1 << 20, 1 << 30


def mac(facts: str, pages: CommandOutput | ProbeFailed | None = None) -> tuple[Device, ...]:
    answers = {"sysctl": recorded(facts, code=1), "vm_stat": pages or recorded("vm_stat.txt")}
    return AppleProbe(run=Answers(answers), platform="darwin").devices()


def test_metal_takes_two_thirds_of_a_small_mac_and_what_is_free_of_it() -> None:
    (device,) = mac("sysctl_m2_max.txt")
    assert (device.name, device.vendor, device.driver) == ("Apple M2 Max", "Apple", "Metal of macOS 14.6.1")
    assert device.total_bytes == 21845 * MIB  # llama.cpp logs 21845.34 MiB on 32 GB
    assert device.free_bytes == 16384 * (304_311 + 531_243 + 8_411)
    assert "two thirds" in device.notes[0]


def test_the_administrators_limit_wins() -> None:
    (device,) = mac("sysctl_m3_max_set.txt")
    assert device.total_bytes == 57344 * MIB
    assert "iogpu.wired_limit_mb is set" in device.notes[0]


def test_without_vm_stat_the_free_memory_is_unknown() -> None:
    for pages in (ProbeFailed("slow"), CommandOutput(code=0, stdout="garbage")):
        (device,) = mac("sysctl_m2_max.txt", pages)
        assert (device.total_bytes, device.free_bytes, device.used_bytes) == (21845 * MIB, None, None)


def test_a_mac_with_an_intel_processor_has_none_and_other_systems_are_absent() -> None:
    assert mac("sysctl_intel_mac.txt") == ()
    with pytest.raises(ProbeFailed, match="cannot read"):
        AppleProbe(run=Answers({"sysctl": CommandOutput(code=0, stdout="?")}), platform="darwin").devices()
    with pytest.raises(ProbeFailed) as caught:
        AppleProbe(run=Answers({}), platform="linux").devices()
    assert caught.value.is_absent


def spark(tmp_path: Path) -> System:
    return read_system({}, files=plant("spark", tmp_path), platform="linux")


def test_a_gb10_is_given_three_quarters_of_the_systems_memory_and_says_so(tmp_path: Path) -> None:
    system = spark(tmp_path)
    tool = NvidiaSmiProbe(run=Answers({"nvidia-smi": recorded("gb10.csv")}))
    (bare,) = tool.devices()
    assert (bare.total_bytes, bare.free_bytes) == (None, None)
    (device,) = probe_devices({}, [[tool]], system=lambda environ: system).devices
    total = 125_513_984 * 1024 * 3 // 4
    assert (device.total_bytes, device.free_bytes, device.total_is_bound) == (total, 83_886_080 * 1024, True)
    assert "assumed: three quarters" in device.notes[-1]
    assert device.used_bytes is None  # most of what is in use is the processor's
    assert choose_device([device]) is device
    elsewhere = probe_devices({}, [[tool]], system=lambda environ: System(kind="linux")).devices[0]
    assert elsewhere.total_bytes is None  # nothing known of the system: still unknown


def test_a_lost_card_of_another_kind_is_never_given_the_systems_memory(tmp_path: Path) -> None:
    lost = Device(name="NVIDIA A100-SXM4-80GB", source="nvml", vendor="NVIDIA")
    (device,) = probe_devices({}, [[Said((lost,))]], system=lambda environ: spark(tmp_path)).devices
    assert device.total_bytes is None


def test_systems_are_told_apart(tmp_path: Path) -> None:
    assert read_system({}, files=plant("wsl", tmp_path / "w"), platform="linux").kind == "wsl"
    assert spark(tmp_path / "s").container == "docker"
    assert spark(tmp_path / "s").available_bytes == 80 * GIB
    bare = SystemFiles(root=str(tmp_path / "none"))
    assert read_system({}, files=bare, platform="win32") == System(kind="windows")
    assert read_system({}, files=bare, platform="linux") == System(kind="linux")
    assert read_system({"container": "podman"}, files=bare, platform="linux").container == "podman"
    assert read_system({"KUBERNETES_SERVICE_HOST": "1"}, files=bare, platform="linux").container == "kubernetes"


CARD = Device(
    name="NVIDIA GeForce RTX 4090", source="nvml", vendor="NVIDIA", total_bytes=24 * GIB, free_bytes=20 * GIB,
    used_bytes=4 * GIB, processes=(DeviceProcess(pid=7, name="python", used_bytes=None),),
)  # fmt: skip


@pytest.mark.parametrize("kind", ["wsl", "windows"])
def test_windows_spills_and_tells_no_sizes(kind: str) -> None:
    system = System(kind="wsl" if kind == "wsl" else "windows")
    (device,) = probe_devices({}, [[Said((CARD,))]], system=lambda environ: system).devices
    assert device.notes == (SPILLS, NO_SIZES)
    assert device.unseen_bytes is None
    (device,) = probe_devices({}, [[Said((CARD,))]], system=lambda environ: System(kind="linux")).devices
    assert device.notes == ()


def test_a_container_hides_processes_and_what_they_hold_is_shown(tmp_path: Path) -> None:
    busy = Device(
        name="Tesla T4", source="nvml", vendor="NVIDIA", total_bytes=15 * GIB, free_bytes=8 * GIB, used_bytes=7 * GIB,
        processes=(DeviceProcess(pid=7, name="python", used_bytes=GIB),),
    )  # fmt: skip
    (device,) = probe_devices({}, [[Said((busy,))]], system=lambda environ: spark(tmp_path)).devices
    assert device.unseen_bytes == 6 * GIB
    assert "inside a container (docker)" in device.notes[-1]
