"""Which attention implementations transformers offers for a family. Filled from its class flags, checked by a test."""

from __future__ import annotations

# transformers 5.23.0: classes with _supports_sdpa = False, and those with _supports_flash_attn = False
EAGER_ONLY = frozenset({"deberta", "deberta-v2", "mamba", "mamba2", "falcon_mamba"})
NO_FLASH = frozenset({"gpt_oss", "mpnet", "t5", "mt5", "umt5"})


def attention_kernels(model_type: str) -> tuple[str, ...]:
    """The implementations a family has, plainest first.

    >>> attention_kernels("deberta-v2")
    ('eager',)
    """
    if model_type in EAGER_ONLY:
        return ("eager",)
    if model_type in NO_FLASH:
        return ("eager", "sdpa")
    return ("eager", "sdpa", "flash")
