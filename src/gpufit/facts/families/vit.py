"""ViT and DINOv2: a picture cut into patches, a class token, an encoder.

Mirrors transformers 5.23.0, models/vit/modeling_vit.py and models/dinov2/modeling_dinov2.py.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.record import finish, head_of, labels, unknown_class
from gpufit.facts.families.towers import dense, mlp_width, norm, patch_convolution, read_sizes, square_patches, tower
from gpufit.records import replace


def read(config: Config) -> Architecture:
    """ViTConfig -> ViTModel or ViTForImageClassification."""
    model_class, head = head_of(config, "ViT", "ForImageClassification")
    if head not in ("Model", "ForImageClassification"):
        raise unknown_class(config, model_class)
    positions = square_patches(config, 224, 16) + 1
    sizes = read_sizes(config, hidden=768, layers=12, heads=12, width=3072)
    stack = tower(config, **sizes, positions=positions)
    hidden, width = stack.hidden, stack.mlp_width

    t = Tensors()
    base = t if head == "Model" else t.under("vit")
    base.add("embeddings.cls_token", (1, 1, hidden), "parameter", "vision")
    base.add("embeddings.position_embeddings", (1, positions, hidden), "parameter", "vision")
    patch_convolution(base, "embeddings.patch_embeddings.projection", config, hidden, 16, bias=True)
    block = base.blocks("layers", stack.layers)
    _attention(block, config, hidden)
    dense(block, "mlp.fc1", hidden, width)
    dense(block, "mlp.fc2", width, hidden)
    norm(block, "layernorm_before", hidden)
    norm(block, "layernorm_after", hidden)
    norm(base, "layernorm", hidden)
    if head == "Model":
        dense(base, "pooler.dense", hidden, config.size("pooler_output_size", hidden))
    else:
        t.linear("classifier", hidden, labels(config), bias=True, role="head")
    return finish(config, t, model_class=model_class, task="vision", form="vit", stacks=(stack,))


def read_dinov2(config: Config) -> Architecture:
    """Dinov2Config -> Dinov2Model or Dinov2ForImageClassification (class token and mean patch side by side)."""
    model_class, head = head_of(config, "Dinov2", "Model")
    if head not in ("Model", "ForImageClassification"):
        raise unknown_class(config, model_class)
    positions = square_patches(config, 224, 14) + 1
    hidden = config.size("hidden_size", 768)
    gated = config.flag("use_swiglu_ffn", False)
    width = mlp_width(config, hidden)
    if gated:  # two thirds, rounded up to a multiple of 8
        width = (int(width * 2 / 3) + 7) // 8 * 8
    layers, heads = config.layers("num_hidden_layers", 12), config.layers("num_attention_heads", 12)
    stack = tower(config, hidden=hidden, layers=layers, heads=heads, width=width, positions=positions)

    t = Tensors()
    base = t if head == "Model" else t.under("dinov2")
    base.add("embeddings.cls_token", (1, 1, hidden), "parameter", "vision")
    if config.flag("use_mask_token", True):
        base.add("embeddings.mask_token", (1, hidden), "parameter", "vision")
    base.add("embeddings.position_embeddings", (1, positions, hidden), "parameter", "vision")
    patch_convolution(base, "embeddings.patch_embeddings.projection", config, hidden, 14, bias=True)
    block = base.blocks("encoder.layer", layers)
    norm(block, "norm1", hidden)
    _attention(block, config, hidden)
    block.add("layer_scale1.lambda1", (hidden,), "parameter", "vision")
    norm(block, "norm2", hidden)
    for name in ("gate_proj", "up_proj") if gated else ("fc1",):
        dense(block, f"mlp.{name}", hidden, width)
    dense(block, "mlp.down_proj" if gated else "mlp.fc2", width, hidden)
    block.add("layer_scale2.lambda1", (hidden,), "parameter", "vision")
    norm(base, "layernorm", hidden)
    if head == "ForImageClassification":
        t.linear("classifier", 2 * hidden, labels(config), bias=True, role="head")
    return finish(config, t, model_class=model_class, task="vision", form="vit", stacks=(replace(stack, gated=gated),))


def _attention(block: Tensors, config: Config, hidden: int) -> None:
    bias = config.flag("qkv_bias", True)
    for name in ("q_proj", "k_proj", "v_proj"):
        dense(block, f"attention.{name}", hidden, hidden, bias=bias)
    dense(block, "attention.o_proj", hidden, hidden)
