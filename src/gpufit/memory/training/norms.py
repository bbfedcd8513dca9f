"""Normalizations as the families write them out, each (part, name, x) -> x."""

from __future__ import annotations

from collections.abc import Callable

from gpufit.memory.training.kernels import fused_rms_norm
from gpufit.memory.training.modules import Part, rms_norm, rsqrt
from gpufit.memory.training.tape.ops import cast, mean, mul, power, shift, sub
from gpufit.memory.training.tape.products import layer_norm as plain_layer_norm
from gpufit.memory.training.tape.tensor import Tensor

Norm = Callable[[Part, str, Tensor], Tensor]


def llama_rms(part: Part, name: str, x: Tensor) -> Tensor:
    """LlamaRMSNorm: weight · (fp32 result in the input's format)."""
    norm = rms_norm if part.model.plan.fused_kernels == "none" else fused_rms_norm
    return part.run(name, norm, x, part.weight(f"{name}.weight"))


def layer_norm(part: Part, name: str, x: Tensor) -> Tensor:
    """nn.LayerNorm."""
    return part.layer_norm(name, x)


def gemma_rms(part: Part, name: str, x: Tensor) -> Tensor:
    """GemmaRMSNorm: (fp32 result · (1 + fp32 weight)) in the input's format."""
    return part.run(name, _gemma_rms, x, part.weight(f"{name}.weight"))


def _gemma_rms(x: Tensor, weight: Tensor) -> Tensor:
    output = _normalized(cast(x, "fp32"))
    output = mul(output, shift(cast(weight, "fp32")))
    return cast(output, x.dtype)


def _normalized(x: Tensor) -> Tensor:
    return mul(x, rsqrt(shift(mean(power(x)))))


def olmo_rms(part: Part, name: str, x: Tensor) -> Tensor:
    """Olmo2RMSNorm: (weight · fp32 result) in the input's format."""
    return part.run(name, _olmo_rms, x, part.weight(f"{name}.weight"))


def _olmo_rms(x: Tensor, weight: Tensor) -> Tensor:
    return cast(mul(weight, _normalized(cast(x, "fp32"))), x.dtype)


def olmo_norm(part: Part, name: str, x: Tensor) -> Tensor:
    """OlmoLayerNorm: LayerNorm in fp32 without weight or bias."""
    return cast(part.run(name, plain_layer_norm, cast(x, "fp32"), None, None), x.dtype)


def cohere_norm(part: Part, name: str, x: Tensor) -> Tensor:
    """CohereLayerNorm: LayerNorm written out in fp32, without bias."""
    return part.run(name, _cohere_norm, x, part.weight(f"{name}.weight"))


def _cohere_norm(x: Tensor, weight: Tensor) -> Tensor:
    hidden = cast(x, "fp32")
    middle = mean(hidden)
    variance = mean(power(sub(hidden, middle)))
    hidden = mul(sub(hidden, middle), rsqrt(shift(variance)))
    hidden = mul(cast(weight, "fp32"), hidden)
    return cast(hidden, x.dtype)


def one_plus(part: Part, name: str, x: Tensor) -> Tensor:
    """NemotronLayerNorm1P: LayerNorm with weight + 1; autocast casts its input and leaves it to the low format."""
    tape = part.tape
    low, weight = tape.autocast, shift(part.weight(f"{name}.weight"))
    x = cast(x, low) if low else x
    tape.autocast = None
    try:
        return part.run(name, plain_layer_norm, x, weight, part.optional(f"{name}.bias"))
    finally:
        tape.autocast = low
