"""Whatever a tool prints, the answer is devices or one clear failure, and every size makes sense."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from told import FIXTURES, Said

from gpufit.devices.amd_smi import parse_amd_smi
from gpufit.devices.apple import parse_apple
from gpufit.devices.bounded import CommandOutput
from gpufit.devices.device import Device, ProbeFailed
from gpufit.devices.nvidia_smi import parse_gpus
from gpufit.devices.nvidia_smi_mig import with_slices
from gpufit.devices.probe import probe_devices
from gpufit.devices.rocm_smi import parse_rocm_smi
from gpufit.devices.tool_json import parse_answer
from gpufit.devices.xpu_smi import parse_xpu_smi

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["N/A", "7", "0x1f", "²", "DDR5", ""])
)
KEYS = st.sampled_from(
    ["gpu", "asic", "vram", "mem_usage", "total_vram", "used_vram", "value", "unit", "card0", "system", "Unique ID",
     "VRAM Total Memory (B)", "GPU use (%)", "process_list", "process_info", "pid", "gpu_data", "Driver version"]
)  # fmt: skip
ANY_JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))
TEXTS = ("t4.csv", "xpu_smi_2.0.txt", "xpu_smi_1.2.txt", "sysctl_m2_max.txt", "vm_stat.txt")


def sound(devices: tuple[Device, ...]) -> None:
    for device in devices:
        assert device.total_bytes is None or device.total_bytes >= 0
        assert device.free_bytes is None or 0 <= device.free_bytes <= (device.total_bytes or 0)


@given(ANY_JSON, ANY_JSON)
def test_any_json_is_devices_or_a_failure(one: Any, two: Any) -> None:
    for read in (lambda: parse_amd_smi(one, two), lambda: parse_rocm_smi(one)):
        try:
            sound(read())
        except ProbeFailed:
            continue


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A real answer with a piece cut out and something put in."""
    text = (FIXTURES / draw(st.sampled_from(TEXTS))).read_text()
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    return text[:start] + draw(st.text("0123456789.,: ²\0\n\"'[]N/AMiB-", max_size=8)) + text[end:]


@pytest.mark.parametrize("parse", [parse_gpus, parse_xpu_smi, parse_apple, lambda text: parse_apple("", text)])
@given(damaged())
def test_a_damaged_answer_is_devices_or_a_failure(parse: Callable[[str], tuple[Device, ...]], text: str) -> None:
    try:
        devices = parse(text)
    except ProbeFailed:
        return
    assert all(device.total_bytes is None or device.total_bytes >= 0 for device in devices)


@given(damaged(), st.text(max_size=60))
def test_slices_from_any_text_are_the_card_or_its_slices(listed: str, xml: str) -> None:
    card = Device(name="A100", source="nvidia-smi", uuid="GPU-1")
    assert all(found.name.startswith("A100") for found in with_slices([card], {"GPU-1"}, listed, xml))


@given(st.text(max_size=60), st.integers(-255, 255))
def test_any_answer_is_json_or_a_failure(text: str, code: int) -> None:
    try:
        said = json.dumps(parse_answer("tool", CommandOutput(code=code, stdout=text)))
    except ProbeFailed as failure:
        said = failure.message
    assert said


def test_a_probe_that_breaks_hides_no_other_vendors_cards() -> None:
    class Breaks(Said):
        def devices(self) -> tuple[Device, ...]:
            raise ValueError("surprise")

    card = Device(name="T4", source="nvml", vendor="NVIDIA", total_bytes=2, free_bytes=1)
    result = probe_devices({}, [[Breaks((), "odd"), Said((card,), "nvml")]])
    assert [device.name for device in result.devices] == ["T4"]
    assert result.notes == ("odd broke: ValueError: surprise",)
