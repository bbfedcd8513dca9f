"""Image encoders, alone or inside a vision-language model: CLIP, SigLIP, Pixtral, InternViT.

Mirrors transformers 5.23.0, models/{clip,siglip,siglip2,pixtral,internvl}/modeling_*.py. Each ``*_tower`` writes a
tower's tensors and returns its stack, whose ``positions`` are the tokens of one image at the configured size.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.record import even_attention
from gpufit.facts.tensors import Role
from gpufit.records import replace


def dense(t: Tensors, name: str, inputs: int, outputs: int, *, bias: bool = True) -> None:
    """A linear layer of a tower."""
    t.linear(name, inputs, outputs, bias=bias, role="vision")


def norm(t: Tensors, name: str, width: int, *, bias: bool = True) -> None:
    """A LayerNorm of a tower, or an RMSNorm without ``bias``."""
    t.norm(name, width, bias=bias, role="vision")


def square_patches(config: Config, image: int, patch: int) -> int:
    """Patches of a square image; the arguments are the family's defaults.

    >>> square_patches(Config({"image_size": 336}), 224, 14)
    576
    """
    size, side = square_side(config, "image_size", image), square_side(config, "patch_size", patch)
    if size < side:
        raise BadConfig(f"config key {config.path}image_size = {size} is smaller than a patch of {side}")
    return int(size // side) ** 2


def square_side(config: Config, key: str, default: int) -> int:
    """A length in pixels, or the pair [height, width] of a square.

    >>> square_side(Config({"image_size": [448, 448]}), "image_size", 224)
    448
    """
    if not isinstance(config.raw(key), (list, tuple)):
        return int(config.size(key, default))
    pair = config.list(key)
    if len(pair) != 2 or pair[0] != pair[1]:
        raise BadConfig(f"config key {config.path}{key} is not a square")
    return int(Config({key: pair[0]}, path=config.path).size(key))


def mlp_width(config: Config, hidden: int) -> int:
    """The MLP's width where the configuration states it as a multiple of the hidden size, 4 by default.

    >>> mlp_width(Config({"mlp_ratio": 4.3637}), 1152)
    5026
    """
    ratio = config.number("mlp_ratio", 4)
    if not 1 / hidden <= ratio <= 1024:
        raise BadConfig(f"config key {config.path}mlp_ratio = {ratio} is not a multiple of the width")
    return int(hidden * ratio)


def patch_convolution(t: Tensors, name: str, config: Config, hidden: int, patch: int, *, bias: bool) -> None:
    """The convolution that cuts an image into patches: (hidden, channels, patch, patch)."""
    side = square_side(config, "patch_size", patch)
    t.add(f"{name}.weight", (hidden, config.size("num_channels", 3), side, side), "conv", "vision")
    if bias:
        t.add(f"{name}.bias", (hidden,), "conv", "vision")


def tower(config: Config, *, hidden: int, layers: int, heads: int, width: int, positions: int) -> Stack:
    """A tower's stack: every head its own keys."""
    return Stack(
        role="vision", layers=layers, hidden=hidden, mlp_width=width, positions=positions,
        attention=even_attention(config, hidden, heads),
    )  # fmt: skip


def contrastive_blocks(t: Tensors, stack: Stack, role: Role = "vision") -> None:
    """The blocks that CLIP and SigLIP use for pictures and for text."""
    hidden = stack.hidden
    block = t.blocks("encoder.layers", stack.layers)
    mlp: Role = "vision" if role == "vision" else "mlp"
    for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
        block.linear(f"self_attn.{name}", hidden, hidden, bias=True, role=role)
    block.norm("layer_norm1", hidden, bias=True, role="vision" if role == "vision" else "norm")
    block.linear("mlp.fc1", hidden, stack.mlp_width, bias=True, role=mlp)
    block.linear("mlp.fc2", stack.mlp_width, hidden, bias=True, role=mlp)
    block.norm("layer_norm2", hidden, bias=True, role="vision" if role == "vision" else "norm")


def read_sizes(config: Config, *, hidden: int, layers: int, heads: int, width: int) -> dict[str, int]:
    """The four dimensions that these configurations name alike, with the family's defaults."""
    return {
        "hidden": config.size("hidden_size", hidden),
        "layers": config.layers("num_hidden_layers", layers),
        "heads": config.layers("num_attention_heads", heads),
        "width": config.size("intermediate_size", width),
    }


def clip_tower(t: Tensors, config: Config) -> Stack:
    """CLIPVisionModel: a class token before the patches."""
    positions = square_patches(config, 224, 32) + 1
    stack = tower(
        config, **read_sizes(config, hidden=768, layers=12, heads=12, width=3072), positions=positions
    )  # fmt: skip
    stack = replace(stack, activation=config.text("hidden_act", "quick_gelu"))
    hidden = stack.hidden
    t.add("embeddings.class_embedding", (hidden,), "parameter", "vision")
    patch_convolution(t, "embeddings.patch_embedding", config, hidden, 32, bias=False)
    t.embedding("embeddings.position_embedding", positions, hidden, role="vision")
    t.buffer("embeddings.position_ids", (1, positions), "int64", role="vision")
    norm(t, "pre_layrnorm", hidden)  # the library's own spelling
    contrastive_blocks(t, stack)
    norm(t, "post_layernorm", hidden)
    return stack


