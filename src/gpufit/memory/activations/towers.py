"""Picture and text towers: ViT, DINOv2, CLIP, SigLIP, alone, in pairs, or before a language model's prefill.

Derived from transformers 5.23.0, models/{vit, dinov2, clip, siglip}/modeling_*.py. The blocks are alike (ViTLayer,
CLIPEncoderLayer): while attention runs live the embeddings, the layer's input, its normalized copy, queries, keys and
values; while the MLP runs, embeddings, input, the sum after attention and its normalized copy, and the MLP before and
after its activation. quick_gelu, x·sigmoid(1.702·x), is three tensors. The picture itself lives on, and in a pair the
picture tower's output while the text tower runs. Eager attention keeps a layer's scores through its MLP.
InternVL's blocks are alike too, but keep the softmax in the model's dtype and the scaled attention output.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

from gpufit.facts.architecture import Architecture, Stack
from gpufit.memory.activations.courses import Course
from gpufit.memory.activations.decoder import GATED, PLAIN
from gpufit.memory.activations.setting import Contest, Moment, Setting, contenders
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.symbols import NOTHING, A, H, M, Sizes, T, U, as_expr, b, f, h, o, q, z
from gpufit.memory.workload import Workload

QUICK_GELU = 3 * f  # x, sigmoid(1.702·x), the product


@lru_cache(maxsize=1024)
def tower_moments(c: Setting, text: bool, quick: bool) -> Contest:
    """One tower's pass over all its positions; DINOv2 and InternVL keep the softmax in the model's dtype."""
    eager = c.kernel == "eager"
    around = U * b + (16 * T + (M * b if eager else NOTHING) if text else z)
    scores = 2 * b if c.variant in ("dinov2", "internvl") else as_expr(10 if c.dtype == "bf16" else 8)
    stream = T * b * ((2 if c.deep else 1) * h)
    attention = stream + T * b * (h + 3 * q)
    kept = A * b if eager else NOTHING
    scaled = T * b * h if c.variant == "internvl" else NOTHING  # lambda_1 times the attention's output is a name
    width = GATED if c.gated else QUICK_GELU if quick else PLAIN
    return contenders(
        (
            Moment("attention scores", A * scores + attention + around,
                   "scores, softmax and its copy; queries, keys, values, layer input, embeddings")
            if eager
            else Moment("attention", attention + T * b * o + (4 * (T * H) if c.logsumexp else 0) + around,
                        "queries, keys, values, outputs, layer input, embeddings"),
            Moment("attention output", attention + T * b * (o + h) + kept + around,
                   "queries, keys, values, outputs and their projection, layer input, embeddings"),
            Moment("mlp", stream + T * b * (2 * h + width) + scaled + kept + around,
                   "before and after the activation, residual, layer input, embeddings"),
        )
    )  # fmt: skip


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """The one phase of a tower, or of a pair, where the picture comes first."""
    contests, pictures = [], 0
    ids = 16 * workload.batch * workload.prompt_tokens if architecture.stack("text") else 0  # and their mask
    for stack in architecture.stacks:
        vision = stack.role == "vision"
        tokens = stack.positions if vision else workload.prompt_tokens
        pictures += workload.batch * picture_numbers(architecture, stack) if vision else 0
        contests.append(tower_contest(architecture, workload, stack, tokens, pictures, ids))
        pictures += workload.batch * (tokens * stack.hidden + _pooled(architecture, stack)) if vision else 0  # lives on
    return (Course(name="encode", cache_tokens=0, moments=tuple(contests)),)


def picture_numbers(architecture: Architecture, stack: Stack) -> int:
    """Numbers in one picture: channels × side², the side in whole patches.

    >>> from gpufit.facts.read import parse_config
    >>> clip = parse_config({"model_type": "clip_vision_model", "architectures": ["CLIPVisionModel"]})
    >>> picture_numbers(clip, clip.stacks[0]) == 3 * 224 * 224
    True
    """
    patches = isqrt(stack.positions) ** 2  # a class token is one more
    for group in architecture.tensors.groups:
        if "patch_" in group.name and group.name.endswith(".weight") and group.shape[0] == stack.hidden:
            return patches * (group.elements // stack.hidden)
    return 0


def _pooled(architecture: Architecture, stack: Stack) -> int:
    """Width of a picture's one vector: CLIP projects it, SigLIP pools at the tower's width."""
    shapes = (g.shape for g in architecture.tensors.groups if g.name.endswith("visual_projection.weight"))
    return next(shapes, (stack.hidden,))[0]


def tower_contest(
    architecture: Architecture, workload: Workload, stack: Stack, tokens: int, numbers: int, ids: int
) -> tuple[Contest, Sizes]:
    """A tower's moments and sizes; ``numbers`` lie beside it in the model's dtype, ``ids`` bytes of ids."""
    c = settle(architecture, workload, stack, "encode", keys=tokens, queries=tokens)
    sizes = stack_sizes(architecture, workload, stack, queries=tokens, keys=tokens)
    return tower_moments(c, stack.role == "text", stack.activation == "quick_gelu"), sizes._replace(U=numbers, z=ids)
