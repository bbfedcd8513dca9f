"""Small real models on the CPU, and torch's own profiler as the independent witness of their memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpufit.replay.build import model_class_for

SMALL: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 112,
        "vocab_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    },
    "gpt2": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 64, "n_head": 4, "n_layer": 2,
        "vocab_size": 320, "n_positions": 128,
    },
    "t5": {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 64, "d_kv": 16, "d_ff": 128,
        "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "vocab_size": 320, "decoder_start_token_id": 0,
    },
    "bart": {
        "model_type": "bart", "architectures": ["BartForConditionalGeneration"], "d_model": 64, "encoder_layers": 2,
        "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128, "vocab_size": 320, "max_position_embeddings": 128,
    },
    "bert": {
        "model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 320, "max_position_embeddings": 128,
    },
}  # fmt: skip


def real_model(raw: dict[str, Any], attention: str) -> Any:
    """The model with random weights in fp32 on the CPU."""
    import torch
    import transformers

    settings = {key: value for key, value in raw.items() if key not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(raw["model_type"], **settings)
    model = model_class_for(raw, config)._from_config(config, dtype=torch.float32, attn_implementation=attention)
    model.tie_weights()
    torch.set_num_threads(1)  # such small operations only wait for further threads
    return model.eval()


def profiled_peak(run: Callable[[], object]) -> int:
    """The highest sum of allocations less frees that torch.profiler saw."""
    import gc

    from torch.profiler import ProfilerActivity, profile

    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as witness:
        run()
    events = [event for event in witness.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak
