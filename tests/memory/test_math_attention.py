"""Cards before Ampere have no fused kernel for grouped queries: scaled_dot_product_attention takes the math path.

There half precision is computed in fp32, repeated keys and values included: found when published figures of a T4 stood
17 to 268 MB above the estimate.
"""

from __future__ import annotations

from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.estimate import estimate
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.workload import Workload

RAW: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 512, "intermediate_size": 1376,
    "num_hidden_layers": 3, "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 1000,
    "max_position_embeddings": 8192,
}  # fmt: skip


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_grouped_queries_on_a_t4_need_what_the_replay_needs(dtype: str) -> None:
    pytest.importorskip("transformers", reason="the measure extra is not installed")
    from gpufit.replay.oracle import peak_above_weights

    turing = (7, 5)
    model = parse_config(RAW)
    w = Workload(prompt_tokens=512, new_tokens=6, batch=2, dtype=dtype, compute_capability=turing)
    truth = peak_above_weights(RAW, prompt=512, new=6, batch=2, dtype=dtype, attention="sdpa", capability=turing)
    for phase in estimate(model, w).phases:
        cache = count_cache(model, w, after_prefill=phase.name == "prefill")
        assert cache + phase.activation_bytes == pytest.approx(truth[phase.name].above_bytes, rel=0.005), phase.name


def test_a_t4_needs_more_than_an_a100_for_the_same_prompt() -> None:
    model = parse_config(RAW)
    t4, a100 = (
        estimate(model, Workload(prompt_tokens=2048, dtype="fp16", compute_capability=capability)).activations
        for capability in ((7, 5), (8, 0))
    )
    assert t4.likely_bytes > 5 * a100.likely_bytes


FULL, SLIDING = "full_attention", "sliding_attention"
WINDOWED: dict[str, Any] = {
    "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "hidden_size": 128, "intermediate_size": 64,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 300, "sliding_window": 96,
    "max_position_embeddings": 4096,
}  # fmt: skip


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param((SLIDING, FULL, SLIDING, SLIDING), id="two behind"),
        pytest.param((SLIDING, SLIDING, FULL), id="none behind"),
        pytest.param((SLIDING, FULL, *[SLIDING] * 30), id="so many that they decide"),
    ],
)
@pytest.mark.parametrize(("dtype", "capability"), [("fp32", (8, 0)), ("fp16", (7, 5))])
@pytest.mark.parametrize("prompt", [64, 400])  # below the window nothing is masked, and all layers take the math path
def test_full_layers_among_sliding_ones_take_it_before_the_layers_behind_them_have_cached(
    kinds: tuple[str, ...], dtype: str, capability: tuple[int, int], prompt: int
) -> None:
    pytest.importorskip("transformers", reason="the measure extra is not installed")
    from gpufit.replay.oracle import peak_above_weights

    raw = {**WINDOWED, "num_hidden_layers": len(kinds), "layer_types": list(kinds)}
    model = parse_config(raw)
    w = Workload(prompt_tokens=prompt, batch=2, dtype=dtype, compute_capability=capability)
    truth = peak_above_weights(raw, prompt=prompt, batch=2, dtype=dtype, attention="sdpa", capability=capability)
    (phase,) = estimate(model, w).phases
    found = count_cache(model, w, after_prefill=True) + phase.activation_bytes
    assert found == pytest.approx(truth["prefill"].above_bytes, rel=0.002)


def test_gemma_3_27b_in_fp32_needs_two_layers_of_cache_less_than_all() -> None:
    """62 layers, every sixth full: the last full one is the sixtieth, and two slide behind it. Each will cache
    2,048 tokens of 16 heads of 128, keys and values in fp32: 2·2048·16·128·4 = 33,554,432 bytes.
    """
    shape = {"num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "sliding_window": 1024}
    two, none = (
        parse_config({**WINDOWED, **shape, "num_hidden_layers": layers, "layer_types": list(kinds)})
        for layers, kinds in ((62, ([SLIDING] * 5 + [FULL]) * 10 + [SLIDING] * 2), (60, ([SLIDING] * 5 + [FULL]) * 10))
    )
    work = Workload(prompt_tokens=2048, dtype="fp32")
    (beneath,), (whole,) = estimate(two, work).phases, estimate(none, work).phases
    assert whole.activation_bytes - beneath.activation_bytes == 2 * 33_554_432
    assert [(layers.kind, layers.followed_by) for layers in two.cache] == [("full", 2), ("sliding", 0)]
