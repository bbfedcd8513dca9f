"""What changed between versions of the libraries: one rule a line, read from the source of the releases on both sides.

A workload that names no version gets the current behaviour (transformers 5.23). A rule holds ``since`` a release
(inclusive) ``until`` another (exclusive), for the model types named, or for all of them.
"""

from __future__ import annotations

import re

from gpufit.records import record

Version = tuple[int, ...]
_NUMBER = re.compile(r"\d{1,4}(?:\.\d{1,4}){1,2}")


@record
class Rule:
    """One behaviour of transformers: from where to where, for whom, and which file shows it."""

    name: str
    until: Version
    source: str
    since: Version = (0,)
    models: frozenset[str] = frozenset()  # empty: every model type


AWQ_PARTIAL_SUMS = 8
_FLOATED = frozenset({"llama", "mixtral", "qwen2", "qwen2_moe", "phi", "phi3", "gemma", "gemma2", "cohere", "nemotron",
                      "olmo", "olmoe", "jamba"})  # fmt: skip
RULES: tuple[Rule, ...] = (
    Rule(name="all logits", until=(4, 45), source="models/*/modeling_*.py: num_logits_to_keep comes with 4.45"),
    Rule(name="fp32 logits", until=(4, 46), models=_FLOATED,
         source="models/llama/modeling_llama.py 4.45.2:1219, logits = logits.float(); gone in 4.46.3"),
    Rule(name="fp32 logits", until=(4, 47), models=frozenset({"starcoder2"}),
         source="models/starcoder2/modeling_starcoder2.py: there in 4.46.3, gone in 4.47.1"),
    Rule(name="fp32 logits", until=(4, 48), models=frozenset({"mistral", "granite"}),
         source="models/mistral/modeling_mistral.py: there in 4.47.1, gone in 4.48.3"),
    Rule(name="loss in the logits' format", until=(4, 48, 2),
         models=frozenset({"gpt_bigcode", "gpt2", "opt", "bloom", "falcon"}),
         source="models/gpt_bigcode/modeling_gpt_bigcode.py 4.48.1:1182-1186, CrossEntropyLoss of shifted logits; "
                "4.48.3 calls self.loss_function, which takes them in fp32"),
    Rule(name="loss in the logits' format", until=(4, 49), models=frozenset({"gpt_neox"}),
         source="models/gpt_neox/modeling_gpt_neox.py: so in 4.48.3, self.loss_function in 4.49.0"),
    Rule(name="shifted logits", until=(4, 49),
         source="loss/loss_utils.py 4.48.3:39, shift_logits = logits[..., :-1, :].contiguous(); 4.49.0:39 pads the "
                "labels instead"),
    Rule(name="repeated keys", until=(4, 54),
         source="integrations/sdpa_attention.py 4.53.0:41, repeat_kv in every case; 4.54.1:27, use_gqa_in_sdpa"),
    Rule(name="repeated keys, flash", until=(4, 48), models=frozenset({"mistral", "mixtral", "phi3", "qwen2",
         "starcoder2"}),
         source="models/mistral/modeling_mistral.py, MistralFlashAttention2: repeat_kv, there in 4.45.2; Llama and "
                "Gemma hand the kernel grouped keys; integrations/flash_attention.py of 4.48.3 does so for all these"),
    Rule(name="repeated keys, flash", until=(4, 49), models=frozenset({"qwen2_moe"}),
         source="models/qwen2_moe/modeling_qwen2_moe.py, Qwen2MoeFlashAttention2: repeat_kv, there in 4.48.3"),
    Rule(name="reentrant checkpoints", until=(5,),
         source="modeling_utils.py: gradient_checkpointing_kwargs = {'use_reentrant': True}, there in 4.57.6 (line "
                "3692); False in 5.0.0 (line 3099)"),
    Rule(name="checkpoints around layers", until=(4, 52),
         source="models/llama/modeling_llama.py 4.51.3:559, self._gradient_checkpointing_func(decoder_layer.__call__): "
                "FSDP's unit is inside the checkpoint; from 4.52 on modeling_layers.py, GradientCheckpointingLayer, "
                "has the checkpoint inside the unit"),
    Rule(name="caches beside checkpoints", until=(4, 53), models=frozenset({"gpt_bigcode"}),
         source="models/gpt_bigcode/modeling_gpt_bigcode.py 4.52.4:890-915, presents.append(outputs[1]) under "
                "checkpoints as well; 4.53.0:763-767 sets use_cache = False there, as other families always did"),
    Rule(name="two caches", until=(4, 42),
         source="generation/utils.py: the step's tuple of keys and values is held until the next one is whole; "
                "DynamicCache by default since 4.42"),
    Rule(name="kept outputs", until=(4, 42),
         source="generation/utils.py: 'del outputs' after each step comes with 4.42"),
    Rule(name="rotary tables", until=(4, 39), models=frozenset({"llama"}),
         source="models/llama/modeling_llama.py: cos and sin of every position kept per layer; there in 4.38.2"),
    Rule(name="rotary tables", until=(4, 42), models=frozenset({"mistral", "mixtral"}),
         source="models/mistral/modeling_mistral.py: there in 4.41.2, gone in 4.42.4"),
    Rule(name="rotary tables", until=(4, 45), models=frozenset({"qwen2", "qwen2_moe"}),
         source="models/qwen2/modeling_qwen2.py: there in 4.44.2, gone in 4.45.2"),
    Rule(name="mask table", since=(4, 38), until=(4, 39), models=frozenset({"llama"}),
         source="models/llama/modeling_llama.py 4.38.2: causal_mask, one byte for each pair of positions"),
    Rule(name="awq partial sums", until=(4, 38),
         source="AutoAWQ 0.1.8 awq_cuda/quantization/gemm_cuda_gen.cu: split_k_iters = 8 outputs, then their sum; "
                "0.2.0 (2024-02) unpacks the weight from 1,024 rows on"),
    Rule(name="own segments", until=(4, 50),
         source="modeling_utils.py: caching_allocator_warmup, which takes all weights as one block, comes with 4.50"),
    Rule(name="loading one by one", until=(5,),
         source="modeling_utils.py 4.48.1, _load_state_dict_into_meta_model: create_quantized_param before the next "
                "one; 5.0.0 has core_model_loading.py and its threads"),
    Rule(name="quantized biases", until=(4, 50),
         source="optimum gptq/quantizer.py up to 1.23: QuantLinear(..., True, ...) registers a bias for every layer"),
)  # fmt: skip

