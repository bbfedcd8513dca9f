"""The training programs against the replay of transformers' own code, on shrunken models of every family.

Sizes are primes or odd where a family allows it, so that two terms which happen to coincide at published sizes cannot
hide each other.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest
from replayed_step import training_differences

pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")
pytest.importorskip("peft", reason="adapters come from peft")
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]

TOKENS, BATCH = 131, 2
WORST_PERCENT = 1.0
EAGER_ONLY = {"bloom"}
# where peft's own choice is every linear layer, or (Mixtral) fails with this release of transformers
TARGETS = dict.fromkeys(("olmo2", "mixtral", "qwen2-moe", "qwen3-moe"), ("q_proj", "v_proj")) | {"phi3": ("qkv_proj",)}
_ROTARY = {
    "hidden_size": 224, "intermediate_size": 608, "num_hidden_layers": 2, "num_attention_heads": 7,
    "num_key_value_heads": 7, "vocab_size": 499, "max_position_embeddings": 256, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_GROUPED = _ROTARY | {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 32}

_T5 = {
    "d_model": 224, "d_kv": 32, "d_ff": 608, "num_layers": 2, "num_heads": 7, "vocab_size": 499, "pad_token_id": 0,
    "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
_DEBERTA = _ROTARY | {
    "position_buckets": 64, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm",
    "position_biased_input": False, "max_relative_positions": -1, "type_vocab_size": 0,
}  # fmt: skip


def _config(model_type: str, model_class: str, base: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model_type": model_type, "architectures": [model_class], **base, **more}


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _config("llama", "LlamaForCausalLM", _ROTARY),
    "llama-grouped": _config("llama", "LlamaForCausalLM", _GROUPED),
    "qwen2": _config("qwen2", "Qwen2ForCausalLM", _GROUPED),
    "mistral-window": _config("mistral", "MistralForCausalLM", _GROUPED, sliding_window=100),
    "qwen3": _config("qwen3", "Qwen3ForCausalLM", _GROUPED),
    "gemma": _config("gemma", "GemmaForCausalLM", _GROUPED),
    "phi3": _config("phi3", "Phi3ForCausalLM", _GROUPED),
    "olmo2": _config("olmo2", "Olmo2ForCausalLM", _ROTARY),
    "mixtral": _config("mixtral", "MixtralForCausalLM", _GROUPED, num_local_experts=5),
    "qwen2-moe": _config("qwen2_moe", "Qwen2MoeForCausalLM", _GROUPED, num_experts=12, moe_intermediate_size=96,
                         shared_expert_intermediate_size=160),
    "qwen3-moe": _config("qwen3_moe", "Qwen3MoeForCausalLM", _GROUPED, num_experts=12, moe_intermediate_size=96),
    "gpt2": _config("gpt2", "GPT2LMHeadModel", {}, n_embd=224, n_layer=2, n_head=7, n_positions=256, vocab_size=499,
                    bos_token_id=1, eos_token_id=2),
    "opt": _config("opt", "OPTForCausalLM", _ROTARY, ffn_dim=896, word_embed_proj_dim=224),
    "bloom": _config("bloom", "BloomForCausalLM", {}, hidden_size=224, n_layer=2, n_head=7, vocab_size=499),
    "gpt_neox": _config("gpt_neox", "GPTNeoXForCausalLM", _ROTARY),
    "phi": _config("phi", "PhiForCausalLM", _ROTARY),
    "bart": _config("bart", "BartForConditionalGeneration", {}, d_model=224, encoder_layers=2, decoder_layers=2,
                    encoder_attention_heads=7, decoder_attention_heads=7, encoder_ffn_dim=896, decoder_ffn_dim=896,
                    vocab_size=499, max_position_embeddings=256, pad_token_id=1, bos_token_id=0, eos_token_id=2,
                    decoder_start_token_id=2, forced_eos_token_id=2),
    "t5": _config("t5", "T5ForConditionalGeneration", {}, **_T5),
    "flan-t5": _config("t5", "T5ForConditionalGeneration", {}, **_T5, feed_forward_proj="gated-gelu"),
    "bert": _config("bert", "BertForSequenceClassification", _ROTARY),
    "bert-mlm": _config("bert", "BertForMaskedLM", _ROTARY, vocab_size=4999),
    "deberta": _config("deberta-v2", "DebertaV2ForSequenceClassification", _DEBERTA, share_att_key=True),
    "deberta-mlm": _config("deberta-v2", "DebertaV2ForMaskedLM", _DEBERTA, position_biased_input=True),
    "roberta": _config("roberta", "RobertaForSequenceClassification", _ROTARY, max_position_embeddings=258),
}  # fmt: skip


Case = tuple[Literal["fp32", "bf16", "fp16"], Literal["eager", "sdpa"], Literal["full", "lora"], bool]
CASES: tuple[tuple[Case, Case], ...] = (  # two sides of each question in either pair; families take the pairs in turn
    (("bf16", "sdpa", "full", False), ("fp16", "eager", "lora", True)),
    (("bf16", "eager", "full", True), ("fp32", "sdpa", "lora", False)),
)


@pytest.mark.parametrize(("name", "turn"), [(name, turn % 2) for turn, name in enumerate(FAMILIES)])
def test_every_phase_is_what_the_replay_saw(name: str, turn: int) -> None:
    found = {
        (dtype, attention, method, checkpointing, what): round(percent, 2)
        for dtype, attention, method, checkpointing in CASES[turn]
        for what, percent in training_differences(
            FAMILIES[name],
            tokens=TOKENS,
            batch=BATCH,
            dtype=dtype,
            method=method,
            checkpointing=checkpointing,
            attention="eager" if name in EAGER_ONLY else attention,
            targets=TARGETS.get(name),
        ).items()
    }
    assert {case: percent for case, percent in found.items() if abs(percent) > WORST_PERCENT} == {}


@pytest.mark.parametrize(("name", "method"), [("llama-grouped", "lora"), ("gpt2", "full")])
def test_checkpoints_of_older_releases_with_reentry(name: str, method: Any) -> None:
    found = training_differences(
        FAMILIES[name], tokens=TOKENS, batch=BATCH, dtype="bf16", method=method, checkpointing=True, reentrant=True,
        attention="sdpa",
    )  # fmt: skip
    assert {what: percent for what, percent in found.items() if abs(percent) > WORST_PERCENT} == {}
