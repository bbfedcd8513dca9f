"""The closed forms against real forwards of small models on the CPU, every live tensor followed.

The forms describe CUDA, whose fused kernels differ from the CPU's, so 15 % is allowed; most are far closer.
"""

from __future__ import annotations

from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.activations import estimate_phases
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.workload import AttentionKernel, Workload

pytest.importorskip("transformers", reason="the forwards run transformers' own code: pip install gpufit[measure]")

PROMPT, BATCH = 160, 2
_SMALL = {
    "hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 500, "max_position_embeddings": 512, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **_SMALL},
    "qwen3": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], **_SMALL, "num_key_value_heads": 2,
              "head_dim": 64},
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 256, "n_layer": 2, "n_head": 4,
             "n_positions": 512, "vocab_size": 500},
    "opt": {"model_type": "opt", "architectures": ["OPTForCausalLM"], **_SMALL, "ffn_dim": 1024,
            "word_embed_proj_dim": 256},
    "bert": {"model_type": "bert", "architectures": ["BertForMaskedLM"], **_SMALL, "intermediate_size": 1024},
    "bart": {"model_type": "bart", "architectures": ["BartForConditionalGeneration"], "d_model": 256,
             "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
             "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024, "vocab_size": 500, "max_position_embeddings": 512},
    "t5": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 256, "d_kv": 64,
           "d_ff": 1024, "num_layers": 2, "num_heads": 4, "vocab_size": 500, "decoder_start_token_id": 0},
}  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", MODELS)
def test_a_real_forward_peaks_within_fifteen_percent(name: str, attention: AttentionKernel) -> None:
    import torch

    from gpufit.replay.build import build_model
    from gpufit.replay.recording import find_peaks
    from gpufit.replay.run import record_inference

    config = MODELS[name]
    model = build_model(config, dtype="fp32", attention=attention).to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        torch.nn.init.constant_(tensor.detach(), 0)
    model.tie_weights()  # type: ignore[operator]
    recording = record_inference(model, prompt=PROMPT, batch=BATCH, capability=None)
    measured = {peak.phase: peak.above_bytes for peak in find_peaks(recording, None)}

    architecture = parse_config(config)
    workload = Workload(prompt_tokens=PROMPT, batch=BATCH, dtype="fp32", attention=attention)
    first = estimate_phases(architecture, workload)[0]
    cache = 0 if first.name == "encode" else count_cache(architecture, workload, after_prefill=True)
    assert first.activation_bytes + cache == pytest.approx(measured[first.name], rel=0.15)
