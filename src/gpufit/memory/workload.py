"""The work at hand: how many tokens, in what precision, with which attention and runtime."""

from __future__ import annotations

from typing import Literal, get_args

from gpufit.memory.runtime import RuntimeFact
from gpufit.records import record

TorchQuantization = Literal[
    "none", "bnb-int8", "bnb-nf4", "bnb-nf4-dq", "bnb-fp4", "gptq-int4-g128", "awq-int4-g128", "fp8", "mxfp4", "stored"
]
GgufQuantization = Literal[
    "gguf-f16", "gguf-bf16", "gguf-q8_0", "gguf-q6_k", "gguf-q5_k_m", "gguf-q5_k_s", "gguf-q4_k_m", "gguf-q4_k_s",
    "gguf-q4_0", "gguf-q3_k_m", "gguf-q2_k", "gguf-mxfp4",
]  # fmt: skip
"""llama.cpp's mixtures; other runtimes do not take them."""
Quantization = TorchQuantization | GgufQuantization
AttentionKernel = Literal["eager", "sdpa", "flash"]
Runtime = Literal["transformers", "vllm", "llama.cpp"]
QUANTIZATIONS: tuple[Quantization, ...] = get_args(TorchQuantization)
GGUF_QUANTIZATIONS: tuple[Quantization, ...] = get_args(GgufQuantization)
ATTENTION_KERNELS: tuple[AttentionKernel, ...] = get_args(AttentionKernel)


@record
class Workload:
    """An inference workload.

    ``prompt_tokens`` go in at once (for an encoder-decoder they are the encoder's input, ``new_tokens`` the
    decoder's output); their sum is the context. Encoders see ``prompt_tokens`` alone. ``kv_dtype`` is the
    cache's format, ``None`` meaning ``dtype``. ``compute_capability`` chooses kernels where the device is known, and
    ``driver_context`` is what was measured on that very device (None: the table's range).

    What past measurements need: ``library_version`` and ``torch_version`` of their time (None: the current ones),
    ``quant_kernel`` for the GPTQ kernel that ran, ``all_logits`` for a plain forward call, which keeps every
    position's logits where ``generate`` keeps one.
    """

    prompt_tokens: int
    new_tokens: int = 0
    batch: int = 1
    dtype: str = "fp16"
    quant: Quantization = "none"
    kv_dtype: str | None = None
    attention: AttentionKernel = "sdpa"
    runtime: Runtime = "transformers"
    compute_capability: tuple[int, int] | None = None
    driver_context: RuntimeFact | None = None
    tensor_parallel: int = 1  # ranks that share every layer (vLLM); one rank is estimated
    device_total_bytes: int | None = None  # what a runtime chooses its own defaults by
    library_version: str | None = None
    torch_version: str | None = None
    quant_kernel: str | None = None
    all_logits: bool = False
    images: int = 0  # pictures a sequence, whose tokens are part of the prompt

    @property
    def context_tokens(self) -> int:
        """Prompt and new tokens of one sequence."""
        return self.prompt_tokens + self.new_tokens
