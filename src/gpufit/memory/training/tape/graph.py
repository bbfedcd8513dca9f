"""The graph that a forward pass leaves and the engine that walks it back.

Mirrors PyTorch 2.13: torch/csrc/autograd/engine.cpp (order of nodes, sums of gradients, validate_outputs) and
torch/utils/checkpoint.py without reentry (recomputation on the first saved tensor that is asked for, early stop);
``reentrant`` has the other kind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any, TypeVar

from gpufit.memory.training.tape.ledger import Ledger
from gpufit.memory.training.tape.tensor import Shape, Storage, Tensor, held_alone, laid_out

Result = TypeVar("Result")
Gradients = Sequence[Tensor | None]
Backward = Callable[["Node", Gradients], Gradients]


class Edge:
    """Where a gradient goes: the node behind an input, which of its outputs, and what it must look like."""

    __slots__ = ("dtype", "node", "shape", "slot")

    def __init__(self, source: Tensor) -> None:
        self.node, self.slot, self.shape, self.dtype = source.node, source.slot, source.shape, source.dtype


class Node:
    """One differentiable operation that ran."""

    __slots__ = (
        "backward", "edges", "extra", "frame", "held", "holders", "module", "name", "number", "outputs", "saved",
        "scope",
    )  # fmt: skip

    def __init__(
        self, name: str, number: int, edges: list[Edge | None], backward: Backward, module: str, scope: str
    ) -> None:
        self.name = name
        self.scope = scope
        self.number = number
        self.edges = edges
        self.backward = backward
        self.module = module
        self.saved: list[Tensor] = []
        self.frame: Frame | None = None
        self.holders: list[int] = []
        self.outputs = 1
        self.extra: Any = None
        self.held: Any = None  # what lives as long as the graph does

    def needs(self, index: int) -> bool:
        """Whether that input takes a gradient."""
        return self.edges[index] is not None


class Parameter(Node):
    """The leaf behind a trained weight: AccumulateGrad."""

    __slots__ = ("accumulates", "storage")

    def __init__(self, name: str, accumulates: bool) -> None:
        super().__init__(name, sys.maxsize, [], _no_backward, name, "")
        self.accumulates = accumulates
        self.storage: Storage | None = None


def _no_backward(node: Node, grads: Gradients) -> Gradients:
    return ()


class Leaf(Parameter):
    """A tensor inside the graph that was told to take a gradient: it and its gradient live as long as the graph."""

    __slots__ = ()


class Stop(Exception):
    """A recomputation has all it needs."""


class Frame:
    """One checkpointed call: how many tensors autograd wanted to save, and how to make them again."""

    __slots__ = ("again", "count", "made")

    def __init__(self, again: Callable[[], object]) -> None:
        self.again: Callable[[], object] | None = again
        self.count = 0
        self.made: dict[int, Tensor] | None = None


class Tape:
    """Runs programs: makes nodes while gradients are wanted, and plays them back.

    ``sums_in_place``: autograd adds a second gradient into the first where nobody else holds it. Any torch dispatch
    mode, a replay's tracker among them, makes it write the sum anew.
    """

    def __init__(self, *, sums_in_place: bool = True, accumulates: bool = False) -> None:
        self.ledger = Ledger()
        self.sums_in_place = sums_in_place
        self.accumulates = accumulates
        self.recording = True
        self.autocast: str | None = None
        self.cast_weights: dict[int, Tensor] = {}
        self.recomputed_bytes = 0  # the most that one checkpoint brought back
        self.kept: list[Node] = []  # leaves that something holds until the backward pass is over
        self._number = 0
        self._leaves: list[Leaf] = []
        self._frame: Frame | None = None  # of the checkpoint whose forward runs
        self._recomputing: Frame | None = None
        self._remade = 0

    @property
    def running_ahead(self) -> bool:
        """Whether this is the forward pass itself, not a checkpoint that is run again."""
        return self._recomputing is None

    @property
    def packing(self) -> bool:
        """Whether a checkpoint's forward runs, in which no node holds what it saves."""
        return self._frame is not None

    def empty(self, shape: Shape, dtype: str, strides: Shape | None = None) -> Tensor:
        """A new tensor with no history."""
        return Tensor(self, shape, dtype, strides=strides)

    def resident(self, shape: Shape, dtype: str, parameter: Parameter | None = None) -> Tensor:
        """A weight or buffer, counted elsewhere."""
        made = Tensor(self, shape, dtype, storage=Storage(None, 0))
        made.node = parameter
        return made

    def scratch(self, size_bytes: int) -> None:
        """Memory that a kernel takes and gives back."""
        self.ledger.died(self.ledger.born(size_bytes))

    def node(self, name: str, inputs: Sequence[Tensor | None], backward: Backward) -> Node | None:
        """The node of an operation on these inputs, or None where no gradient is wanted."""
        self.ledger.op = name
        if not self.recording:
            return None
        edges = [Edge(t) if t is not None and t.node is not None else None for t in inputs]
        if not any(edges):
            return None
        self._number += 1
        return Node(name, self._number, edges, backward, self.ledger.module, self.ledger.scope.name)

    def save(self, node: Node | None, *tensors: Tensor | None) -> None:
        """Keep tensors for a node's backward; inside a checkpoint only count them, or hand them to who recomputes."""
        if node is None:
            return
        for tensor in tensors:
            if tensor is None:
                continue
            if self._recomputing is not None:
                self._remember(tensor)
            elif self._frame is not None:
                node.frame = self._frame
                node.holders.append(self._frame.count)
                self._frame.count += 1
            else:
                node.saved.append(tensor.alias())

    def leaf(self, tensor: Tensor, name: str = "leaf", *, kept: bool = False) -> None:
        """``tensor.requires_grad = True``: lives with its readers; ``kept``: as long as torch keeps all nodes."""
        tensor.node = made = Leaf(name, accumulates=False)
        made.held = tensor.alias()
        if kept:
            self._leaves.append(made)

    def attach(self, node: Node | None, *outputs: Tensor) -> None:
        """Give outputs their history."""
        if node is None:
            return
        node.outputs = len(outputs)
        for slot, output in enumerate(outputs):
            output.node, output.slot = node, slot

    def _remember(self, tensor: Tensor) -> None:
        frame = self._recomputing
        if frame is None or frame.made is None:
            raise RuntimeError("nothing is being recomputed")
        frame.made[self._remade] = tensor.alias()
        self._remade += 1
        if self._remade == frame.count:
            raise Stop

    def checkpoint(self, block: Callable[..., Result], *inputs: Tensor | None) -> Result:
        """Run a block and keep its inputs alone; its backward will run it again."""
        if not self.recording or self._recomputing is not None:
            return block(*inputs)
        kept = tuple(inputs)
        module = self.ledger.module

        def again() -> object:
            outer, self.ledger.module = self.ledger.module, module
            try:
                return block(*kept)
            finally:
                self.ledger.module = outer

        self._frame = Frame(again)
        try:
            return block(*inputs)
        finally:
            self._frame = None

    def _recompute(self, frame: Frame) -> None:
        again = frame.again
        if again is None:
            raise RuntimeError("a checkpoint is recomputed once")
        frame.made, before = {}, self.ledger.temporaries_bytes
        self._recomputing, self._remade, self.recording = frame, 0, True
        try:
            again()
        except Stop:
            pass
        finally:
            self._recomputing, self.recording = None, False
            self.leave_autocast()
        self.recomputed_bytes = max(self.recomputed_bytes, self.ledger.temporaries_bytes - before)

    def saved(self, node: Node) -> list[Tensor]:
        """What the node saved; the first asked of a checkpoint runs it again."""
        frame = node.frame
        if frame is None:
            return node.saved
        if frame.made is None:
            self._recompute(frame)
        made = frame.made or {}
        found = [made.pop(holder) for holder in node.holders]
        node.saved, node.frame, node.holders = found, None, []
        return found

    def leave_autocast(self) -> None:
        """autocast_mode.cpp, clear_cache: the low-precision weights live on only where something saved them."""
        self.cast_weights.clear()

    def cached_bytes(self, first: int) -> int:
        """Bytes that will die with the cache, of the low-precision weights from the ``first`` on that are in it.

        A product saves its matrix (not its bias) where its input takes a gradient; inside a checkpoint nothing does.
        """
        return held_alone(self.ledger, islice(self.cast_weights.values(), first, None))

    @contextmanager
    def without_gradients(self) -> Any:
        """torch.no_grad()."""
        outer, self.recording = self.recording, False
        try:
            yield
        finally:
            self.recording = outer

    def backward(self, loss: Tensor) -> None:
        """Walk back from a scalar, through the scopes of the forward pass in reverse."""
        if loss.node is None:
            raise ValueError("nothing here takes a gradient")
        self.recording = False
        self.ledger.op = "ones_like"
        self.walk([(loss, self.empty(loss.shape, loss.dtype))], scoped=True)
        self.kept.clear()

    def walk(self, roots: Sequence[tuple[Tensor, Tensor]], *, scoped: bool = False) -> None:
        """Hand each root its gradient and walk back from there; ``scoped`` names the stretches of the way."""
        ledger = self.ledger
        starts, buffers = _seeded(roots)
        waiting = _dependencies(starts)
        ready = [(-start.number, 0, start) for start in starts if not waiting[id(start)]]
        heapify(ready)
        pushed, scope, roots, starts = 0, "", (), []
        while ready:
            node = heappop(ready)[2]
            grads = buffers.pop(id(node), None)
            if isinstance(node, Parameter):
                if grads is not None and grads[0] is not None:
                    _settle(ledger, node, grads[0])
                continue
            if scoped and node.scope != scope:
                scope = node.scope
                ledger.enter(f"{scope}, backward")
            ledger.module, ledger.op = node.module, node.name
            found: list[Tensor | None] = []
            if grads is not None:
                found = list(node.backward(node, grads))
                _validate(node, found)
            grads = None
            edges, node.saved, node.edges, node.extra = node.edges, [], [], None
            node.backward = _no_backward
            for index, edge in enumerate(edges):
                if edge is None or edge.node is None:
                    continue
                target = edge.node
                gradient = found[index] if index < len(found) else None
                if index < len(found):
                    found[index] = None
                if gradient is not None:
                    self._give(buffers, target, edge.slot, gradient)
                del gradient
                waiting[id(target)] -= 1
                if not waiting[id(target)]:
                    pushed += 1
                    heappush(ready, (-target.number, pushed, target))
        ledger.module = ledger.op = ""

    def _give(self, buffers: dict[int, list[Tensor | None]], target: Node, slot: int, gradient: Tensor) -> None:
        """InputBuffer::add: the first gradient is kept, a second is added to it."""
        slots = buffers.setdefault(id(target), [None] * target.outputs)
        held = slots[slot]
        if held is None:
            slots[slot] = gradient
        elif not (self.sums_in_place and _is_ours(held)):
            self.ledger.op = "sum of gradients"
            slots[slot] = self.empty(held.shape, held.dtype, laid_out(held.shape, (held, gradient)))


