"""model_type -> reader. Each reader is imported only when its family is asked for.

A reader is a function ``read(config: Config) -> Architecture`` in the module named here. It mirrors the modelling
code of the transformers version named in its docstring, tensor by tensor, and touches nothing but the config.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from gpufit.errors import UnknownFamily
from gpufit.facts.architecture import Architecture
from gpufit.facts.config import Config

READERS: dict[str, str] = {
    # model_type: module in this package, optionally ":function" (default "read")
    # dense decoders
    "llama": "llama",
    "mistral": "llama_kin:read_mistral",
    "ministral": "llama_kin:read_ministral",
    "ministral3": "llama_kin:read_ministral3",
    "qwen2": "llama_kin:read_qwen2",
    "granite": "llama_kin:read_granite",
    "smollm3": "llama_kin:read_smollm3",
    "internlm3": "llama_kin:read_internlm3",
    "seed_oss": "llama_kin:read_seed_oss",
    "ernie4_5": "llama_kin:read_ernie",
    "helium": "helium",
    "diffllama": "helium:read_diffllama",
    "qwen3": "qwen3",
    "hunyuan_v1_dense": "qwen3:read_hunyuan",
    "exaone4": "qwen3:read_exaone4",
    "gemma": "gemma",
    "gemma2": "gemma:read_gemma2",
    "gemma3_text": "gemma:read_gemma3",
    "olmo": "olmo",
    "olmo2": "olmo:read_olmo2",
    "olmo3": "olmo:read_olmo3",
    "cohere": "cohere",
    "cohere2": "cohere:read_cohere2",
    "glm": "glm",
    "glm4": "glm:read_glm4",
    "phi": "phi",
    "phi3": "phi3",
    "starcoder2": "plain_mlp_kin:read_starcoder2",
    "nemotron": "plain_mlp_kin:read_nemotron",
    "arcee": "plain_mlp_kin:read_arcee",
    "stablelm": "stablelm",
    "gpt2": "gpt2",
    "gpt_bigcode": "gpt_bigcode",
    "gptj": "gptj",
    "codegen": "gptj:read_codegen",
    "gpt_neo": "gpt_neo",
    "gpt_neox": "gpt_neox",
    "opt": "opt",
    "bloom": "alibi:read_bloom",
    "mpt": "alibi:read_mpt",
    "falcon": "falcon",
    "cwm": "llama_kin:read_cwm",
    "jais2": "plain_mlp_kin:read_jais2",
    "apertus": "apertus",
    "persimmon": "persimmon",
    "xglm": "fairseq:read_xglm",
    "biogpt": "fairseq:read_biogpt",
    "internlm2": "remote:read_internlm2",
    "minicpm": "remote:read_minicpm",
    "orion": "remote:read_orion",
    "baichuan": "remote:read_baichuan",
    "chatglm": "chatglm",
    "qwen": "remote_gpt:read_qwen",
    "exaone": "remote_gpt:read_exaone",
    "nemotron-nas": "decilm",
    "phi3_v": "phi3_v",
    # mixtures of experts, latent attention, state-space and hybrid decoders
    "mixtral": "moe:read_mixtral",
    "phimoe": "moe:read_phimoe",
    "qwen3_moe": "moe:read_qwen3_moe",
    "olmoe": "moe:read_olmoe",
    "granitemoe": "moe:read_granitemoe",
    "minimax_m2": "moe:read_minimax_m2",
    "qwen2_moe": "moe_shared:read_qwen2_moe",
    "glm4_moe": "moe_shared:read_glm4_moe",
    "dots1": "moe_shared:read_dots1",
    "ernie4_5_moe": "moe_shared:read_ernie4_5_moe",
    "hunyuan_v1_moe": "moe_shared:read_hunyuan_v1_moe",
    "gpt_oss": "gpt_oss",
    "deepseek_v2": "mla:read_deepseek_v2",
    "deepseek_v3": "mla:read_deepseek_v3",
    "kimi_k2": "mla:read_kimi_k2",
    "glm4_moe_lite": "mla:read_glm4_moe_lite",
    "deepseek_v32": "mla:read_deepseek_v32",
    "glm_moe_dsa": "mla:read_glm_moe_dsa",
    "mamba": "mamba:read_mamba",
    "falcon_mamba": "mamba:read_falcon_mamba",
    "mamba2": "mamba:read_mamba2",
    "jamba": "hybrid_mamba:read_jamba",
    "bamba": "hybrid_mamba:read_bamba",
    "granitemoehybrid": "hybrid_mamba:read_granitemoehybrid",
    "nemotron_h": "nemotron_h",
    "qwen3_next": "qwen3_next",
    "qwen3_5_text": "qwen3_next:read_qwen3_5_text",
    "qwen3_5_moe_text": "qwen3_next:read_qwen3_5_moe_text",
    "llama4_text": "llama4:read_text",
    "mimo_v2_flash": "mimo_v2_flash",
    "kimi_linear": "kimi_linear",
    "lfm2": "lfm2",
    "zamba2": "zamba2",
    "deepseek": "deepseek_moe",
    "deepseek_v4": "deepseek_v4",
    "minimax_m3_vl_text": "minimax_m3",
    "minimax_m3": "minimax_m3",
    "kimi_k25": "kimi_k25",
    "kimi_k3": "kimi_k3",
    "step3p7": "step3p7",
    # encoders, encoder-decoders
    "bert": "bert",
    "roberta": "bert:read_roberta",
    "xlm-roberta": "bert:read_xlm_roberta",
    "camembert": "bert:read_camembert",
    "electra": "bert:read_electra",
    "distilbert": "distilbert",
    "mpnet": "mpnet",
    "albert": "albert",
    "deberta": "deberta",
    "deberta-v2": "deberta:read_v2",
    "modernbert": "modernbert",
    "nomic_bert": "nomic_bert",
    "bart": "bart",
    "mbart": "bart:read_mbart",
    "pegasus": "bart:read_pegasus",
    "m2m_100": "bart:read_m2m_100",
    "marian": "bart:read_marian",
    "blenderbot": "bart:read_blenderbot",
    "blenderbot-small": "bart:read_blenderbot_small",
    "led": "bart:read_led",
    "t5": "t5",
    "mt5": "t5:read_mt5",
    "umt5": "t5:read_umt5",
    # vision, vision-language and speech
    "whisper": "whisper",
    "wav2vec2": "wav2vec2",
    "hubert": "wav2vec2:read_hubert",
    "vit": "vit",
    "dinov2": "vit:read_dinov2",
    "clip": "contrastive:read_clip",
    "clip_vision_model": "contrastive:read_clip_vision",
    "clip_text_model": "contrastive:read_clip_text",
    "siglip": "contrastive:read_siglip",
    "siglip_vision_model": "contrastive:read_siglip_vision",
    "siglip2": "contrastive:read_siglip2",
    "internvl": "llava:read_internvl",
    "llava": "llava",
    "llava_next": "llava:read_next",
    "llava_onevision": "llava:read_onevision",
    "paligemma": "llava:read_paligemma",
    "gemma3": "llava:read_gemma3",
    "mistral3": "llava:read_mistral3",
    "qwen2_vl": "qwen_vl:read_2",
    "qwen2_5_vl": "qwen_vl:read_2_5",
    "qwen3_vl": "qwen_vl:read_3",
    "qwen3_vl_moe": "qwen_vl:read_3_moe",
    "qwen3_5": "qwen_vl:read_3_5",
    "qwen3_5_moe": "qwen_vl:read_3_5_moe",
    "idefics2": "idefics:read_2",
    "idefics3": "idefics:read_3",
    "smolvlm": "idefics:read_smolvlm",
    "mllama": "mllama",
    "llama4": "llama4_vision",
    "gemma3n_text": "gemma3n",
    "gemma4_text": "gemma4",
    "gemma4": "gemma4_towers",
}

_HINT = "--via-transformers builds it with the installed transformers, where that has the class"


class Reader(Protocol):
    """What every family module offers."""

    def __call__(self, config: Config) -> Architecture: ...


def reader_for(model_type: str) -> Reader:
    """The reader of that family, or UnknownFamily.

    >>> reader_for("llama").__name__
    'read'
    """
    target = READERS.get(model_type)
    if target is None:
        raise UnknownFamily(model_type, hint=_HINT)
    module, _, function = target.partition(":")
    reader: Reader = getattr(import_module(f"{__name__}.{module}"), function or "read")
    return reader
