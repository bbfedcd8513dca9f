"""CLIP, SigLIP and SigLIP 2: a picture tower and a text tower that meet in one space, or one of them alone.

Mirrors transformers 5.23.0, models/{clip,siglip,siglip2}/modeling_*.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.record import even_attention, finish, head_of, unknown_class
from gpufit.facts.families.towers import clip_tower, contrastive_blocks, read_sizes, siglip2_tower, siglip_tower

CLIP_TEXT: dict[str, Any] = {
    "hidden": 512, "heads": 8, "width": 2048, "vocab": 49408, "rows": 77, "activation": "quick_gelu",
}  # fmt: skip


def read_clip(config: Config) -> Architecture:
    """CLIPConfig -> CLIPModel."""
    model_class, head = head_of(config, "CLIP", "Model")
    if head != "Model":
        raise unknown_class(config, model_class)
    text, vision = _section(config, "text_config"), _section(config, "vision_config")
    shared = config.size("projection_dim", 512)
    t = Tensors()
    t.add("logit_scale", (), "parameter", "head")
    text_stack, vocab = _text_tower(t.under("text_model"), text, **CLIP_TEXT)
    vision_stack = clip_tower(t.under("vision_model"), vision)
    t.linear("visual_projection", vision_stack.hidden, shared, role="head")
    t.linear("text_projection", text_stack.hidden, shared, role="head")
    return finish(
        config, t, model_class=model_class, task="vision", form="clip", stacks=(vision_stack, text_stack),
        vocab_size=vocab, max_context_tokens=text.size("max_position_embeddings", 77),
    )  # fmt: skip


def read_clip_vision(config: Config) -> Architecture:
    """CLIPVisionConfig -> CLIPVisionModel, or with the projection into the common space."""
    model_class, head = head_of(config, "CLIPVision", "Model")
    if head not in ("Model", "ModelWithProjection"):
        raise unknown_class(config, model_class)
    t = Tensors()
    stack = clip_tower(t if head == "Model" else t.under("vision_model"), config)
    if head == "ModelWithProjection":
        t.linear("visual_projection", stack.hidden, config.size("projection_dim", 512), role="head")
    return finish(config, t, model_class=model_class, task="vision", form="clip", stacks=(stack,))


def read_clip_text(config: Config) -> Architecture:
    """CLIPTextConfig -> CLIPTextModel, or with the projection into the common space."""
    model_class, head = head_of(config, "CLIPText", "Model")
    if head not in ("Model", "ModelWithProjection"):
        raise unknown_class(config, model_class)
    t = Tensors()
    tower = t if head == "Model" else t.under("text_model")
    stack, vocab = _text_tower(tower, config, **CLIP_TEXT)
    if head == "ModelWithProjection":
        t.linear("text_projection", stack.hidden, config.size("projection_dim", 512), role="head")
    return finish(
        config, t, model_class=model_class, task="embedding", form="clip", stacks=(stack,), vocab_size=vocab,
        max_context_tokens=config.size("max_position_embeddings", 77),
    )  # fmt: skip


def read_siglip(config: Config) -> Architecture:
    """SiglipConfig -> SiglipModel."""
    return _siglip(config, "Siglip", siglip_tower)


def read_siglip2(config: Config) -> Architecture:
    """Siglip2Config -> Siglip2Model."""
    return _siglip(config, "Siglip2", siglip2_tower)


def _siglip(config: Config, family: str, tower: Callable[[Tensors, Config], Stack]) -> Architecture:
    model_class, head = head_of(config, family, "Model")
    if head != "Model":
        raise unknown_class(config, model_class)
    text, vision = _section(config, "text_config"), _section(config, "vision_config")
    t = Tensors()
    t.add("logit_scale", (1,), "parameter", "head")
    t.add("logit_bias", (1,), "parameter", "head")
    words = t.under("text_model")
    text_stack, vocab = _text_tower(words, text, hidden=768, heads=12, width=3072, vocab=32000, rows=64)
    shared = text.size("projection_size", text_stack.hidden)
    words.linear("head", text_stack.hidden, shared, bias=True, role="head")
    vision_stack = tower(t.under("vision_model"), vision)
    return finish(
        config, t, model_class=model_class, task="vision", form="clip", stacks=(vision_stack, text_stack),
        vocab_size=vocab, max_context_tokens=text.size("max_position_embeddings", 64),
    )  # fmt: skip


def read_siglip_vision(config: Config) -> Architecture:
    """SiglipVisionConfig -> SiglipVisionModel."""
    model_class, head = head_of(config, "SiglipVision", "Model")
    if head != "Model":
        raise unknown_class(config, model_class)
    t = Tensors()
    stack = siglip_tower(t, config)
    return finish(config, t, model_class=model_class, task="vision", form="clip", stacks=(stack,))


def _section(config: Config, key: str) -> Config:
    return config.section(key) or Config({}, path=f"{key}.", seen=config.seen)


def _text_tower(
    t: Tensors, config: Config, *, hidden: int, heads: int, width: int, vocab: int, rows: int, activation: str = ""
) -> tuple[Stack, int]:
    """Token and position tables, blocks, a last norm; the numbers are the family's defaults."""
    sizes = read_sizes(config, hidden=hidden, layers=12, heads=heads, width=width)
    stack = Stack(
        role="text", layers=sizes["layers"], hidden=sizes["hidden"], mlp_width=sizes["width"],
        attention=even_attention(config, sizes["hidden"], sizes["heads"]),
        activation=config.text("hidden_act", activation) if activation else "",
    )  # fmt: skip
    vocab, rows = config.size("vocab_size", vocab), config.size("max_position_embeddings", rows)
    t.embedding("embeddings.token_embedding", vocab, stack.hidden)
    t.embedding("embeddings.position_embedding", rows, stack.hidden)
    t.buffer("embeddings.position_ids", (1, rows), "int64", role="embedding")
    contrastive_blocks(t, stack, role="attention")
    t.norm("final_layer_norm", stack.hidden, bias=True)
    return stack, vocab