def _is_ours(held: Tensor) -> bool:
    """input_buffer.cpp, can_accumulate_inplace: the last reference to a dense tensor and to its storage."""
    # counted here: the buffer, the caller's name, this argument, getrefcount's own
    last = sys.getrefcount(held) <= 4 and sys.getrefcount(held.storage) <= 2
    return last and held.strides == laid_out(held.shape, (held,))


def _validate(node: Node, found: list[Tensor | None]) -> None:
    """engine.cpp, validate_outputs: sum over broadcast dimensions, then the input's own number format."""
    for index, edge in enumerate(node.edges):
        gradient = found[index] if index < len(found) else None
        if edge is None or gradient is None:
            if index < len(found):
                found[index] = None
            continue
        if gradient.shape != edge.shape:
            gradient = gradient.tape.empty(edge.shape, gradient.dtype)
        if gradient.dtype != edge.dtype:
            gradient = gradient.tape.empty(edge.shape, edge.dtype, laid_out(edge.shape, (gradient,)))
        found[index] = gradient


def _settle(ledger: Ledger, parameter: Parameter, gradient: Tensor) -> None:
    """accumulate_grad.h: a first gradient is kept as it is, a later one added into it."""
    if isinstance(parameter, Leaf):
        parameter.extra = gradient
        return
    if parameter.accumulates or parameter.storage is not None:
        return
    if gradient.storage.ledger is None:
        return
    ledger.becomes_gradient(gradient.storage.handle)
    parameter.storage = gradient.storage


