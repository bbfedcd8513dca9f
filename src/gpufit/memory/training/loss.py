"""From the last hidden states to the loss: logits, their fp32 copy, log-softmax.

Mirrors transformers 5.23.0, loss/loss_utils.py.
"""

from __future__ import annotations

from gpufit.memory.training.modules import Part
from gpufit.memory.training.tape.ops import cast, from_result, scale, size_of
from gpufit.memory.training.tape.products import cross_entropy
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import view


def causal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """ForCausalLMLoss: fp32 logits, labels padded by one and shifted."""
    tape = logits.tape
    logits = cast(logits, "fp32")
    batch, tokens = labels.shape
    labels = tape.empty((batch, tokens + 1), "int64")
    shifted = tape.empty((batch, tokens), "int64")
    rows = view(logits, -1, logits.shape[-1])
    return cross_entropy(rows, view(shifted, -1))


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """CrossEntropyLoss over flattened logits in their own format, labels as they are."""
    return cross_entropy(view(logits, -1, logits.shape[-1]), view(labels, -1))


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """ForMaskedLMLoss: fp32 logits, labels as they are."""
    return token_loss(cast(logits, "fp32"), labels)


def language_model_head(part: Part, name: str, hidden: Tensor, labels: Tensor, *, capped: bool = False) -> Tensor:
    """``lm_head`` and its loss: what a causal model's forward does after the stack; Gemma 2 soft-caps the logits."""
    part.tape.ledger.enter("loss")
    logits = part.linear(name, hidden)
    part.model.logits_bytes = size_of(logits)
    if capped:
        logits = scale(logits)
        logits = from_result(logits, "tanh")
        logits = scale(logits)
    return part.run("loss", causal_loss, logits, labels)
