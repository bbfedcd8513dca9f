"""Which attention implementations transformers offers for a family: its class flags, held to them by a test."""

from __future__ import annotations

# transformers 5.23.0: model classes with _supports_sdpa = False, and those with _supports_flash_attn = False
NO_SDPA = frozenset(
    {
        "bloom", "codegen", "deberta", "deberta-v2", "deepseek_v4", "falcon_mamba", "gemma2", "gpt_neo", "gpt_oss",
        "gptj", "led", "mamba", "mamba2", "mimo_v2_flash", "mpnet", "mpt", "xglm",
    }
)  # fmt: skip
NO_FLASH = frozenset(
    {
        "bloom", "codegen", "deberta", "deberta-v2", "deepseek_v32", "deepseek_v4", "falcon_mamba", "glm_moe_dsa",
        "led", "llama4", "llama4_text", "mamba", "mamba2", "minimax_m3_vl_text", "mllama", "mpnet", "mpt", "mt5",
        "siglip2", "step3p7", "t5", "umt5", "xglm",
    }
)  # fmt: skip
# these live beside their checkpoints, not in transformers, and come with one implementation of their own
_OWN_CODE = frozenset({"baichuan", "chatglm", "deepseek", "exaone", "minicpm", "nemotron-nas", "orion", "qwen"})


def attention_kernels(model_type: str) -> tuple[str, ...]:
    """The implementations that a family has, plainest first.

    >>> attention_kernels("deberta-v2"), attention_kernels("llama")
    (('eager',), ('eager', 'sdpa', 'flash'))
    """
    if model_type in _OWN_CODE:
        return ("eager", "sdpa")
    lacking = {"sdpa"} if model_type in NO_SDPA else set()
    if model_type in NO_FLASH:
        lacking.add("flash")
    return tuple(kernel for kernel in ("eager", "sdpa", "flash") if kernel not in lacking)
