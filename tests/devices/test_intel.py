"""Intel cards: the kernel's files, which often hide the size, and xpu-smi, which knows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from told import Answers, recorded
from trees import plant

from gpufit.devices.bounded import CommandOutput
from gpufit.devices.device import ProbeFailed
from gpufit.devices.intel_sysfs import IntelSysfsProbe
from gpufit.devices.probe import choose_device, probe_devices
from gpufit.devices.xpu_smi import XpuSmiProbe

MIB = 1 << 20


def test_the_kernels_files_tell_cards_from_processors(tmp_path: Path) -> None:
    arc, flex, ponte_vecchio, graphics = IntelSysfsProbe(files=plant("intel", tmp_path)).devices()
    assert (arc.name, arc.index, arc.temperature_celsius) == ("Arc B580", 0, 47)
    assert (arc.total_bytes, arc.free_bytes, arc.integrated) == (None, None, False)
    assert (arc.driver, "does not say how much" in arc.notes[0]) == ("xe of Linux 6.11.0-9-generic", True)
    assert (flex.name, flex.total_bytes, flex.free_bytes) == (
        "Data Center GPU Flex 170",
        17_095_983_104,
        17_043_718_144,
    )
    assert (ponte_vecchio.name, ponte_vecchio.total_bytes) == ("Intel GPU 8086:0bd5", 128 << 30)  # its two tiles
    assert (graphics.name, graphics.integrated, graphics.index) == ("UHD Graphics 770", True, 3)


def test_xpu_smi_tells_sizes() -> None:
    arc, graphics = XpuSmiProbe(run=Answers({"xpu-smi": recorded("xpu_smi_2.0.txt")})).devices()
    assert (arc.name, arc.total_bytes, arc.free_bytes) == ("Intel Arc B580 Graphics", 12216 * MIB, int(11994.5 * MIB))
    assert (arc.used_bytes, arc.driver) == (int(221.5 * MIB), "1.6.31907.700000")
    assert (graphics.total_bytes, graphics.free_bytes, graphics.integrated) == (None, None, True)


def test_an_older_xpu_smi_is_asked_again_for_less() -> None:
    refused = CommandOutput(code=1, stdout="Error: invalid property id")
    run = Answers({"1,2,4,8,11,16,34": refused, "1,2,4,8,11,16": recorded("xpu_smi_1.2.txt")})
    (flex,) = XpuSmiProbe(run=run).devices()
    assert (flex.total_bytes, flex.free_bytes) == (14248 * MIB, None)
    assert flex.uuid == "00000000-0000-0000-0000-020a00000000"
    assert len(run.commands) == 2


@pytest.mark.parametrize("text", ["Device ID, Device Name\n0", "nonsense", '{"error": 1}'])
def test_a_broken_xpu_smi_fails(text: str) -> None:
    with pytest.raises(ProbeFailed, match="cannot read"):
        XpuSmiProbe(run=Answers({"xpu-smi": CommandOutput(code=0, stdout=text)})).devices()


def test_xpu_smi_without_devices_is_empty_and_a_failing_one_fails() -> None:
    assert XpuSmiProbe(run=Answers({"xpu-smi": CommandOutput(code=1, stdout="No device discovered")})).devices() == ()
    with pytest.raises(ProbeFailed, match=r"failed \(3\): level zero"):
        XpuSmiProbe(run=Answers({"xpu-smi": CommandOutput(code=3, stdout="", stderr="level zero")})).devices()


def test_the_tool_is_asked_where_the_kernel_hides_the_size(tmp_path: Path) -> None:
    files = plant("intel", tmp_path)
    for card in ("card2", "card3"):
        (tmp_path / f"sys/class/drm/{card}/device/vendor").unlink()
    tool = XpuSmiProbe(run=Answers({"xpu-smi": recorded("xpu_smi_2.0.txt")}))
    result = probe_devices({}, [[IntelSysfsProbe(files=files)], [tool]])
    assert choose_device(result.devices).total_bytes == 12216 * MIB
    assert probe_devices({"ZE_AFFINITY_MASK": "1"}, [[tool]]).devices[0].integrated
    assert [device.index for device in probe_devices({"ZE_AFFINITY_MASK": "0.0,0.1"}, [[tool]]).devices] == [0]
    assert "tiles" in probe_devices({"ZE_AFFINITY_MASK": "0.0"}, [[tool]]).notes[0]
    assert len(probe_devices({"ZE_AFFINITY_MASK": ""}, [[tool]]).devices) == 2  # an empty mask is none
