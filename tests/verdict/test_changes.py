"""What is offered on a no: changes that fit, least loss first, together where one alone is not enough."""

from __future__ import annotations

from typing import Any

import pytest

import gpufit
from gpufit.errors import UsageError


def changes(model: str, **asked: Any) -> list[str]:
    found = gpufit.check(model, environ={}, **asked)
    assert found.verdict == "no"
    for option in found.alternatives:
        assert option.verdict in ("fits", "tight")
        assert option.headroom_bytes >= 0
    return [option.change for option in found.alternatives]


def test_a_model_far_too_large_is_offered_a_card_for_each_precision() -> None:
    """Llama-2-70B on 6 GB: 128.5 GiB of fp16, 64.8 of int8 and 36.8 of nf4 each have a smallest card."""
    found = gpufit.check("llama-2-70b", vram=6, environ={})
    whole, int8, nf4 = found.alternatives
    assert whole.change == f"a larger card: {whole.device.name}"
    assert int8.change == f"bnb-int8 weights on {int8.device.name}"
    assert nf4.change == f"bnb-nf4 weights on {nf4.device.name}"
    sizes = [option.device.total_bytes or 0 for option in found.alternatives]
    assert sizes == sorted(sizes, reverse=True)
    assert 66 << 30 < sizes[1] <= 80 << 30
    assert 38 << 30 < sizes[2] <= 48 << 30


def test_what_no_single_card_holds_is_offered_several() -> None:
    """DeepSeek-V3 in its FP8: 627 GiB, more than any card of the table."""
    found = gpufit.check("deepseek-v3", gpu="h100", environ={})
    option = found.alternatives[0]
    assert option.device.count > 1
    assert option.change == f"{option.device.count} × {option.device.name}"
    whole = found.estimate.weights.total_bytes
    assert option.process.likely_bytes * option.device.count > whole > option.budget_bytes


def test_more_of_the_same_card_are_tried_before_larger_ones_in_number() -> None:
    """Falcon-180B's 334 GiB in bf16 fit no card; 8 of the A100s at hand hold them."""
    assert "8 × A100-SXM4-80GB" in changes("falcon-180b", gpu="a100-80gb")


def test_smaller_weights_and_less_work_go_together() -> None:
    found = changes("llama-2-7b", vram=6, batch=8)
    assert found[0].startswith("bnb-nf4 weights, batch 1 and context ")
    assert found[-1].startswith("a larger card: ")


T4S = "Tesla T4:15360MiB:free=14900MiB, Tesla T4:15360MiB:free=14000MiB, Tesla T4:15360MiB:free=1GiB"


@pytest.mark.parametrize("runtime", ["transformers", "vllm"])
def test_cards_beside_the_chosen_one_are_the_first_change(runtime: str) -> None:
    """Llama-2-13B's 24.2 GiB in fp16 lie on two T4s of which the fuller has 14,000 MiB free; the third is full."""
    found = gpufit.check("llama-2-13b", context=512, runtime=runtime, environ={"GPUFIT_FAKE_GPU": T4S})
    first = found.alternatives[0]
    assert first.change == "2 of the Tesla T4 here"
    assert (first.device.count, first.device.free_bytes) == (2, 14000 << 20)
    assert first.budget_bytes == 14000 << 20
    alone = gpufit.check("llama-2-13b", context=512, runtime=runtime, environ={"GPUFIT_FAKE_GPU": T4S.split(",")[0]})
    assert not any("here" in option.change for option in alone.alternatives)


def test_cards_of_another_kind_are_no_part_of_a_change() -> None:
    cards = "Tesla T4:15360MiB, A10, A10:free=10GiB"
    found = gpufit.check("llama-2-13b", context=512, environ={"GPUFIT_FAKE_GPU": cards})
    assert found.device.name == "A10"
    assert [(other.name, other.index) for other in found.device.others] == [("Tesla T4", 0), ("A10", 2)]
    assert [option.change for option in found.alternatives if "here" in option.change] == []


@pytest.mark.parametrize(
    ("model", "asked", "offered"),
    [
        ("llama-2-7b", {"gpu": "t4"}, True),
        ("gemma-2-9b", {"vram": 18}, False),  # every second layer has a window
        ("llama-2-7b", {"gpu": "t4", "runtime": "vllm"}, False),  # its kernels begin at compute capability 8.0
        ("llama-2-7b", {"gpu": "a4000", "vram": "15GiB", "runtime": "vllm"}, True),
    ],
)
def test_a_cache_in_eight_bits_is_offered_where_it_can_be_had(model: str, asked: dict[str, Any], offered: bool) -> None:
    assert any("8-bit cache" in change for change in changes(model, context=4096, **asked)) == offered


@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        ("llama-2-7b", {"kv_dtype": "fp32"}, "the model's own fp16"),
        ("gemma-2-9b", {"kv_dtype": "int8"}, "layer attends to all tokens"),
        ("t5-small", {"kv_dtype": "fp8"}, "layer attends to all tokens"),
        ("bert-base-uncased", {"kv_dtype": "fp8"}, "keeps no cache"),
        ("llama-2-7b", {"kv_dtype": "fp8", "runtime": "vllm"}, "needs compute capability 8.0"),
    ],
)
def test_a_cache_that_the_runtime_cannot_keep_is_refused(model: str, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        gpufit.check(model, gpu="t4", environ={}, **asked)


def test_heads_that_many_cards_cannot_share_are_no_failure_of_one() -> None:
    """Qwen2-7B has 28 heads: vLLM takes 2 or 4 cards for it, never 8."""
    found = gpufit.check("qwen2-7b", gpu="t4", runtime="vllm", context=32_768, batch=200, environ={})
    assert found.verdict == "no"
    assert all(28 % option.device.count == 0 for option in found.alternatives)


def test_a_better_kernel_comes_before_everything_that_loses_something() -> None:
    """Eager scores of 16,384 tokens: 32 heads × 16,128² × 10 bytes are 77 GiB; the fused kernel keeps none."""
    found = gpufit.check("llama-3.1-8b", gpu="a10", context=16_384, attention="eager", environ={})
    assert found.verdict == "no"
    assert found.alternatives[0].change == "sdpa attention"


@pytest.mark.parametrize("runtime", ["vllm", "llama.cpp"])
def test_a_server_is_offered_what_it_can_do(runtime: str) -> None:
    found = gpufit.check("llama-2-70b", gpu="rtx-4090", runtime=runtime, environ={})
    assert found.alternatives
    if runtime == "llama.cpp":
        assert all(option.device.count == 1 for option in found.alternatives)
