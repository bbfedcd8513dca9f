"""Number formats: the short names gpufit uses, torch's names, and bytes per element."""

from __future__ import annotations

from gpufit.errors import UsageError

DTYPE_BYTES = {
    "fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1, "uint8": 1, "bool": 1, "int32": 4, "int64": 8, "complex64": 8,
}  # fmt: skip

_SHORT_NAME = {
    "float32": "fp32", "float": "fp32", "fp32": "fp32", "f32": "fp32",
    "float16": "fp16", "half": "fp16", "fp16": "fp16", "f16": "fp16",
    "bfloat16": "bf16", "bf16": "bf16",
    "float8_e4m3fn": "fp8", "fp8": "fp8",
}  # fmt: skip
TORCH_NAME = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def short_dtype(text: str | None) -> str | None:
    """gpufit's short name of a dtype as configurations spell it; what has none stays as it is.

    >>> short_dtype("torch.bfloat16"), short_dtype("mystery"), short_dtype(None)
    ('bf16', 'mystery', None)
    """
    return None if text is None else _SHORT_NAME.get(text.removeprefix("torch.").lower(), text)


def parse_dtype(text: str) -> str:
    """Turn ``torch.float16``, ``float16``, ``half`` or ``fp16`` into gpufit's short name.

    >>> parse_dtype("torch.bfloat16")
    'bf16'
    """
    short = _SHORT_NAME.get(text.removeprefix("torch.").lower())
    if short is None:
        raise UsageError(f"unknown dtype {text[:40]!r}", hint="use fp32, fp16 or bf16")
    return short
