"""What every reader ends with, and the questions that every family answers alike."""

from __future__ import annotations

from collections.abc import Mapping

from gpufit.errors import BadConfig, UnknownFamily
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Stack, Task
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.dropout import read_dropout
from gpufit.facts.tensors import TensorInventory


def finish(
    config: Config,
    tensors: Tensors,
    *,
    model_class: str,
    task: Task,
    form: str,
    stacks: tuple[Stack, ...],
    vocab_size: int = 0,
    output: str | None = None,
    cache: tuple[CacheLayers, ...] = (),
    max_context_tokens: int | None = None,
    dtype: str | None = None,
    keep_fp32: tuple[str, ...] = (),
    keep_fp32_strict: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Architecture:
    """Close the record: the family's facts, and what every config.json says in the same words."""
    quantization = config.section("quantization_config")
    return Architecture(
        model_type=config.text("model_type"),
        model_class=model_class,
        task=task,
        form=form,
        stacks=stacks,
        vocab_size=vocab_size,
        tensors=TensorInventory(
            groups=tuple(tensors.groups), output=output, keep_fp32=keep_fp32, keep_fp32_strict=keep_fp32_strict
        ),
        cache=cache,
        max_context_tokens=max_context_tokens,
        dtype=config.text("dtype", config.text("torch_dtype", None)) or dtype,
        dropout=read_dropout(config),
        config_quantization=quantization.text("quant_method", "bitsandbytes") if quantization else None,
        provenance=tuple((key, str(value)) for key, value in config.seen.items()),
        notes=notes,
    )


def head_of(config: Config, family: str, default: str) -> tuple[str, str]:
    """The model's class and what follows the family's name in it: ("BertForMaskedLM", "ForMaskedLM").

    Raises UnknownFamily where the class is not the family's own (code shipped beside a checkpoint).
    """
    model_class = config.model_class(family + default)
    if not model_class.startswith(family):
        raise unknown_class(config, model_class)
    return model_class, model_class[len(family) :]


def unknown_class(config: Config, model_class: str) -> UnknownFamily:
    """The error for a class that the family's reader does not mirror."""
    return UnknownFamily(
        f"{config.text('model_type')} ({model_class[:80]})",
        hint="this class has no reader; --via-transformers builds it",
    )


def labels(config: Config, default: int = 2) -> int:
    """How many classes a classification head has: the size of ``id2label``, else ``num_labels``.

    Source: transformers 5.23.0, configuration_utils.py, PreTrainedConfig.num_labels.

    >>> labels(Config({"id2label": {"0": "LABEL_0"}}))
    1
    """
    names = config.raw("id2label")
    if names is None:
        return int(config.size("num_labels", default))
    if not isinstance(names, Mapping) or not names:
        raise BadConfig(f"config key {config.path}id2label is not a table of labels")
    return len(names)


def even_attention(config: Config, hidden: int, heads: int) -> Attention:
    """Attention whose heads share the width evenly; BadConfig where they cannot."""
    if hidden % heads:
        raise BadConfig(f"{config.path or 'config: '}width {hidden} is not a multiple of its {heads} attention heads")
    return Attention(heads=heads, kv_heads=heads, head_dim=hidden // heads, value_dim=hidden // heads)
