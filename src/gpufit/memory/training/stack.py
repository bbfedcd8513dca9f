"""Running the repeated blocks of a model, with or without checkpoints, each in a scope of its own.

Layers alike leave alike behind, so of a deep stack only both ends run; between them stand the bytes that the others
save, measured on a layer of their kind, until the way back passes and turns them into those layers' gradients. What
autocast's cache alone holds of a layer, its weights in the low format, stands there until the forward pass is over; so
does what the model's output alone holds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from gpufit.facts.architecture import Architecture
from gpufit.memory.training.modules import Model
from gpufit.memory.training.tape.graph import Gradients, Node
from gpufit.memory.training.tape.ops import size_of
from gpufit.memory.training.tape.reentrant import checkpoint_reentrant
from gpufit.memory.training.tape.tensor import Storage, Tensor, held_alone

Outputs = Tensor | tuple[Tensor, Tensor | None]
Layer = Callable[..., Outputs]  # (part, kind, hidden states, *what is shared)
Shared = Callable[[], tuple[Tensor | None, ...]]


class Left(NamedTuple):
    """What a layer leaves behind: saved for backward, and held by autocast's cache or by the model's output alone."""

    saved_bytes: int
    cached_bytes: int
    handed_out_bytes: int


def run_layers(
    model: Model, prefix: str, kinds: Sequence[str], layer: Layer, first: Callable[[], Tensor],
    shared: Shared = tuple, whole: bool = False,
) -> Tensor:  # fmt: skip
    """``for layer in self.layers: hidden_states = layer(hidden_states)``; equal ``kinds`` mean layers alike.

    ``first`` makes the first layer's input, which nobody else names. Where a layer hands out a tuple, the loop names it
    until the next layer is done. ``shared`` is what the loop hands to each layer beside the hidden states, and what a
    checkpoint therefore keeps. ``whole`` runs every layer.
    """
    hidden = first()
    outputs: Outputs | None = None
    ledger = model.tape.ledger
    selective = model.plan.checkpointing == "selective"
    alike = [(kind, selective and index % 2) for index, kind in enumerate(kinds)]
    head, tail = (len(alike), len(alike)) if whole else ends(alike)
    left: dict[Hashable, Left] = {}
    shown: dict[Hashable, int] = {}
    for index in (*range(head), *range(tail, len(kinds))):
        if index == tail > head:
            hidden = _skip(model, prefix, range(head, tail), [left[kind] for kind in alike[head:tail]], hidden)
            model.checkpoint_bytes += _checkpoints(model, range(head, tail)) * size_of(hidden)
            for kind in alike[head:tail]:
                model.repeats[f"{prefix}.{shown[kind]}"] = model.repeats.get(f"{prefix}.{shown[kind]}", 1) + 1
        ledger.enter(f"{prefix}.{index}")
        before, casts, caches = ledger.temporaries_bytes, len(model.tape.cast_weights), len(model.caches)
        with ledger.inside(f"{prefix}.{index}"):
            outputs = _run(model, prefix, index, kinds[index], layer, hidden, shared())
        hidden = _hidden(outputs)
        if not isinstance(outputs, tuple):
            outputs = None
        elif model.keeps_caches and outputs[1] is not None:
            model.caches.append(outputs[1].alias())
            outputs = None
        if index:
            cached, handed_out = model.tape.cached_bytes(casts), held_alone(ledger, model.caches[caches:])
            saved = ledger.temporaries_bytes - before - cached - handed_out
            left[alike[index]] = Left(saved, cached, handed_out)
            if index < head:  # the very last layer hands its output to no layer
                shown[alike[index]] = index
    return hidden


def _hidden(outputs: Outputs) -> Tensor:
    return outputs[0] if isinstance(outputs, tuple) else outputs


def _run(
    model: Model, prefix: str, index: int, kind: str, layer: Layer, hidden: Tensor, shared: tuple[Tensor | None, ...]
) -> Outputs:
    part = model.part(f"{prefix}.{{}}", index)
    if _checkpoints(model, range(index, index + 1)):
        model.checkpoint_bytes += size_of(hidden)

        def block(x: Tensor, *more: Tensor | None) -> Outputs:
            made = layer(part, kind, x, *more)
            # layers of releases with reentry hand out no probabilities unless asked to
            return _hidden(made) if model.reentrant and not model.keeps_caches else made

        if model.reentrant:
            return checkpoint_reentrant(model.tape, block, hidden, *shared, keeps_leaves=model.keeps_leaves)
        return model.tape.checkpoint(block, hidden, *shared)
    return layer(part, kind, hidden, *shared)


def _checkpoints(model: Model, layers: range) -> int:
    """How many of these layers keep their input alone; ``selective`` does so with every second one."""
    if model.plan.checkpointing == "selective":
        return sum(index % 2 == 0 for index in layers)
    return len(layers) if model.plan.checkpointing == "full" else 0


def ends(kinds: Sequence[Hashable]) -> tuple[int, int]:
    """Up to where the first layers run, and from where the last: both ends show every kind, the very first layer apart.

    What follows the head is of the kind that follows it in the whole stack, so each layer's output is kept as there.

    >>> ends("aaaaaaaa"), ends("abababab"), ends("abbbbbbb"), ends("aa")
    ((2, 7), (3, 5), (2, 7), (2, 2))
    """
    within = set(kinds[1:])
    head = next((n for n in range(2, len(kinds)) if within <= set(kinds[1:n])), len(kinds))
    last = range(len(kinds) - 1, head, -1)
    tail = next((n for n in last if kinds[n] == kinds[head] and set(kinds[head:]) <= set(kinds[n:])), head)
    return head, tail


def _skip(model: Model, prefix: str, layers: range, left: Sequence[Left], hidden: Tensor) -> Tensor:
    """Stand in for layers that do not run."""
    tape = model.tape
    gradients = sum(model.gradient_bytes(f"{prefix}.{{}}.", index) for index in layers)

    # a checkpoint's input is kept already; where its leaf outlives the layer, so does the leaf's gradient
    leaves = _checkpoints(model, layers) if model.reentrant and model.keeps_leaves else 0
    leaves_bytes = 2 * leaves * size_of(hidden)

    def back(node: Node, grads: Gradients) -> Gradients:
        node.held = None
        if leaves_bytes:
            node.held = Storage(tape.ledger, leaves_bytes)
            tape.kept.append(node)
        tape.ledger.gradients_bytes += 0 if tape.accumulates else gradients
        return grads

    tape.ledger.op = "layers alike"
    node = tape.node("layers alike", (hidden,), back)
    size, cached = sum(one.saved_bytes for one in left), sum(one.cached_bytes for one in left)
    if cached:
        casts = tape.empty((cached,), "int8")
        tape.cast_weights[id(casts)] = casts
    handed_out = sum(one.handed_out_bytes for one in left)
    if handed_out:
        model.caches.append(tape.empty((handed_out,), "int8"))
    if node is None or not size:
        return hidden
    node.held = Storage(tape.ledger, size)
    out = hidden.alias()
    tape.attach(node, out)
    return out


def layer_kinds(architecture: Architecture) -> tuple[str, ...]:
    """Each decoder layer's kind of attention, ``full`` or ``sliding``.

    An architecture counts its kinds and does not order them; they are mixed evenly, as published models do.
    """
    layers = architecture.stacks[0].layers
    sliding = sum(cached.layers for cached in architecture.cache if cached.kind == "sliding")
    full = layers - sliding
    return tuple("full" if (n + 1) * full // layers > n * full // layers else "sliding" for n in range(layers))
