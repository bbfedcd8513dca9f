"""Stacks whose full and sliding layers differ in key heads or widths: either kind, settled as if it were alone."""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, CacheLayers, Stack
from gpufit.memory.activations.courses import Step
from gpufit.memory.activations.setting import Setting
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.symbols import Sizes
from gpufit.memory.workload import Workload
from gpufit.records import replace


def attention_kinds(architecture: Architecture) -> tuple[CacheLayers, ...]:
    """The kinds of layers with keys of their own."""
    return tuple(layers for layers in architecture.cache if layers.kind in ("sliding", "full"))


def settle_kind(
    architecture: Architecture, workload: Workload, step: Step, layers: CacheLayers, *, eager_only: bool = False
) -> tuple[Setting, Sizes]:
    """Case distinctions and sizes of one kind of layer; the masks of all kinds are built."""
    stack = _stack_of(architecture.stacks[0], layers)
    alone = replace(architecture, cache=(layers,))
    keys = min(step.keys, layers.window_tokens or step.keys) if step.name == "decode" else step.keys
    c = settle(alone, workload, stack, step.name, keys=keys, queries=step.queries, eager_only=eager_only)
    sizes = stack_sizes(alone, workload, stack, queries=step.queries, keys=keys)
    return c._replace(masks=len(attention_kinds(architecture))), sizes


def _stack_of(stack: Stack, layers: CacheLayers) -> Stack:
    if stack.attention is None:
        raise ValueError("a decoder with attention has attention")
    whole = stack.attention.rope_dim == stack.attention.head_dim
    attention = replace(
        stack.attention, kv_heads=layers.kv_heads, head_dim=layers.key_dim, value_dim=layers.value_dim,
        rope_dim=layers.key_dim if whole else stack.attention.rope_dim, window_tokens=layers.window_tokens,
    )  # fmt: skip
    return replace(stack, attention=attention)
