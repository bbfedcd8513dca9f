"""estimate() as a whole against the replay of transformers' own code: the cache and the activations put together.

The parts are held one by one elsewhere; here the run's peak above the weights is one number on either side.
"""

from __future__ import annotations

from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.estimate import estimate
from gpufit.memory.workload import Workload

pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")

BATCH = 2
_ROTARY = {
    "hidden_size": 448, "intermediate_size": 1184, "num_hidden_layers": 3, "num_attention_heads": 8,
    "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 997, "max_position_embeddings": 2048, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **_ROTARY},
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 448, "n_layer": 3, "n_head": 7,
             "n_positions": 2048, "vocab_size": 997},
    "mixtral": {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], **_ROTARY, "intermediate_size": 160,
                "num_local_experts": 8, "num_experts_per_tok": 3, "sliding_window": None},
    "bert": {"model_type": "bert", "architectures": ["BertModel"], **_ROTARY, "num_attention_heads": 7},
    "t5": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 448, "d_kv": 64,
           "d_ff": 1184, "num_layers": 3, "num_heads": 7, "vocab_size": 997, "decoder_start_token_id": 0},
    "bart": {"model_type": "bart", "architectures": ["BartForConditionalGeneration"], "d_model": 448,
             "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 7, "decoder_attention_heads": 7,
             "encoder_ffn_dim": 1792, "decoder_ffn_dim": 1792, "vocab_size": 997, "max_position_embeddings": 2048},
}  # fmt: skip
MODELS["bert"].pop("head_dim")


def above_weights(config: dict[str, Any], workload: Workload) -> int:
    """What the estimate says is allocated beside the weights and the matrix workspace, which the replay leaves out."""
    found = estimate(parse_config(config), workload)
    assert found.allocated.likely_bytes > found.weights.total_bytes
    return found.kv_cache_bytes + found.activations.likely_bytes


@pytest.mark.real
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", MODELS)
def test_the_peak_of_a_run_is_within_one_percent_of_the_replay(name: str, attention: Any) -> None:
    """A long prompt and few new tokens, where the encoder or the prefill decides."""
    from gpufit.replay.oracle import peak_above_weights

    config = MODELS[name]
    new = 0 if name == "bert" else 6
    truth = peak_above_weights(config, prompt=331, new=new, batch=BATCH, dtype="bf16", attention=attention)
    workload = Workload(prompt_tokens=331, new_tokens=new, batch=BATCH, dtype="bf16", attention=attention)
    widest = max(peak.above_bytes for peak in truth.values())
    assert above_weights(config, workload) == pytest.approx(widest, rel=0.01)


@pytest.mark.real
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_a_long_answer_is_within_one_percent_too(name: str) -> None:
    """Many new tokens over a short prompt: the last decode step over its whole cache decides, the last token aside."""
    from gpufit.replay.oracle import peak_above_weights

    config = MODELS[name]
    truth = peak_above_weights(config, prompt=17, new=900, batch=BATCH, dtype="bf16", attention="sdpa")
    workload = Workload(prompt_tokens=17, new_tokens=900, batch=BATCH, dtype="bf16", attention="sdpa")
    found = estimate(parse_config(config), workload)
    assert found.phase.name == "decode"
    widest = max(peak.above_bytes for peak in truth.values())
    assert above_weights(config, workload) == pytest.approx(widest, rel=0.01)


def test_no_cache_is_added_to_an_encoder_that_runs_before_it() -> None:
    config = MODELS["bart"]
    workload = Workload(prompt_tokens=331, new_tokens=1, batch=BATCH, dtype="bf16", attention="eager")
    found = estimate(parse_config(config), workload)
    encode = next(phase for phase in found.phases if phase.name == "encode")
    assert (found.phase.name, encode.cache_tokens) == ("encode", 0)
    assert above_weights(config, workload) == encode.activation_bytes
