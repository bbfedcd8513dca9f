"""Which quantization a safetensors checkpoint carries: told by its tensors, named precisely by its configuration.

Tensors decide, since a ``quantization_config`` may also ask for quantization while loading; where the two disagree
a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpufit.facts.stored import StoredTensor
from gpufit.records import record


@record
class StoredQuantization:
    """What quantized the checkpoint. Both None for plain numbers."""

    method: str | None = None
    quant: str | None = None
    notes: tuple[str, ...] = ()


def recognise(tensors: Sequence[StoredTensor], config: Mapping[str, Any] | None = None) -> StoredQuantization:
    """Name the format from the tensors, and refine it by ``quantization_config`` (None where there is none).

    >>> weight = StoredTensor("l.qweight", (512, 4096), "I32", 8 << 20)
    >>> tensors = [weight, StoredTensor("l.g_idx", (4096,), "I32", 16384)]
    >>> recognise(tensors, {"quant_method": "gptq", "bits": 4, "group_size": 128}).quant
    'gptq-int4-g128'
    """
    config = config or {}
    declared = config.get("quant_method")
    declared = declared[:40] if isinstance(declared, str) else None
    found = _from_tensors(tensors)
    method = found or None
    if method == "packed":  # qweight without g_idx is AWQ's, though the first GPTQ checkpoints had none either
        method = declared if declared in ("gptq", "awq") else "awq"
    elif method == "scaled":  # weight_scale stands in fp8 and in compressed-tensors checkpoints
        method = declared if declared in ("fp8", "compressed-tensors", "modelopt", "fbgemm_fp8") else "fp8"
    notes: tuple[str, ...] = ()
    if declared and method is None:
        notes = (f"config.json says quant_method = {declared}, but the stored tensors are plain numbers",)
    elif declared and method and _family(declared) != _family(method):
        notes = (f"config.json says quant_method = {declared}, but the stored tensors look like {method}",)
    return StoredQuantization(method=method, quant=_PRECISE[method](config, tensors) if method else None, notes=notes)


def _from_tensors(tensors: Sequence[StoredTensor]) -> str:
    """The first telling tensor by rank; an empty text for plain numbers.

    Sources: bitsandbytes 0.50.2 QuantState.as_dict(packed=True) and Linear8bitLt._save_to_state_dict; the buffers of
    AutoGPTQ 0.7 and AutoAWQ 0.2; transformers 5.23.0 integrations/finegrained_fp8.py (weight_scale_inv) and
    integrations/mxfp4.py (_blocks, _scales); compressed-tensors 0.12 (weight_packed, weight_scale).
    """
    endings = {name.rpartition(".")[2] for name, *_ in tensors}
    dtypes = {tensor.dtype for tensor in tensors}
    if any(ending.startswith("bitsandbytes__") for ending in endings) or "SCB" in endings:
        return "bitsandbytes"
    if any(ending.endswith("_blocks") for ending in endings) and any(ending.endswith("_scales") for ending in endings):
        return "mxfp4"
    if "qweight" in endings:
        return "gptq" if "g_idx" in endings else "packed"
    if "weight_packed" in endings:
        return "compressed-tensors"
    if "weight_scale_inv" in endings:
        return "fp8"
    if "weight_scale" in endings or (endings & {"scale", "weight_scale_2"} and any(d.startswith("F8") for d in dtypes)):
        return "scaled"
    return "fp8" if any(dtype.startswith("F8_E4M3") for dtype in dtypes) else ""


def _family(method: str) -> str:
    return {"fbgemm_fp8": "fp8", "modelopt": "fp8"}.get(method, method)


def _bitsandbytes(config: Mapping[str, Any], tensors: Sequence[StoredTensor]) -> str:
    names = [tensor.name for tensor in tensors]
    if any(name.endswith(".SCB") for name in names):
        return "bnb-int8"
    kind = "nf4" if any(name.endswith("bitsandbytes__nf4") for name in names) else "fp4"
    nested = any(name.endswith(".nested_absmax") for name in names)
    return f"bnb-{kind}-dq" if nested else f"bnb-{kind}"


def _grouped(label: str) -> Callable[[Mapping[str, Any], Sequence[StoredTensor]], str]:
    def name(config: Mapping[str, Any], tensors: Sequence[StoredTensor]) -> str:
        """``gptq-int4-g128``; a group of -1 is a whole column, as the libraries write it."""
        bits = config.get("bits", config.get("w_bit", 4))
        group = config.get("group_size", config.get("q_group_size", 128))
        if type(bits) is not int or type(group) is not int or not 1 <= bits <= 16 or not -1 <= group <= 1 << 20:
            return label
        return f"{label}-int{bits}-{'column' if group < 1 else f'g{group}'}"

    return name


def _compressed(config: Mapping[str, Any], tensors: Sequence[StoredTensor]) -> str:
    form = config.get("format")
    return f"compressed-tensors-{form[:40]}" if isinstance(form, str) else "compressed-tensors"


_PRECISE: dict[str, Callable[[Mapping[str, Any], Sequence[StoredTensor]], str]] = {
    "bitsandbytes": _bitsandbytes,
    "gptq": _grouped("gptq"),
    "awq": _grouped("awq"),
    "compressed-tensors": _compressed,
    "mxfp4": lambda config, tensors: "mxfp4",
    "fp8": lambda config, tensors: "fp8",
    "fbgemm_fp8": lambda config, tensors: "fp8",
    "modelopt": lambda config, tensors: "modelopt",
}
