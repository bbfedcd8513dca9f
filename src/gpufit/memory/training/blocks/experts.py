"""A choice among fused experts as transformers runs it: every routed row once, sorted by its expert.

Mirrors transformers 5.23.0, integrations/moe.py (grouped_mm_experts_forward) and the routers of modeling_mixtral.py,
modeling_qwen2_moe.py and modeling_qwen3_moe.py. Nothing here depends on which expert a token takes.
"""

from __future__ import annotations

from gpufit.facts.architecture import Experts
from gpufit.memory.training.activations import activate
from gpufit.memory.training.blocks.wrapped import wrapped
from gpufit.memory.training.modules import Part, autocast_input, autocast_weight
from gpufit.memory.training.tape.ops import add, cast, from_result, mul, softmax
from gpufit.memory.training.tape.products import grouped_mm, linear
from gpufit.memory.training.tape.routing import sum_over, take, top
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import reshape, split, unsqueeze, view

_NESTED = ("down_proj", "gate_up_proj")  # _inject_parameters wraps them as the module names them, the last outermost


def gated(part: Part, x: Tensor) -> Tensor:
    """LlamaMLP.forward: down(silu(gate(x)) · up(x))."""
    act = part.run("act_fn", activate, "silu", part.linear("gate_proj", x))
    return part.linear("down_proj", mul(act, part.linear("up_proj", x)))


def sparse_mlp(part: Part, x: Tensor) -> Tensor:
    """MixtralSparseMoeBlock.forward and Qwen2MoeSparseMoeBlock.forward; a plain MLP in layers without experts."""
    experts = part.model.architecture.stacks[0].experts
    if experts is None or not part.has("experts.gate_up_proj"):
        return gated(part, x)
    rows = view(x, -1, x.shape[-1])
    shared = part.run("shared_expert", gated, part.inside("shared_expert"), rows) if experts.shared_width else None
    scores, ids = part.run("gate", wrapped, part, ("gate.weight",), _route, experts, rows)
    output = part.run("experts", wrapped, part.inside("experts"), _NESTED, _experts, experts, rows, ids, scores)
    if shared is not None:
        shared = mul(from_result(part.linear("shared_expert_gate", rows), "sigmoid"), shared)
        output = add(output, shared)
    return reshape(output, *x.shape)


def _route(part: Part, experts: Experts, rows: Tensor) -> tuple[Tensor, Tensor]:
    """MixtralTopKRouter.forward: probabilities in fp32, the best of them scaled to one."""
    weight = autocast_weight(part.tape, part.weight("gate.weight"))
    logits = linear(autocast_input(part.tape, rows), weight, None, experts.count)
    values, ids = top(softmax(logits, "fp32"), experts.per_token)
    values = mul(values, sum_over(values, 1, keep=True))  # divided by it: saves and allocates as a product does
    return cast(values, "fp32" if part.model.architecture.model_type == "mixtral" else logits.dtype), ids


def granite_moe(part: Part, x: Tensor) -> Tensor:
    """GraniteMoeMoE.forward: the best logits are chosen first, and their softmax weighs the experts."""
    experts = part.model.architecture.stacks[0].experts
    if experts is None:
        raise ValueError("a mixture has experts")
    rows = view(x, -1, x.shape[-1])
    scores, ids = part.run("router", _granite_route, part, experts, rows)
    output = part.run("experts", _experts, part.inside("experts"), experts, rows, ids, scores)
    return reshape(output, *x.shape)


def _granite_route(part: Part, experts: Experts, rows: Tensor) -> tuple[Tensor, Tensor]:
    """GraniteMoeTopKRouter.forward."""
    weight = autocast_weight(part.tape, part.weight("router.weight"))
    logits = cast(linear(autocast_input(part.tape, rows), weight, None, experts.count), "fp32")
    values, ids = top(logits, experts.per_token)
    return cast(softmax(values), rows.dtype), ids


def _experts(part: Part, experts: Experts, rows: Tensor, ids: Tensor, scores: Tensor) -> Tensor:
    """grouped_mm_experts_forward."""
    tape, routed = part.tape, ids.elements
    weights = reshape(scores, -1)
    sorted_ids, order = tape.empty((routed,), "int64"), tape.empty((routed,), "int64")
    chosen = take(rows, tape.empty((routed,), "int64"))
    chosen_weights = take(weights, order)
    offsets = tape.empty((experts.count,), "int32")
    up = grouped_mm(chosen, autocast_weight(tape, part.weight("gate_up_proj")), 2 * experts.width, offsets)
    output = _apply_gate(part, up, experts.width)
    del up
    output = grouped_mm(output, autocast_weight(tape, part.weight("down_proj")), rows.shape[-1], offsets)
    weighted = mul(output, unsqueeze(chosen_weights, 1))
    inverse = tape.empty((routed,), "int64")
    weighted = take(weighted, inverse)
    total = sum_over(view(weighted, rows.shape[0], experts.per_token, rows.shape[-1]), 1)
    del sorted_ids  # a local until here
    return cast(total, rows.dtype)


def _apply_gate(part: Part, fused: Tensor, width: int) -> Tensor:
    gate, up = split(fused, -1, (width, width))
    return mul(part.run("act_fn", activate, "silu", gate), up)