# The last transformers release before the next torch came out: what a report that names only its torch likely ran.
SEASONS: tuple[tuple[Version, str], ...] = (
    ((2, 0), "4.34.0"), ((2, 1), "4.37.2"), ((2, 2), "4.40.1"), ((2, 3), "4.42.4"), ((2, 4), "4.45.2"),
    ((2, 5), "4.48.2"), ((2, 6), "4.51.3"), ((2, 7), "4.55.0"), ((2, 8), "4.57.1"),
)  # fmt: skip


def parse_version(text: str) -> Version | None:
    """The first version number of a text.

    >>> parse_version("4.35.0.dev0"), parse_version("none")
    ((4, 35, 0), None)
    """
    found = _NUMBER.search(text)
    return tuple(int(part) for part in found[0].split(".")) if found else None


def holds(name: str, version: str | None, model_type: str) -> bool:
    """Whether the rule was in force in that version of transformers; never where no version is named.

    >>> holds("two caches", "4.41.2", "llama"), holds("two caches", None, "llama")
    (True, False)
    """
    number = parse_version(version) if version else None
    if number is None:
        return False
    return any(
        rule.name == name and rule.since <= number < rule.until and (not rule.models or model_type in rule.models)
        for rule in RULES
    )


def season_version(torch_version: str) -> str | None:
    """The transformers release that goes with a torch release.

    >>> season_version("2.1.2"), season_version("1.4.0")
    ('4.37.2', None)
    """
    number = parse_version(torch_version)
    if number is None:
        return None
    return next((release for torch, release in SEASONS if torch == number[:2]), None)
