"""A parameter under peft's adapter: wherever it is asked for, its sum with the adapter's product stands in for it.

Mirrors peft 0.21.2, tuners/lora/layer.py, ParamWrapper, and torch 2.13.0, nn/utils/parametrize.py. The sum is as large
as the parameter, a layer's whole stack of experts, and each layer's products save it for backward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from gpufit.memory.training.modules import Part, autocast_weight
from gpufit.memory.training.tape.ops import add, cast, scale
from gpufit.memory.training.tape.products import baddbmm, mm
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import permute, reshape

Result = TypeVar("Result")
_DEFAULT_ALPHA = 8  # peft 0.21.2, tuners/lora/config.py, LoraConfig.lora_alpha: over the rank it is the scaling


def wrapped(part: Part, names: Sequence[str], forward: Callable[..., Result], *inputs: object) -> Result:
    """Call ``forward(part, *inputs)`` within the wrappers of these parameters of ``part``, the first outermost."""
    return _within(part, [name for name in names if part.adapted(name)], {}, forward, inputs)


def _within(
    part: Part, names: Sequence[str], cache: dict[str, Tensor], forward: Callable[..., Result],
    inputs: tuple[object, ...],
) -> Result:  # fmt: skip
    """ParamWrapper.forward; ``cache`` is parametrize's own, which lives until the outermost wrapper is left."""
    if not names:
        return forward(part, *inputs)
    name, inner = names[0], names[1:]
    # ParametrizationList.__init__ makes one sum more to see its shape and drops it: never the widest instant
    merge = _merger(part, name)

    def stand_in() -> Tensor:
        if name not in cache:
            cache[name] = merge()
        return cache[name]

    with part.standing_in(name, stand_in):
        return _within(part, inner, cache, forward, inputs)


def _merger(part: Part, name: str) -> Callable[[], Tensor]:
    """_activate_lora: what adds the adapter's product to the parameter, over factors in the parameter's format."""
    weight = part.weight(name)
    outputs, inputs = weight.shape[-2:]
    low, high, rank = part.factors(name)
    if len(weight.shape) == 2:  # get_delta_weight
        product = mm(autocast_weight(part.tape, high), autocast_weight(part.tape, low), inputs)
        delta = cast(scale(product), weight.dtype)
        return lambda: _named(part, add, weight, delta)
    experts = weight.shape[0]  # get_delta_factors
    left = cast(permute(reshape(high, outputs, rank, experts), 2, 0, 1), weight.dtype)
    right = cast(reshape(low, experts, rank, inputs), weight.dtype)
    scaled = part.model.plan.lora_r != _DEFAULT_ALPHA
    return lambda: _named(part, baddbmm, weight, left, right, scaled)


def _named(part: Part, operation: Callable[..., Tensor], *operands: object) -> Tensor:
    with part.tape.ledger.inside("merged"):
        return operation(*operands)