def siglip_tower(t: Tensors, config: Config) -> Stack:
    """SiglipVisionModel: no class token; a pooling head unless ``vision_use_head`` is false."""
    positions = square_patches(config, 224, 16)
    stack = tower(
        config, **read_sizes(config, hidden=768, layers=12, heads=12, width=3072), positions=positions
    )  # fmt: skip
    hidden = stack.hidden
    patch_convolution(t, "embeddings.patch_embedding", config, hidden, 16, bias=True)
    t.embedding("embeddings.position_embedding", positions, hidden, role="vision")
    t.buffer("embeddings.position_ids", (1, positions), "int64", role="vision")
    _siglip_rest(t, config, stack)
    return stack


def siglip2_tower(t: Tensors, config: Config) -> Stack:
    """Siglip2VisionModel: patches come flattened, in any arrangement of at most ``num_patches``."""
    positions = config.size("num_patches", 256)
    stack = tower(
        config, **read_sizes(config, hidden=768, layers=12, heads=12, width=3072), positions=positions
    )  # fmt: skip
    pixels = config.size("num_channels", 3) * config.size("patch_size", 16) ** 2
    dense(t, "embeddings.patch_embedding", pixels, stack.hidden)
    t.embedding("embeddings.position_embedding", positions, stack.hidden, role="vision")
    _siglip_rest(t, config, stack)
    return stack


def _siglip_rest(t: Tensors, config: Config, stack: Stack) -> None:
    """Blocks, last norm, and the head that pools by attention from one learned probe."""
    hidden = stack.hidden
    contrastive_blocks(t, stack)
    norm(t, "post_layernorm", hidden)
    if config.flag("vision_use_head", True):
        head = t.under("head")
        head.add("probe", (1, 1, hidden), "parameter", "vision")
        head.add("attention.in_proj_weight", (3 * hidden, hidden), "parameter", "vision")
        head.add("attention.in_proj_bias", (3 * hidden,), "parameter", "vision")
        # torch's MultiheadAttention keeps its output in a class of its own that no quantizer touches
        head.add("attention.out_proj.weight", (hidden, hidden), "parameter", "vision")
        head.add("attention.out_proj.bias", (hidden,), "parameter", "vision")
        norm(head, "layernorm", hidden)
        dense(head, "mlp.fc1", hidden, stack.mlp_width)
        dense(head, "mlp.fc2", stack.mlp_width, hidden)


def pixtral_tower(t: Tensors, config: Config) -> Stack:
    """PixtralVisionModel: rotary in two dimensions, gated MLP, images of any shape up to ``image_size``."""
    sizes = read_sizes(config, hidden=1024, layers=24, heads=16, width=4096)
    stack = replace(tower(config, **sizes, positions=square_patches(config, 1024, 16)), gated=True)
    hidden, width = stack.hidden, stack.mlp_width
    head_dim = config.size("head_dim", hidden // sizes["heads"])
    patch_convolution(t, "patch_conv", config, hidden, 16, bias=False)
    norm(t, "ln_pre", hidden, bias=False)
    block = t.blocks("transformer.layers", stack.layers)
    norm(block, "attention_norm", hidden, bias=False)
    dense(block, "feed_forward.gate_proj", hidden, width, bias=False)
    dense(block, "feed_forward.up_proj", hidden, width, bias=False)
    dense(block, "feed_forward.down_proj", width, hidden, bias=False)
    for name in ("k_proj", "v_proj", "q_proj", "o_proj"):
        dense(block, f"attention.{name}", hidden, hidden, bias=False)
    norm(block, "ffn_norm", hidden, bias=False)
    t.buffer("patch_positional_embedding.inv_freq", (head_dim // 2,), "fp32", role="vision")
    t.buffer("patch_positional_embedding.original_inv_freq", (head_dim // 2,), "fp32", role="vision")
    return stack


def internvit_tower(t: Tensors, config: Config) -> Stack:
    """InternVLVisionModel: a class token, scaled residuals, no last norm where patches are averaged."""
    patches = square_patches(config, 448, 14)
    sizes = read_sizes(config, hidden=1024, layers=24, heads=16, width=4096)
    stack = tower(config, **sizes, positions=patches + 1)
    hidden, width = stack.hidden, stack.mlp_width
    bias, norm_bias = config.flag("attention_bias", False), config.text("norm_type", "layer_norm") == "layer_norm"
    t.add("embeddings.cls_token", (1, 1, hidden), "parameter", "vision")
    if config.flag("use_mask_token", False):
        t.add("embeddings.mask_token", (1, 1, hidden), "parameter", "vision")
    if config.flag("use_absolute_position_embeddings", True):
        t.add("embeddings.position_embeddings", (1, patches + 1, hidden), "parameter", "vision")
    patch_convolution(t, "embeddings.patch_embeddings.projection", config, hidden, 14, bias=True)
    block = t.blocks("encoder.layer", stack.layers)
    block.add("lambda_1", (hidden,), "parameter", "vision")
    block.add("lambda_2", (hidden,), "parameter", "vision")
    for name in ("q_proj", "k_proj", "v_proj"):
        dense(block, f"attention.{name}", hidden, hidden, bias=bias)
    dense(block, "attention.projection_layer", hidden, hidden)
    if config.flag("use_qk_norm", False):
        norm(block, "attention.q_norm", hidden, bias=False)
        norm(block, "attention.k_norm", hidden, bias=False)
    dense(block, "mlp.fc1", hidden, width)
    dense(block, "mlp.fc2", width, hidden)
    norm(block, "layernorm_before", hidden, bias=norm_bias)
    norm(block, "layernorm_after", hidden, bias=norm_bias)
    if not config.flag("use_mean_pooling", True):
        norm(t, "layernorm", hidden)
    return stack
