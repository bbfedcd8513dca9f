"""The text decoder inside a vision-language model: another family's reader, its tensors under another name.

transformers builds the inner model from ``text_config`` by that section's own ``model_type``, filling what the section
leaves out from that class's defaults; published sections rely on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpufit.errors import BadConfig, UnknownFamily
from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.dtypes import parse_dtype
from gpufit.facts.families import reader_for
from gpufit.facts.families.record import finish
from gpufit.facts.tensors import TensorGroup


def _defaults(
    hidden: int, width: int, layers: int, heads: int, vocab: int, positions: int, **more: Any
) -> Mapping[str, Any]:
    return {
        "hidden_size": hidden, "intermediate_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "vocab_size": vocab, "max_position_embeddings": positions, **more,
    }  # fmt: skip


_BUILT_UNDER_STATED_DTYPE = (".embed_scale", ".layer_scalar")

# model_type of a text section -> the reader that mirrors it, and its configuration class's defaults
TEXT_MODELS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", _defaults(4096, 11008, 32, 32, 32000, 2048)),
    "mistral": ("mistral", _defaults(4096, 14336, 32, 32, 32000, 131072)),
    "ministral3": ("ministral3", _defaults(4096, 14336, 34, 32, 131072, 262144)),
    "qwen2": ("qwen2", _defaults(4096, 22016, 32, 32, 151936, 32768)),
    "qwen3": ("qwen3", _defaults(4096, 22016, 32, 32, 151936, 32768)),
    "phi3": ("phi3", _defaults(3072, 8192, 32, 32, 32064, 4096)),
    "granite": ("granite", _defaults(4096, 11008, 32, 32, 32000, 2048)),
    "gemma": ("gemma", _defaults(3072, 24576, 28, 16, 256000, 8192)),
    "gemma2": ("gemma2", _defaults(2304, 9216, 26, 8, 256000, 8192)),
    "gemma3_text": ("gemma3_text", _defaults(2304, 9216, 26, 8, 262208, 131072)),
    "qwen2_vl_text": (
        "qwen2", _defaults(8192, 29568, 80, 64, 152064, 32768, max_window_layers=80, num_key_value_heads=8)
    ),
    "qwen2_5_vl_text": (
        "qwen2", _defaults(8192, 29568, 80, 64, 152064, 32768, max_window_layers=80, num_key_value_heads=8)
    ),
    "qwen3_vl_text": ("qwen3", _defaults(4096, 22016, 32, 32, 151936, 128000)),
    "qwen3_vl_moe_text": ("qwen3_moe", _defaults(2048, 5632, 24, 16, 151936, 128000)),
    "qwen3_5_text": ("qwen3_5_text", _defaults(4096, 12288, 32, 16, 248320, 32768)),
    "qwen3_5_moe_text": (
        "qwen3_5_moe_text",
        {
            "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16, "vocab_size": 248320,
            "max_position_embeddings": 32768,
        },
    ),
    "llama4_text": (
        "llama4_text", _defaults(5120, 8192, 48, 40, 202048, 131072)
    ),
    "gemma4_text": ("gemma4_text", {}),
    "deepseek_v3": ("deepseek_v3", {}),
    "kimi_k2": ("deepseek_v3", {}),
}  # fmt: skip


def nest_text(t: Tensors, config: Config, prefix: str, *, model_type: str, flat: bool = False) -> Architecture:
    """Write the text decoder's tensors, all but its output head, and return the decoder's own record.

    ``prefix`` replaces the decoder's ``model``; ``model_type`` is what the section is when it does not say; ``flat``
    tells that older files state the text model's keys beside the vision section.
    """
    section = config.section("text_config")
    if section is None and not flat:
        raise BadConfig("config has no text_config", hint="the model's config.json must state it")
    kind = section.text("model_type", model_type) if section else model_type
    known = TEXT_MODELS.get(kind)
    if known is None:
        raise UnknownFamily(f"{config.text('model_type')} over {kind[:40]}")
    name, defaults = known
    without = ("architectures", "quantization_config")
    inner = (section or config).over({**defaults, "model_type": name}, without=without)
    decoder = reader_for(name)(inner)
    stated = inner.text("dtype", inner.text("torch_dtype", None)) if section else None
    t.groups.extend(moved for group in decoder.tensors.groups if (moved := _move(group, prefix, stated)))
    return decoder


def _move(group: TensorGroup, prefix: str, stated: str | None) -> TensorGroup | None:
    """The group under ``prefix`` instead of ``model``; None for the output head.

    The inner model is built under the ``stated`` dtype of its section (AutoModel.from_config), and so are the buffers
    that its constructor fills; rotary tables are fp32 in any case.
    """
    owner, _, rest = group.name.partition(".")
    if owner != "model":
        return None
    dtype = parse_dtype(stated) if stated and rest.endswith(_BUILT_UNDER_STATED_DTYPE) else group.dtype
    tied = f"{prefix}.{group.tied_to.removeprefix('model.')}" if group.tied_to else None
    return TensorGroup(
        name=f"{prefix}.{rest}", shape=group.shape, module=group.module, role=group.role, indices=group.indices,
        dtype=dtype, tied_to=tied, saved=group.saved,
    )  # fmt: skip


def output_head(t: Tensors, decoder: Architecture, *, embedding: str | None, name: str = "lm_head") -> str:
    """The vision-language model's own head, sharing ``embedding`` where that is given. Returns its weight's name."""
    t.linear(name, decoder.stacks[0].hidden, decoder.vocab_size, role="output", tied_to=embedding)
    return f"{name}.weight"


def tied_embeddings(config: Config, default: bool, *, decoder: Architecture | None = None) -> bool:
    """The outer ``tie_word_embeddings`` decides; in LLaVA's line the ``decoder``'s own answer counts as well."""
    return bool(config.flag("tie_word_embeddings", default)) or (decoder is not None and _ties_its_head(decoder))


def _ties_its_head(decoder: Architecture) -> bool:
    inventory = decoder.tensors
    return any(group.tied_to for group in inventory.groups if group.name == inventory.output)


def finish_nested(
    config: Config, t: Tensors, decoder: Architecture, *, model_class: str, towers: tuple[Stack, ...], output: str
) -> Architecture:
    """The whole model's record: the decoder's form, cache and limits, the towers beside its stack."""
    return finish(
        config, t, model_class=model_class, task="vision-language", form=decoder.form,
        stacks=(*decoder.stacks, *towers), vocab_size=decoder.vocab_size, output=output, cache=decoder.cache,
        max_context_tokens=decoder.max_context_tokens, dtype=decoder.dtype, keep_fp32=decoder.tensors.keep_fp32,
        keep_fp32_strict=decoder.tensors.keep_fp32_strict, notes=decoder.notes,
    )  # fmt: skip
