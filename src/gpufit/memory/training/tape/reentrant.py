"""Checkpoints with reentry: the block runs without a graph, and on the way back once more, whole, with its own one.

Mirrors PyTorch 2.13, torch/utils/checkpoint.py, CheckpointFunction, which transformers' releases before 5.0 ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from gpufit.memory.training.tape.graph import Gradients, Leaf, Node, Result, Tape
from gpufit.memory.training.tape.tensor import Tensor


def checkpoint_reentrant(
    tape: Tape, block: Callable[..., Result], *inputs: Tensor | None, keeps_leaves: bool = False
) -> Result:
    """Run a block and keep its inputs alone; its backward runs it again on inputs cut off from the graph.

    ``keeps_leaves``: those inputs and their gradients live until the whole backward pass is over. FSDP1 does that to
    a unit of frozen weights: its hook waits for the inputs' gradients, and holds their AccumulateGrad nodes, which hold
    the inputs (torch 2.13, fsdp/_runtime_utils.py, _register_post_backward_reshard_only_hook; autograd/graph.py,
    register_multi_grad_hook). A hook on an input that has a history, as without reentry, holds no tensor.
    """
    node = tape.node("checkpoint", inputs, _run_again)
    with tape.without_gradients():
        outputs = block(*inputs)
    if node is not None:
        kept = tuple(None if given is None else given.alias() for given in inputs)
        node.extra = (block, kept, keeps_leaves)
        tape.attach(node, *_tensors(outputs))
    return outputs


def _run_again(node: Node, grads: Gradients) -> Gradients:
    """CheckpointFunction.backward: outputs stay named while their own graph is walked.

    An output that nobody used gets a gradient of zeros (autograd.Function materializes them unless told not to).
    """
    block, kept, keeps_leaves = node.extra
    tape = next(given.tape for given in kept if given is not None)
    ledger = tape.ledger
    outer, ledger.module = ledger.module, node.module
    before = ledger.temporaries_bytes
    inputs = [None if given is None else given.alias() for given in kept]
    leaves: list[Leaf | None] = []
    for index, given in enumerate(inputs):
        if given is not None and node.needs(index):
            tape.leaf(given, "checkpoint input")
        leaves.append(None if given is None else cast("Leaf | None", given.node))
    tape.recording = True
    outputs = _tensors(block(*inputs))
    tape.recording = False
    tape.leave_autocast()
    tape.recomputed_bytes = max(tape.recomputed_bytes, ledger.temporaries_bytes - before)
    del inputs
    roots = [
        (output, tape.empty(output.shape, output.dtype) if grad is None else grad)
        for output, grad in zip(outputs, grads, strict=True)
        if output.needs_grad
    ]
    tape.walk(roots)
    ledger.module = outer
    if keeps_leaves:
        tape.kept += [leaf for leaf in leaves if leaf is not None]
    return [None if leaf is None else leaf.extra for leaf in leaves]


def _tensors(outputs: object) -> list[Tensor]:
    return [each for each in (outputs if isinstance(outputs, tuple) else (outputs,)) if isinstance(each, Tensor)]