def _seeded(roots: Iterable[tuple[Tensor, Tensor]]) -> tuple[list[Node], dict[int, list[Tensor | None]]]:
    """The nodes behind the roots, and each root's gradient waiting at its node."""
    starts: dict[int, Node] = {}
    buffers: dict[int, list[Tensor | None]] = {}
    for root, gradient in roots:
        if root.node is not None:
            starts[id(root.node)] = root.node
            buffers.setdefault(id(root.node), [None] * root.node.outputs)[root.slot] = gradient
    return list(starts.values()), buffers


def _dependencies(roots: Sequence[Node]) -> dict[int, int]:
    """How many gradients each node waits for."""
    waiting = {id(root): 0 for root in roots}
    stack = list(roots)
    while stack:
        for edge in stack.pop().edges:
            if edge is None or edge.node is None:
                continue
            key = id(edge.node)
            if key not in waiting:
                waiting[key] = 0
                stack.append(edge.node)
            waiting[key] += 1
    return waiting


def only(grads: Gradients) -> Tensor:
    """The gradient of an operation's one result."""
    gradient = grads[0]
    if gradient is None:
        raise ValueError("an operation with one result got no gradient")
    return gradient


def passed(node: Node, grads: Gradients) -> Gradients:
    """The backward of what changes no number: the gradient as it is."""
    return (grads[0],)
