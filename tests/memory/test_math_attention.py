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
