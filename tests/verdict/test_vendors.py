"""Cards that are not NVIDIA's: what is known to run there, what is refused, and what is said to be unknown."""

from __future__ import annotations

import pytest

import gpufit
from gpufit.cli.main import main
from gpufit.devices.device import Device
from gpufit.errors import NoDevice, Unsupported
from gpufit.memory.workload import Quantization
from gpufit.verdict.vendors import choose_sdpa, quant_support

RADEON, OLD_RADEON = "Radeon RX 7900 XTX:24560MiB", "Radeon RX 6800:16368MiB"


def check(fake: str, **asked: object) -> gpufit.Check:
    return gpufit.check("llama-2-7b", environ={"GPUFIT_FAKE_GPU": fake}, **asked)  # type: ignore[arg-type]


def card(vendor: str, name: str = "card", architecture: str | None = None) -> Device:
    return Device(name=name, source="given", vendor=vendor, architecture=architecture)


@pytest.mark.parametrize(
    ("device", "quant", "expected"),
    [
        (card("AMD", architecture="gfx1100"), "bnb-int8", "yes"),
        (card("AMD", architecture="gfx90a"), "bnb-nf4", "yes"),
        (card("AMD", architecture="gfx906"), "bnb-nf4", "no"),  # an MI50, not in bitsandbytes' table
        (card("AMD"), "bnb-nf4", "unknown"),
        (card("AMD", architecture="gfx1100"), "gptq-int4-g128", "unknown"),
        (card("Intel", "Arc B580"), "bnb-fp4", "yes"),
        (card("Intel", "Data Center GPU Flex 170"), "bnb-fp4", "unknown"),
        (card("Apple", "Apple M2"), "bnb-nf4-dq", "yes"),
        (card("Apple", "Apple M2"), "mxfp4", "no"),
        (card("Apple", "Apple M2"), "none", "yes"),
    ],
)
def test_quantizations_run_where_their_libraries_say(device: Device, quant: Quantization, expected: str) -> None:
    assert quant_support(device, quant) == expected


def test_attention_is_fused_where_torch_has_kernels() -> None:
    assert choose_sdpa(card("AMD", architecture="gfx942")) == ("sdpa", "")
    assert choose_sdpa(card("AMD", architecture="gfx1030"))[0] == "eager"
    assert [choose_sdpa(card(vendor))[0] for vendor in ("AMD", "Intel", "Apple")] == ["sdpa"] * 3
    assert all("was not measured" in choose_sdpa(card(vendor))[1] for vendor in ("AMD", "Intel", "Apple"))
    assert choose_sdpa(card("NVIDIA")) == ("sdpa", "")
    assert choose_sdpa(None) == ("sdpa", "")


def test_a_radeon_with_fused_kernels_is_judged_like_a_card_with_cuda() -> None:
    answer = check(RADEON)
    assert (answer.verdict, answer.workload.attention) == ("fits", "sdpa")
    assert answer.device.dtypes == ("fp32", "fp16", "int8", "bf16")
    assert any("context of AMD's driver was not measured" in note for note in answer.notes)
    assert check(RADEON, dtype="bf16").workload.dtype == "bf16"  # which torch runs on every AMD card


def test_without_fused_kernels_the_quadratic_scores_are_counted_and_never_advised_away() -> None:
    answer = check(OLD_RADEON)
    assert answer.workload.attention == "eager"
    assert answer.verdict == "no"
    assert [option.change for option in answer.alternatives if "sdpa" in option.change] == []
    assert any("no fused attention for gfx1030" in note for note in answer.notes)
    assert answer.estimate.activations.likely_bytes > 10 * check(RADEON).estimate.activations.likely_bytes
    said = check(OLD_RADEON, attention="sdpa")
    assert any("was not measured" in note for note in said.notes)


def test_what_bitsandbytes_has_no_kernels_for_is_refused_and_never_recommended() -> None:
    mi60 = "Instinct MI60:16GiB"
    with pytest.raises(Unsupported, match="bnb-nf4 has no kernels for gfx906"):
        check(mi60, quant="bnb-nf4")
    options = (*check(mi60).alternatives, *filter(None, [check(mi60).recommendation]))
    assert [option.change for option in options if "bnb" in option.change] == []
    assert check(OLD_RADEON).recommendation is not None  # gfx1030 has them
    flex = "Data Center GPU Flex 170:8GiB:vendor=intel"
    assert any("is unknown here" in note for note in check(flex, quant="bnb-nf4").notes)
    assert check(flex).recommendation is None  # advice never leans on an unknown


def test_flash_attention_is_refused_on_metal_and_doubted_elsewhere() -> None:
    with pytest.raises(Unsupported, match="does not run on Metal"):
        check("Apple M2 Max:32GiB:vendor=apple", attention="flash")
    assert any("flash attention 2 runs on" in note for note in check(RADEON, attention="flash").notes)


def test_a_card_of_nvidias_is_judged_as_before() -> None:
    with pytest.raises(Unsupported, match=r"compute capability 8\.0"):
        check("Tesla T4", attention="flash")
    with pytest.raises(Unsupported, match=r"bnb-int8 needs compute capability 7\.5"):
        check("Tesla P4", quant="bnb-int8")
    assert check("Tesla T4").notes == gpufit.check("llama-2-7b", vram="15GiB").notes


def test_graphics_of_a_processor_are_not_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    both = f"Radeon 780M:4GiB:vendor=amd:arch=gfx1103:integrated=yes,{RADEON}"
    assert check(both).device.name == "Radeon RX 7900 XTX"
    with pytest.raises(NoDevice, match="part of the processor"):
        check("Radeon 780M:4GiB:integrated=yes")


def test_the_free_memory_of_a_mac_may_be_unknown_and_then_it_is_said() -> None:
    from gpufit.verdict.budget import make_budget

    budget = make_budget(Device(name="Apple M2", source="apple", vendor="Apple", total_bytes=9))
    assert (budget.free_bytes, "how much of it is free is unknown" in budget.known_by) == (9, True)


@pytest.mark.parametrize(
    ("gpu", "device_map", "meter"),
    [
        ("apple-m2-max-32gb", 'device_map="mps"', "what Metal counts"),
        ("arc-b580", 'device_map="xpu"', "what xpu-smi shows"),
        ("rx-7900-xtx", 'device_map="cuda"', "what amd-smi shows"),
    ],
)
def test_the_program_and_the_meter_are_those_of_the_vendor(
    gpu: str, device_map: str, meter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "gpt2", "--gpu", gpu, "--code"]) == 0
    assert device_map in capsys.readouterr().out
    assert main(["check", "gpt2", "--gpu", gpu]) == 0
    assert meter in capsys.readouterr().out
