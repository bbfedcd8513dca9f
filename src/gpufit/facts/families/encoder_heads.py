"""What stands on top of an encoder: masked-language heads and classifiers, and the record they all end in.

Mirrors the heads of transformers 5.23.0, which differ between families only in their names.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.record import finish, labels, unknown_class

TOKEN_HEADS = {"ForTokenClassification": "classifier", "ForQuestionAnswering": "qa_outputs"}
"""Heads of one linear layer over every token."""


def dense(t: Tensors, name: str, inputs: int, outputs: int) -> None:
    """A linear layer of a head, with its bias."""
    t.linear(name, inputs, outputs, bias=True, role="head")


def bert_lm_head(
    t: Tensors, name: str, hidden: int, width: int, vocab: int, *, tied_to: str | None, norm: str = "LayerNorm"
) -> str:
    """BertOnlyMLMHead: transform, decoder, and a bias that the decoder shares. Returns the output weight's name."""
    head = t.under(f"{name}.predictions")
    head.add("bias", (vocab,), "parameter", "head")
    dense(head, "transform.dense", hidden, width)
    head.norm(f"transform.{norm}", width, bias=True, role="head")
    _decoder(head, f"{name}.predictions", width, vocab, tied_to)
    return f"{name}.predictions.decoder.weight"


def roberta_lm_head(t: Tensors, hidden: int, vocab: int, *, tied_to: str | None) -> str:
    """RobertaLMHead, MPNetLMHead: dense, layer norm, decoder with a shared bias."""
    head = t.under("lm_head")
    head.add("bias", (vocab,), "parameter", "head")
    dense(head, "dense", hidden, hidden)
    head.norm("layer_norm", hidden, bias=True, role="head")
    _decoder(head, "lm_head", hidden, vocab, tied_to)
    return "lm_head.decoder.weight"


def _decoder(head: Tensors, prefix: str, width: int, vocab: int, tied_to: str | None) -> None:
    """The decoder's weight is the word embedding and its bias the head's own, where embeddings are tied at all."""
    head.linear("decoder", width, vocab, role="output", tied_to=tied_to)
    bias = f"{prefix}.bias" if tied_to else None
    head.add("decoder.bias", (vocab,), "linear", "output", tied_to=bias)


def classification_head(t: Tensors, hidden: int, outputs: int, name: str = "classifier") -> None:
    """RobertaClassificationHead: dense and projection over the first token."""
    dense(t, f"{name}.dense", hidden, hidden)
    dense(t, f"{name}.out_proj", hidden, outputs)


def token_head(t: Tensors, config: Config, head: str, hidden: int, model_class: str) -> None:
    """One linear layer over every token; UnknownFamily where ``head`` is none of them."""
    if head not in TOKEN_HEADS:
        raise unknown_class(config, model_class)
    dense(t, TOKEN_HEADS[head], hidden, labels(config))


def encoder(
    config: Config,
    t: Tensors,
    *,
    model_class: str,
    stack: Stack,
    vocab: int,
    max_context: int | None,
    form: str = "bert",
    output: str | None = None,
) -> Architecture:
    """An encoder's record: it caches nothing; the bare model is what embedding checkpoints are saved from."""
    return finish(
        config, t, model_class=model_class, task="embedding" if model_class.endswith("Model") else "encoder",
        form=form, stacks=(stack,), vocab_size=vocab, output=output, max_context_tokens=max_context,
    )  # fmt: skip
