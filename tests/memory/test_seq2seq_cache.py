"""An encoder-decoder's cache: what transformers' EncoderDecoderCache holds after a real forward is what we count."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.workload import Workload

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "facts")]
pytest.importorskip("transformers", reason="the measure extra is not installed")
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]

BART = {
    "d_model": 48, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 6,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 80, "vocab_size": 101, "max_position_embeddings": 64,
}  # fmt: skip
T5 = {
    "d_model": 48,
    "d_kv": 10,
    "d_ff": 64,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 6,
    "vocab_size": 101,
}
WHISPER = {
    "d_model": 48, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 6,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 80, "vocab_size": 101, "max_source_positions": 30,
    "max_target_positions": 40, "num_mel_bins": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip
CASES = {
    "bart": ("BartForConditionalGeneration", BART), "mbart": ("MBartForConditionalGeneration", BART),
    "m2m_100": ("M2M100ForConditionalGeneration", BART), "pegasus": ("PegasusForConditionalGeneration", BART),
    "t5": ("T5ForConditionalGeneration", T5), "whisper": ("WhisperForConditionalGeneration", WHISPER),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model_type", CASES)
def test_self_and_cross_attention_are_cached_as_counted(model_type: str, dtype: str) -> None:
    import oracle
    import torch
    import transformers
    from real_cache import cache_bytes

    model_class, settings = CASES[model_type]
    raw: dict[str, Any] = {"model_type": model_type, "architectures": [model_class], **settings}
    built = oracle.build(raw)
    model = getattr(transformers, model_class)(built.model.config).to(getattr(torch, dtype)).eval()
    batch, source, target = 2, 14, 9
    decoder = torch.ones(batch, target, dtype=torch.long)
    if model_type == "whisper":
        source = 30
        inputs = {"input_features": torch.zeros(batch, 8, 60, dtype=getattr(torch, dtype))}
    else:
        inputs = {"input_ids": torch.full((batch, source), 3)}
    with torch.no_grad():
        out = model(**inputs, decoder_input_ids=decoder, use_cache=True)
    short = {"float32": "fp32", "bfloat16": "bf16"}[dtype]
    workload = Workload(prompt_tokens=source, new_tokens=target, batch=batch, dtype=short)
    assert count_cache(parse_config(raw), workload) == cache_bytes(out.past_key_values) > 0
