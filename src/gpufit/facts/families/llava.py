"""Vision-language models of LLaVA's plan: a picture tower, a projector, another family's decoder.

Mirrors transformers 5.23.0, models/{llava,llava_next,llava_onevision,paligemma,gemma3,mistral3,internvl}/modeling_*.py.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

from gpufit.errors import BadConfig, UnknownFamily
from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.nesting import finish_nested, nest_text, output_head, tied_embeddings
from gpufit.facts.families.record import head_of, unknown_class
from gpufit.facts.families.towers import clip_tower, dense, internvit_tower, norm, pixtral_tower, siglip_tower
from gpufit.records import record, replace

TOWERS: dict[str, Callable[[Tensors, Config], Stack]] = {
    "clip_vision_model": clip_tower,
    "siglip_vision_model": siglip_tower,
    "pixtral": pixtral_tower,
    "internvl_vision": internvit_tower,
}

Projector = Callable[[Tensors, Config, Stack, int], None]
"""Writes what maps the tower's output (its stack) to the decoder's width."""


@record
class Layout:
    """What tells one family from another. ``newline`` is a learned token that ends each row of a tiled picture."""

    family: str
    text: str
    tower: str
    projector: Projector
    tied: bool = False
    text_ties_too: bool = False
    newline: bool = False
    picture_tokens: Callable[[Config, Stack], int] | None = None  # where every picture becomes equally many


def reader(layout: Layout) -> Callable[[Config], Architecture]:
    """The reader of one family."""

    def read(config: Config) -> Architecture:
        return _read(config, layout)

    return read


def _read(config: Config, layout: Layout) -> Architecture:
    model_class, head = head_of(config, layout.family, "ForConditionalGeneration")
    if head != "ForConditionalGeneration":
        raise unknown_class(config, model_class)
    vision = config.section("vision_config")
    if vision is None:
        raise BadConfig("config has no vision_config", hint="the model's config.json must state it")
    kind = vision.text("model_type", layout.tower)
    if kind not in TOWERS:
        raise UnknownFamily(f"{config.text('model_type')} with a {kind[:40]} tower")

    text = Tensors()
    decoder = nest_text(text, config, "model.language_model", model_type=layout.text)
    hidden = decoder.stacks[0].hidden
    t = Tensors()
    if layout.newline:
        t.add("model.image_newline", (hidden,), "parameter", "vision")
    tower = TOWERS[kind](t.under("model.vision_tower"), vision)
    if layout.picture_tokens is not None:
        tower = replace(tower, picture_tokens=layout.picture_tokens(config, tower))
    layout.projector(t.under("model.multi_modal_projector"), config, tower, hidden)
    t.groups.extend(text.groups)
    tied = tied_embeddings(config, layout.tied, decoder=decoder if layout.text_ties_too else None)
    output = output_head(t, decoder, embedding="model.language_model.embed_tokens.weight" if tied else None)
    return finish_nested(config, t, decoder, model_class=model_class, towers=(tower,), output=output)


def feature_layers(config: Config) -> int:
    """How many of the tower's layers the projector reads: ``vision_feature_layer`` is one index or a list."""
    if isinstance(config.raw("vision_feature_layer"), list):
        return max(len(config.list("vision_feature_layer")), 1)
    return 1


def _two_layers(t: Tensors, config: Config, tower: Stack, hidden: int) -> None:
    """LlavaMultiModalProjector."""
    bias = config.flag("multimodal_projector_bias", True)
    dense(t, "linear_1", tower.hidden * feature_layers(config), hidden, bias=bias)
    dense(t, "linear_2", hidden, hidden, bias=bias)


def _one_layer(t: Tensors, config: Config, tower: Stack, hidden: int) -> None:
    """PaliGemmaMultiModalProjector."""
    dense(t, "linear", tower.hidden, config.size("projection_dim", 2048))


def _pooled(t: Tensors, config: Config, tower: Stack, hidden: int) -> None:
    """Gemma3MultiModalProjector: average pooling, then a bare matrix (inputs first)."""
    t.add("mm_input_projection_weight", (tower.hidden, hidden), "parameter", "vision")
    norm(t, "mm_soft_emb_norm", tower.hidden, bias=False)


def _merged(t: Tensors, config: Config, tower: Stack, hidden: int) -> None:
    """Mistral3MultiModalProjector: squares of patches become one token."""
    side = config.size("spatial_merge_size", 2)
    bias = config.flag("multimodal_projector_bias", False)
    norm(t, "norm", tower.hidden, bias=False)
    dense(t, "patch_merger.merging_layer", tower.hidden * side**2, tower.hidden, bias=False)
    dense(t, "linear_1", tower.hidden * feature_layers(config), hidden, bias=bias)
    dense(t, "linear_2", hidden, hidden, bias=bias)


def _shuffled(t: Tensors, config: Config, tower: Stack, hidden: int) -> None:
    """InternVLMultiModalProjector: ``downsample_ratio`` 0.5 makes squares of 2 × 2 patches one token."""
    square = tower.hidden * _patches_in_one(config)
    norm(t, "layer_norm", square)
    dense(t, "linear_1", square, hidden)
    dense(t, "linear_2", hidden, hidden)


def _patches(config: Config, tower: Stack) -> int:
    """One token a patch, the class token dropped (``vision_feature_select_strategy`` "default")."""
    return isqrt(tower.positions) ** 2


def _shuffled_patches(config: Config, tower: Stack) -> int:
    return _patches(config, tower) // _patches_in_one(config)


def _patches_in_one(config: Config) -> int:
    """How many patches the pixel shuffle makes one of."""
    ratio = config.number("downsample_ratio", 0.5)
    if not 1 / 256 <= ratio <= 1:
        raise BadConfig(f"config key downsample_ratio = {ratio} is not a share of the side")
    return int(int(1 / ratio) ** 2)


def _stated(config: Config, tower: Stack) -> int:
    return int(config.size("mm_tokens_per_image", 256))


read = reader(
    Layout(
        family="Llava", text="llama", tower="clip_vision_model", projector=_two_layers, text_ties_too=True,
        picture_tokens=_patches,
    )
)  # fmt: skip
read_next = reader(
    Layout(family="LlavaNext", text="llama", tower="clip_vision_model", projector=_two_layers, newline=True)
)
read_onevision = reader(
    Layout(
        family="LlavaOnevision", text="qwen2", tower="siglip_vision_model", projector=_two_layers, newline=True,
        text_ties_too=True,
    )
)  # fmt: skip
read_paligemma = reader(
    Layout(
        family="PaliGemma", text="gemma", tower="siglip_vision_model", projector=_one_layer, tied=True,
        picture_tokens=_patches,
    )
)  # fmt: skip
read_gemma3 = reader(
    Layout(
        family="Gemma3", text="gemma3_text", tower="siglip_vision_model", projector=_pooled, tied=True,
        picture_tokens=_stated,
    )
)  # fmt: skip
read_mistral3 = reader(Layout(family="Mistral3", text="mistral", tower="pixtral", projector=_merged, tied=True))
read_internvl = reader(
    Layout(
        family="InternVL", text="qwen2", tower="internvl_vision", projector=_shuffled, tied=True,
        picture_tokens=_shuffled_patches,
    )
)  # fmt: skip
