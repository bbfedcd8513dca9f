"""From the last hidden states to the loss: logits, their fp32 copy, log-softmax.

Mirrors transformers 5.23.0, loss/loss_utils.py.
"""

from __future__ import annotations

from gpufit.memory.training.modules import Part, autocast_input, autocast_weight
from gpufit.memory.training.tape.graph import Gradients, Node
from gpufit.memory.training.tape.ops import add, cast, from_result, scale, size_of
from gpufit.memory.training.tape.products import cross_entropy
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import contiguous, narrow, split, transpose, view
from gpufit.memory.versions import holds


def causal_loss(part: Part, logits: Tensor, labels: Tensor) -> Tensor:
    """ForCausalLMLoss: fp32 logits, labels padded by one and shifted; older releases shift a copy of the logits."""
    tape, plan = logits.tape, part.model.plan
    batch, tokens = labels.shape
    model_type = part.model.architecture.model_type
    if not holds("loss in the logits' format", plan.library_version, model_type):
        logits = cast(logits, "fp32")
    if holds("shifted logits", plan.library_version, model_type):
        shifted_logits = contiguous(narrow(logits, 1, tokens - 1))
        rows = view(shifted_logits, -1, logits.shape[-1])
        return _rows_loss(part, rows, tape.empty((batch * (tokens - 1),), "int64"))
    labels = tape.empty((batch, tokens + 1), "int64")
    shifted = tape.empty((batch, tokens), "int64")
    rows = view(logits, -1, logits.shape[-1])
    return _rows_loss(part, rows, view(shifted, -1))


def _rows_loss(part: Part, rows: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of rows: torch's, or a kernel that writes the gradient over the logits (fused_kernels)."""
    if part.model.plan.fused_kernels == "none":
        return cross_entropy(rows, labels)
    tape = rows.tape
    node = tape.node("fused_cross_entropy", (rows,), _over_the_logits)
    loss = tape.empty((rows.shape[0],), "fp32")
    tape.save(node, rows)
    tape.attach(node, loss)
    return loss


def _over_the_logits(node: Node, grads: Gradients) -> Gradients:
    g = grads[0]
    if g is None:
        raise ValueError("a loss got no gradient")
    return (g.tape.saved(node)[0],)


def fused_linear_loss(part: Part, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """The output layer and its loss in one: logits in chunks, each turned into gradients at once, none kept.

    Rows a chunk: the next power of two of rows / ceil(vocabulary / width), so that a chunk is about as large as the
    hidden states. Source: liger-kernel 0.8.5, ops/fused_linear_cross_entropy.py:103-105 (0.4.2:45-48 is the same, with
    an fp32 copy of each chunk that fms-acceleration still makes).
    """
    tape = hidden.tape
    width, inner = weight.shape
    rows = hidden.elements // inner
    chunk = 1 << max(0, (-(-rows // -(-width // inner)) - 1).bit_length())
    node = tape.node("fused_linear_cross_entropy", (hidden, weight), _made_forward)
    gradient = tape.empty(hidden.shape, hidden.dtype)
    made = [gradient]
    if node is not None and node.needs(1):
        made.append(tape.empty(weight.shape, weight.dtype))
    loss = tape.empty((rows,), "fp32")
    logits = tape.empty((min(chunk, rows), width), hidden.dtype)
    copy = tape.empty(logits.shape, "fp32") if part.model.plan.fused_kernels == "fms" else None
    del logits, copy
    tape.save(node, *made)
    tape.attach(node, loss)
    return loss


def _made_forward(node: Node, grads: Gradients) -> Gradients:
    g = grads[0]
    if g is None:
        raise ValueError("a loss got no gradient")
    return tuple(g.tape.saved(node))


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """CrossEntropyLoss over flattened logits in their own format, labels as they are."""
    return cross_entropy(view(logits, -1, logits.shape[-1]), view(labels, -1))


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """ForMaskedLMLoss: fp32 logits, labels as they are."""
    return token_loss(cast(logits, "fp32"), labels)


def language_model_head(
    part: Part, name: str, hidden: Tensor, labels: Tensor, *, capped: bool = False, scaled: bool = False
) -> Tensor:
    """``lm_head`` and its loss: what a causal model's forward does after the stack.

    Gemma 2 soft-caps the logits, Cohere and Granite multiply them by a number.
    """
    plan = part.model.plan
    part.tape.ledger.enter("loss")
    if plan.loss == "fused":
        weight = autocast_weight(part.tape, part.weight(f"{name}.weight"))
        return part.run("loss", fused_linear_loss, part, autocast_input(part.tape, hidden), weight, labels)
    if plan.loss == "chunked":
        return _chunked(part, name, hidden, labels)
    logits = part.linear(name, hidden)
    if plan.engine == "torchtune-0.2":
        return _transposed(part, cast(logits, "fp32"), labels)
    if holds("fp32 logits", plan.library_version, part.model.architecture.model_type):  # logits = logits.float()
        logits = cast(logits, "fp32")
    part.model.logits_bytes = size_of(logits)
    if scaled:
        logits = scale(logits)
    if capped:
        logits = scale(logits)
        logits = from_result(logits, "tanh")
        logits = scale(logits)
    return part.run("loss", causal_loss, part, logits, labels)


def _transposed(part: Part, logits: Tensor, labels: Tensor) -> Tensor:
    """torchtune up to 0.2: fp32 logits, a shifted copy that the recipe holds, cross-entropy over (batch, V, tokens).

    Source: torchtune 0.1.1, modules/transformer.py:210 and recipes/full_finetune_single_device.py:404-408; torch 2.13,
    ATen/native/cuda/SoftMax.cu, host_softmax: ``input_.contiguous()``.
    """
    tokens = labels.shape[1] - 1
    shifted = contiguous(narrow(logits, 1, tokens))
    del logits
    part.model.logits_bytes = size_of(shifted)
    columns = transpose(shifted, 1, 2)
    del shifted
    copy = columns.tape.empty(columns.shape, columns.dtype)
    loss = cross_entropy(columns, columns.tape.empty((labels.shape[0], tokens), "int64"))
    del copy
    return loss


CHUNKS = 8  # torchtune 0.6, modules/loss/ce_chunked_output_loss.py, num_output_chunks


def _chunked(part: Part, name: str, hidden: Tensor, labels: Tensor) -> Tensor:
    """Logits of an eighth of the tokens at a time, each with a loss of its own; the losses are summed."""
    batch, tokens = labels.shape
    each = -(-tokens // CHUNKS)
    sizes = tuple(min(each, tokens - start) for start in range(0, tokens, each))
    logits = [part.linear(name, piece) for piece in split(hidden, 1, sizes)]
    part.model.logits_bytes = sum(map(size_of, logits))
    total: Tensor | None = None
    for piece, size in zip(logits, sizes, strict=True):
        rows = view(cast(piece, "fp32"), -1, piece.shape[-1])
        loss = cross_entropy(rows, hidden.tape.empty((batch * size,), "int64"))
        del rows
        total = loss if total is None else add(total, loss)
    if total is None:
        raise ValueError("a sequence has at least one token")
    return total
