"""From a row to a Workload, or the reason why gpufit does not estimate it."""

from __future__ import annotations

import re

from gpufit.accuracy.cards import Card
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Refusal
from gpufit.facts.architecture import Architecture
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.memory.versions import season_version
from gpufit.memory.workload import AttentionKernel, Workload
from gpufit.records import replace

_TRANSFORMERS = re.compile(r"transformers[\s=v]+(\d+\.\d+(?:\.\d+)?)")
_TORCH = re.compile(r"torch[\s=v]+(\d+\.\d+(?:\.\d+)?)")
_KERNEL = re.compile(r"kernel (exllamav1|exllamav2|exllama|autogptq-cuda-old)\b")
_ATTENTION: dict[str, AttentionKernel] = {
    "eager": "eager", "sdpa": "sdpa", "flash": "flash", "flash2": "flash", "fa2": "flash",
    "flash_attention_2": "flash", "flash-attention-2": "flash",
}  # fmt: skip
_FLOATS = ("fp32", "fp16", "bf16")
# formats whose group a row left open: what the loader of that name does by default
_QUANT_NAMES: dict[str, str] = {
    "": "none", "fp16": "none", "bf16": "none", "fp32": "none", "gptq-int8": "gptq-int8-g128",
    "gptq-int4": "gptq-int4-g128", "gptq": "gptq-int4-g128", "awq": "awq-int4-g128", "awq-int4": "awq-int4-g128",
    "nf4": "bnb-nf4", "fp4": "bnb-fp4", "bnb-4bit": "bnb-fp4", "bnb-8bit": "bnb-int8", "llm.int8": "bnb-int8",
}  # fmt: skip
_FLOAT_NAMES = {"float16": "fp16", "half": "fp16", "bfloat16": "bf16", "float32": "fp32", "float": "fp32"}
_GROUPLESS = {"gptq-int4": "gptq-int4"}


def plan_row(row: Measurement, architecture: Architecture, card: Card) -> Workload | Refusal:
    """The workload that the row describes."""
    quant = _QUANT_NAMES.get(row.quant_method, row.quant_method)
    if quant != "none" and quant not in MATRIX_PARTS:
        return Refusal(reason=f"the quantization {quant[:40]} is not estimated")
    dtype = _dtype(row, quant, architecture)
    tokens = _tokens(row, architecture)
    if isinstance(tokens, Refusal):
        return tokens
    prompt, new = tokens
    attention = _ATTENTION.get(row.attention) or "sdpa"
    torch = _TORCH.search(row.engine_version)
    version = _TRANSFORMERS.search(row.engine_version)
    bare = re.fullmatch(r"\d+\.\d+(\.\d+)?", row.engine_version)
    library = version[1] if version else bare[0] if bare else season_version(torch[1]) if torch else None
    kernel = _KERNEL.search(row.notes)
    return Workload(
        prompt_tokens=prompt, new_tokens=new, batch=row.batch or 1, dtype=dtype, quant=quant,  # type: ignore[arg-type]
        kv_dtype=row.kv_dtype if row.kv_dtype in (*_FLOATS, "fp8", "int8", "int4") else None,
        attention=attention, compute_capability=card.capability, library_version=library,
        torch_version=torch[1] if torch else None, quant_kernel=kernel[1] if kernel else None,
        all_logits=row.new_tokens == 0 and architecture.generates,
    )  # fmt: skip


def without_groups(row: Measurement, workload: Workload) -> Workload | None:
    """The same work in the smallest format that the row's words allow; None where they leave no doubt."""
    other = _GROUPLESS.get(row.quant_method)
    return replace(workload, quant=other) if other else None


def _dtype(row: Measurement, quant: str, architecture: Architecture) -> str:
    """What is not quantized: stated, or as the cache is, or what the loaders of the format take."""
    for stated in (_FLOAT_NAMES.get(name, name) for name in (row.weight_dtype, row.kv_dtype)):
        if stated in _FLOATS:
            return stated
    if quant.startswith(("gptq-", "awq-")):
        return "fp16"
    own = architecture.dtype
    return own if own in _FLOATS else "fp16"


def _tokens(row: Measurement, architecture: Architecture) -> tuple[int, int] | Refusal:
    """Prompt and new tokens. A row that states the filled cache alone is one that decodes up to it."""
    if row.prompt_tokens is not None:
        return row.prompt_tokens, row.new_tokens or 0
    if row.metric in ("weights_only", "resident_after_load", "cuda_context"):
        return 1, 0
    if row.kv_tokens is not None:
        each = row.kv_tokens // (row.batch or 1)
        return (1, each - 1) if architecture.generates and each > 1 else (max(1, each), 0)
    return Refusal(reason="the row states no number of tokens")
