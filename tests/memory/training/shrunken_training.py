"""Shrunken configurations of every family with a training form, and what adapters go on.

Sizes are primes or odd where a family allows it, so that two terms which happen to coincide at published sizes cannot
hide each other.
"""

from __future__ import annotations

from typing import Any

EAGER_ONLY = {"bloom", "gemma2", "deberta", "deberta-own", "deberta-mlm", "gptj", "codegen", "gpt_neo"}
"""Families that transformers gives no sdpa attention (Gemma 2's default is eager: its soft cap knows no kernel)."""

_ROTARY = {
    "hidden_size": 224, "intermediate_size": 608, "num_hidden_layers": 3, "num_attention_heads": 7,
    "num_key_value_heads": 7, "vocab_size": 499, "max_position_embeddings": 256, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_GROUPED = _ROTARY | {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 32}
_ONE_KEY = _GROUPED | {"num_key_value_heads": 1}
_EXPERTS = {"num_experts": 12, "num_local_experts": 12, "num_experts_per_tok": 3}
_GPT = {"n_embd": 224, "n_layer": 3, "n_head": 7, "n_positions": 256, "vocab_size": 499, "bos_token_id": 1,
        "eos_token_id": 2}  # fmt: skip
_T5 = {
    "d_model": 224, "d_kv": 32, "d_ff": 608, "num_layers": 3, "num_heads": 7, "vocab_size": 499, "pad_token_id": 0,
    "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
_BART = {
    "d_model": 224, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 7, "vocab_size": 499,
    "decoder_attention_heads": 7, "encoder_ffn_dim": 896, "decoder_ffn_dim": 896, "max_position_embeddings": 256,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": 2,
}  # fmt: skip
_DEBERTA = _ROTARY | {
    "position_buckets": 64, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm",
    "position_biased_input": False, "max_relative_positions": -1, "type_vocab_size": 0,
}  # fmt: skip
_DISTIL = {"dim": 224, "hidden_dim": 896, "n_layers": 3, "n_heads": 7, "vocab_size": 499,
           "max_position_embeddings": 256}  # fmt: skip
_FALCON = _ROTARY | {
    "parallel_attn": True, "bias": False, "alibi": False, "new_decoder_architecture": False, "multi_query": True,
}  # fmt: skip
_FALCON_NEW = _FALCON | {
    "new_decoder_architecture": True, "hidden_size": 256, "num_attention_heads": 8, "num_kv_heads": 2,
}  # fmt: skip


def _config(model_type: str, model_class: str, base: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model_type": model_type, "architectures": [model_class], **base, **more}


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _config("llama", "LlamaForCausalLM", _ROTARY),
    "llama-grouped": _config("llama", "LlamaForCausalLM", _GROUPED),
    "qwen2": _config("qwen2", "Qwen2ForCausalLM", _GROUPED),
    "mistral-window": _config("mistral", "MistralForCausalLM", _GROUPED, sliding_window=100),
    "smollm3": _config("smollm3", "SmolLM3ForCausalLM", _GROUPED, num_hidden_layers=5),
    "granite": _config("granite", "GraniteForCausalLM", _GROUPED),
    "qwen3": _config("qwen3", "Qwen3ForCausalLM", _GROUPED),
    "gemma": _config("gemma", "GemmaForCausalLM", _GROUPED),
    "gemma-one-key": _config("gemma", "GemmaForCausalLM", _ONE_KEY),
    "gemma2": _config("gemma2", "Gemma2ForCausalLM", _GROUPED, num_hidden_layers=4, sliding_window=100),
    "gemma3": _config("gemma3_text", "Gemma3ForCausalLM", _GROUPED, num_hidden_layers=6, sliding_window=100),
    "starcoder2": _config("starcoder2", "Starcoder2ForCausalLM", _GROUPED),
    "arcee": _config("arcee", "ArceeForCausalLM", _GROUPED),
    "phi3": _config("phi3", "Phi3ForCausalLM", _GROUPED),
    "olmo": _config("olmo", "OlmoForCausalLM", _ROTARY),
    "olmo2": _config("olmo2", "Olmo2ForCausalLM", _ROTARY),
    "nemotron": _config("nemotron", "NemotronForCausalLM", _GROUPED),
    "jais2": _config("jais2", "Jais2ForCausalLM", _ROTARY),
    "cohere": _config("cohere", "CohereForCausalLM", _GROUPED),
    "cohere-normed": _config("cohere", "CohereForCausalLM", _GROUPED, use_qk_norm=True),
    "cohere2": _config("cohere2", "Cohere2ForCausalLM", _GROUPED, num_hidden_layers=4, sliding_window=100),
    "glm": _config("glm", "GlmForCausalLM", _GROUPED),
    "glm4": _config("glm4", "Glm4ForCausalLM", _GROUPED),
    "mixtral": _config("mixtral", "MixtralForCausalLM", _GROUPED, num_local_experts=5),
    "qwen2-moe": _config("qwen2_moe", "Qwen2MoeForCausalLM", _GROUPED, num_experts=12, moe_intermediate_size=96,
                         shared_expert_intermediate_size=160),
    "qwen3-moe": _config("qwen3_moe", "Qwen3MoeForCausalLM", _GROUPED, num_experts=12, moe_intermediate_size=96),
    "olmoe": _config("olmoe", "OlmoeForCausalLM", _ROTARY | _EXPERTS, intermediate_size=96),
    "granitemoe": _config("granitemoe", "GraniteMoeForCausalLM", _ROTARY | _EXPERTS, intermediate_size=96),
    "gpt2": _config("gpt2", "GPT2LMHeadModel", _GPT),
    "gpt_bigcode": _config("gpt_bigcode", "GPTBigCodeForCausalLM", _GPT),
    "gpt_bigcode-heads": _config("gpt_bigcode", "GPTBigCodeForCausalLM", _GPT, multi_query=False),
    "gpt_neo": _config("gpt_neo", "GPTNeoForCausalLM", {}, hidden_size=224, num_layers=4, num_heads=7, vocab_size=499,
                       max_position_embeddings=256, attention_types=[[["global", "local"], 2]], bos_token_id=1,
                       eos_token_id=2),
    "gptj": _config("gptj", "GPTJForCausalLM", _GPT, rotary_dim=16),
    "codegen": _config("codegen", "CodeGenForCausalLM", _GPT, n_embd=256, n_head=8, rotary_dim=16),
    "opt": _config("opt", "OPTForCausalLM", _ROTARY, ffn_dim=896, word_embed_proj_dim=224),
    "bloom": _config("bloom", "BloomForCausalLM", {}, hidden_size=224, n_layer=3, n_head=7, vocab_size=499),
    "gpt_neox": _config("gpt_neox", "GPTNeoXForCausalLM", _ROTARY),
    "phi": _config("phi", "PhiForCausalLM", _ROTARY),
    "stablelm": _config("stablelm", "StableLmForCausalLM", _ROTARY),
    "stablelm-parallel": _config("stablelm", "StableLmForCausalLM", _ROTARY, use_parallel_residual=True,
                                 qk_layernorm=True),
    "falcon": _config("falcon", "FalconForCausalLM", _FALCON),
    "falcon-separate": _config("falcon", "FalconForCausalLM", _FALCON, multi_query=False),
    "falcon-alibi": _config("falcon", "FalconForCausalLM", _FALCON, multi_query=False, parallel_attn=False, bias=True,
                            alibi=True),
    "falcon-new": _config("falcon", "FalconForCausalLM", _FALCON_NEW),
    "falcon-one-norm": _config("falcon", "FalconForCausalLM", _FALCON_NEW, num_ln_in_parallel_attn=1),
    "bart": _config("bart", "BartForConditionalGeneration", _BART),
    "mbart": _config("mbart", "MBartForConditionalGeneration", _BART),
    "pegasus": _config("pegasus", "PegasusForConditionalGeneration", _BART),
    "marian": _config("marian", "MarianMTModel", _BART),
    "t5": _config("t5", "T5ForConditionalGeneration", _T5),
    "flan-t5": _config("t5", "T5ForConditionalGeneration", _T5, feed_forward_proj="gated-gelu"),
    "bert": _config("bert", "BertForSequenceClassification", _ROTARY),
    "bert-mlm": _config("bert", "BertForMaskedLM", _ROTARY, vocab_size=4999),
    "roberta": _config("roberta", "RobertaForSequenceClassification", _ROTARY, max_position_embeddings=258),
    "distilbert": _config("distilbert", "DistilBertForSequenceClassification", _DISTIL),
    "distilbert-mlm": _config("distilbert", "DistilBertForMaskedLM", _DISTIL),
    "electra": _config("electra", "ElectraForSequenceClassification", _ROTARY, embedding_size=96),
    "deberta": _config("deberta-v2", "DebertaV2ForSequenceClassification", _DEBERTA, share_att_key=True),
    "deberta-own": _config("deberta-v2", "DebertaV2ForSequenceClassification", _DEBERTA, type_vocab_size=2),
    "deberta-mlm": _config("deberta-v2", "DebertaV2ForMaskedLM", _DEBERTA, share_att_key=True,
                           position_biased_input=True),
}  # fmt: skip

_QUERY_VALUE = ("q_proj", "v_proj")
_CHOSEN = {
    # where peft's own choice is every linear layer, or (Mixtral) fails with this release of transformers
    **dict.fromkeys(("olmo", "olmo2", "mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "granite", "granitemoe", "smollm3",
                     "arcee", "nemotron", "jais2", "cohere", "cohere2", "glm", "glm4", "starcoder2",
                     "mbart", "pegasus", "marian"), _QUERY_VALUE),
    "phi3": ("qkv_proj",),
    "distilbert": ("q_lin", "v_lin"),
}  # fmt: skip


def targets(name: str) -> tuple[str, ...] | None:
    """Where adapters go in that family; None: where peft puts them."""
    return _CHOSEN.get(FAMILIES[name]["model_type"])
