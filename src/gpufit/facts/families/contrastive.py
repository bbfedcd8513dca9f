"""CLIP and SigLIP: a picture tower and a text tower that meet in one space.

Mirrors transformers 5.23.0, models/clip/modeling_clip.py and models/siglip/modeling_siglip.py.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.record import even_attention, finish, head_of, unknown_class
from gpufit.facts.families.towers import clip_tower, contrastive_blocks, read_sizes, siglip_tower


def read_clip(config: Config) -> Architecture:
    """CLIPConfig -> CLIPModel."""
    model_class, head = head_of(config, "CLIP", "Model")
    if head != "Model":
        raise unknown_class(config, model_class)
    text, vision = _section(config, "text_config"), _section(config, "vision_config")
    shared = config.size("projection_dim", 512)
    t = Tensors()
    t.add("logit_scale", (), "parameter", "head")
    text_stack, vocab = _text_tower(t.under("text_model"), text, hidden=512, heads=8, width=2048, vocab=49408, rows=77)
    vision_stack = clip_tower(t.under("vision_model"), vision)
    t.linear("visual_projection", vision_stack.hidden, shared, role="head")
    t.linear("text_projection", text_stack.hidden, shared, role="head")
    return finish(
        config, t, model_class=model_class, task="vision", form="clip", stacks=(vision_stack, text_stack),
        vocab_size=vocab, max_context_tokens=text.size("max_position_embeddings", 77),
    )  # fmt: skip


def read_siglip(config: Config) -> Architecture:
    """SiglipConfig -> SiglipModel."""
    model_class, head = head_of(config, "Siglip", "Model")
    if head != "Model":
        raise unknown_class(config, model_class)
    text, vision = _section(config, "text_config"), _section(config, "vision_config")
    t = Tensors()
    t.add("logit_scale", (1,), "parameter", "head")
    t.add("logit_bias", (1,), "parameter", "head")
    tower = t.under("text_model")
    text_stack, vocab = _text_tower(tower, text, hidden=768, heads=12, width=3072, vocab=32000, rows=64)
    tower.linear(
        "head", text_stack.hidden, text.size("projection_size", text_stack.hidden), bias=True, role="head"
    )  # fmt: skip
    vision_stack = siglip_tower(t.under("vision_model"), vision)
    return finish(
        config, t, model_class=model_class, task="vision", form="clip", stacks=(vision_stack, text_stack),
        vocab_size=vocab, max_context_tokens=text.size("max_position_embeddings", 64),
    )  # fmt: skip


def _section(config: Config, key: str) -> Config:
    return config.section(key) or Config({}, path=f"{key}.", seen=config.seen)


def _text_tower(
    t: Tensors, config: Config, *, hidden: int, heads: int, width: int, vocab: int, rows: int
) -> tuple[Stack, int]:
    """Token and position tables, blocks, a last norm; the numbers are the family's defaults."""
    sizes = read_sizes(config, hidden=hidden, layers=12, heads=heads, width=width)
    stack = Stack(
        role="text", layers=sizes["layers"], hidden=sizes["hidden"], mlp_width=sizes["width"],
        attention=even_attention(config, sizes["hidden"], sizes["heads"]),
    )  # fmt: skip
    vocab, rows = config.size("vocab_size", vocab), config.size("max_position_embeddings", rows)
    t.embedding("embeddings.token_embedding", vocab, stack.hidden)
    t.embedding("embeddings.position_embedding", rows, stack.hidden)
    t.buffer("embeddings.position_ids", (1, rows), "int64", role="embedding")
    contrastive_blocks(t, stack, role="attention")
    t.norm("final_layer_norm", stack.hidden, bias=True)
    return stack, vocab
