"""Rows of other engines: each formula worked by hand, every spelling, and a reason for each refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufit.accuracy.engines import module_of
from gpufit.accuracy.measurements import parse_measurements
from gpufit.accuracy.prediction import Refusal
from gpufit.accuracy.validate import Comparison
from gpufit.api import validate

HEAD = (
    "architecture,metric,measured_bytes,engine,engine_version,quant_method,batch,prompt_tokens,new_tokens,"
    "max_model_len,kv_tokens,tensor_parallel,gpu,kv_dtype,notes\n"
)
LLAMA = "meta-llama/Llama-2-7b-hf"


def compare(tmp_path: Path, row: str) -> Comparison:
    path = tmp_path / "rows.csv"
    path.write_text(HEAD + row + "\n", encoding="utf-8")
    (comparison,) = validate(path, environ={}).comparisons
    return comparison


def likely(tmp_path: Path, row: str) -> int:
    comparison = compare(tmp_path, row)
    assert comparison.predicted is not None, comparison.reason
    return comparison.predicted.likely_bytes


def test_autoawq_prefill_worked_by_hand(tmp_path: Path) -> None:
    """Llama-2-7B, 2 048 + 2 048, batch 1. Cache 32 layers × 2 048 × 4 096 × 2 × 2 B = 1 073 741 824.

    Rotary factors 32 × 4 096 positions × 64 complex64 of 8 B = 67 108 864. Softmax: 32 heads × 2 048² × (2 + 4 + 4)
    = 1 342 177 280, mask 2 048² × 2 = 8 388 608, beside it 2 048 tokens × 8 × 4 096 × 2 B = 134 217 728.
    Published: 6.15 GiB on an RTX 4090.
    """
    above_weights = 1_073_741_824 + 67_108_864 + 1_342_177_280 + 8_388_608 + 134_217_728 + 8_519_680
    found = likely(tmp_path, f"{LLAMA},torch_max_allocated,1,AutoAWQ,0.1.6,awq-int4-g128,1,2048,2048,,,,RTX 4090,,")
    weights = 6_476_005_376 // 2 + 6_476_005_376 // 128 * 2 + 6_476_005_376 // 256 + 2 * 2 * 32_000 * 4_096 + 65 * 8_192
    assert 0 <= found - above_weights - weights < 64 << 20  # rests of segments: half a MiB for each MLP matrix
    assert found == pytest.approx(6.15 * 2**30, rel=0.01)


def test_autoawq_before_0_1_3_keeps_keys_and_values_beside_its_cache(tmp_path: Path) -> None:
    """Four times the hidden width, 2 048 tokens, 32 layers, 2 B: 2 147 483 648 ("save 2GB VRAM")."""
    row = f"{LLAMA},torch_max_allocated,1,AutoAWQ,{{}},awq-int4-g128,1,2048,2048,,,,RTX 3090,,"
    assert likely(tmp_path, row.format("0.1.2")) - likely(tmp_path, row.format("0.1.6")) == 2_147_483_648


def test_exllama_leaves_embeddings_on_the_host(tmp_path: Path) -> None:
    """Llama-7B: head 262 144 000; 4-bit matrices 3 238 002 688 and 126 484 480 for scales and zeros; cache 2 048
    positions = 1 073 741 824; scores 2 × 2 B × 32 × 1 920². Published: 5 194 MiB."""
    row = "huggyllama/llama-7b,torch_max_allocated,1,exllama,,gptq-int4-g128,1,1920,128,,,,RTX 4090,,"
    assert likely(tmp_path, row) == pytest.approx(5194 << 20, rel=0.01)


def test_gpt_fast_makes_its_mask_twice(tmp_path: Path) -> None:
    """A mask of 65 536² bytes is made twice, 4 GiB each; the caches of 8 GiB fill the hole, so one counts."""
    row = "meta-llama/Llama-3.1-8B,torch_max_reserved,1,torchao/gpt-fast,,none,1,,,,{},,A100,bf16,"
    short, long = likely(tmp_path, row.format(32_768)), likely(tmp_path, row.format(65_536))
    cache, mask, heads = 32_768 * 131_072, 3 << 30, 4 * 32_768 * 32 * 128 * 2
    assert long - short == cache + mask + heads


@pytest.mark.parametrize(
    ("row", "measured"),
    [
        (f"{LLAMA},weights_only,1,vLLM,,none,,,,4096,,1,H100-80GB,,", 13_476_831_232),
        (f"{LLAMA},kv_cache,1,vllm,,none,,,,4096,1600,1,H100-80GB,,", 1600 * 524_288),
        (f"{LLAMA},kv_cache,1,llama.cpp,,gguf-f16,1,,,4096,,1,T4,f16,", 4096 * 524_288),
        (f"{LLAMA},weights_only,1,HF,,none,,1,0,,,1,,,", 13_476_831_232),
    ],
)
def test_engines_answer_in_any_spelling(tmp_path: Path, row: str, measured: int) -> None:
    assert likely(tmp_path, row) == pytest.approx(measured, rel=0.002)


@pytest.mark.parametrize(
    "row",
    [
        f"{LLAMA},nvml_device_used,1,text-generation-inference,,none,,,,,,,,,",
        f"{LLAMA},nvml_process,1,vllm,,none,,,,,,,,,",
        f"{LLAMA},kv_cache,1,vllm,,none,,,,4096,,,,,",
        f"{LLAMA},weights_only,1,vllm,,gguf-q4_0,,,,,,,,,",
        f"{LLAMA},activation_peak,1,llama.cpp,,gguf-q4_0,,,,,,,,,",
        f"{LLAMA},weights_only,1,llama.cpp,,gguf-iq9,,,,,,,,,",
        f"{LLAMA},torch_max_reserved,1,torchao/gpt-fast,,torchao-int8wo,,,,,,,,,",
        f"{LLAMA},torch_max_allocated,1,exllama,,none,,1,1,,,,,,",
        f"{LLAMA},torch_max_allocated,1,AutoAWQ,,awq-int4-g128,,,,,,,,,",
        "gpt2,torch_max_allocated,1,AutoAWQ,,awq-int4-g128,,1,1,,,,,,",
        f"{LLAMA},torch_max_allocated,1,something else,,none,,1,1,,,,,,",
    ],
)
def test_each_refusal_has_a_reason(tmp_path: Path, row: str) -> None:
    comparison = compare(tmp_path, row)
    assert comparison.predicted is None
    assert len(comparison.reason) > 20


def test_an_unknown_engine_is_named() -> None:
    refused = module_of("sglang")
    assert isinstance(refused, Refusal)
    assert "sglang" in refused.reason


def test_new_columns_are_read() -> None:
    (row,) = parse_measurements(
        "architecture,metric,measured_bytes,max_model_len,max_num_batched_tokens\ngpt2,weights_only,5,1024,2048\n"
    )
    assert (row.max_model_len, row.max_num_batched_tokens) == (1024, 2048)
