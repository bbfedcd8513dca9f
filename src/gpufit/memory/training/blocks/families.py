"""What sets one rotary decoder's code apart from another's: a record for each family of ``blocks.decoder``.

Mirrors transformers 5.23.0, models/<family>/modeling_<family>.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gpufit.facts.architecture import Architecture
from gpufit.memory.training.activations import activate
from gpufit.memory.training.attention import Eager, eager_attention, eager_capped
from gpufit.memory.training.blocks.experts import granite_moe, sparse_mlp
from gpufit.memory.training.blocks.rotary import (
    Rotary,
    apply_rotary,
    fp32_rotary,
    half_interleaved,
    joined_rotary,
    typed_rotary,
)
from gpufit.memory.training.kernels import fused_swiglu
from gpufit.memory.training.modules import Part
from gpufit.memory.training.norms import (
    Norm,
    cohere_norm,
    gemma_rms,
    layer_norm,
    llama_rms,
    olmo_norm,
    olmo_rms,
    one_plus,
)
from gpufit.memory.training.tape.ops import mul
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import split
from gpufit.records import record

Mlp = Callable[[Part, Tensor], Tensor]


@record
class Family:
    """What sets one family's code apart: its layer, its normalization, its MLP, what attention does beside."""

    norm: Norm = llama_rms
    mlp: Mlp
    mlp_name: str = "mlp"
    rotary: Rotary = apply_rotary
    unrotated: str = ""  # layers of that kind have no rotary embedding
    side_by_side: bool = False  # attention and MLP both read the one norm's result
    multiplied: bool = False  # embeddings, and what each half of a layer adds to the residual, times a number
    output: str = "o_proj"
    query_norm: str = "none"  # "whole": on (batch, tokens, width); "before": on (batch, tokens, heads, dim), where the
    # model has one; "after": once heads are swapped to the front
    fused: bool = False  # one projection makes queries, keys and values
    fp32_tables: bool = False  # rotation runs in fp32
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    sandwich: bool = False  # a norm after attention and after the MLP too
    norms_after: bool = False  # and none before
    scaled_embedding: bool = False  # by the embedding's own class
    eager: Eager = eager_attention
    eager_only: bool = False
    capped_logits: bool = False
    scaled_logits: bool = False
    tables: int = 1
    both_masks: bool = False  # a sliding mask is made though no layer uses it


def gated_mlp(act: str, part: Part, x: Tensor) -> Tensor:
    """LlamaMLP.forward: down(act(gate(x)) · up(x))."""
    if part.model.plan.fused_kernels == "liger" and act == "silu":
        return part.linear("down_proj", fused_swiglu(part.linear("gate_proj", x), part.linear("up_proj", x)))
    return part.linear(
        "down_proj", mul(part.run("act_fn", activate, act, part.linear("gate_proj", x)), part.linear("up_proj", x))
    )


def plain_mlp(act: str, names: tuple[str, str], part: Part, x: Tensor) -> Tensor:
    """Starcoder2MLP.forward and others: down(act(up(x)))."""
    hidden = part.linear(names[0], x)
    hidden = part.run("act", activate, act, hidden)
    return part.linear(names[1], hidden)


def fused_mlp(part: Part, x: Tensor) -> Tensor:
    """Phi3MLP.forward: one projection makes gate and up."""
    fused = part.linear("gate_up_proj", x)
    width = fused.shape[-1] // 2
    gate, up = split(fused, -1, (width, width))
    del fused
    up = mul(up, part.run("activation_fn", activate, "silu", gate))
    return part.linear("down_proj", up)


LLAMA = Family(mlp=partial(gated_mlp, "silu"))
GEMMA = Family(mlp=partial(gated_mlp, "gelu_pytorch_tanh"), norm=gemma_rms, scaled_embedding=True)
PLAIN = partial(plain_mlp, "relu2", ("up_proj", "down_proj"))
_FEEDFORWARD = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
_SANDWICH = ("input_layernorm", "post_attention_layernorm", *_FEEDFORWARD)
FAMILIES: dict[str, Family] = {
    "llama": LLAMA,
    "gemma": GEMMA,
    "qwen3": Family(mlp=LLAMA.mlp, query_norm="before"),
    "gemma2": Family(
        mlp=GEMMA.mlp, norm=gemma_rms, scaled_embedding=True, sandwich=True, norms=_SANDWICH, eager=eager_capped,
        eager_only=True, capped_logits=True,
    ),
    "gemma3": Family(
        mlp=GEMMA.mlp, norm=gemma_rms, scaled_embedding=True, sandwich=True, norms=_SANDWICH, query_norm="after",
        tables=2,
    ),
    "starcoder2": Family(mlp=partial(plain_mlp, "gelu_pytorch_tanh", ("c_fc", "c_proj")), norm=layer_norm),
    "phi3": Family(mlp=fused_mlp, fused=True, rotary=joined_rotary),
    "olmo": Family(mlp=LLAMA.mlp, norm=olmo_norm, rotary=typed_rotary, fp32_tables=True),
    "olmo2": Family(
        mlp=LLAMA.mlp, norm=olmo_rms, rotary=typed_rotary, query_norm="whole", norms_after=True, fp32_tables=True,
        norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    ),
    "shared_moe": Family(mlp=sparse_mlp, both_masks=True),
    "moe": Family(mlp=sparse_mlp, query_norm="before"),
    "olmoe": Family(mlp=sparse_mlp, query_norm="whole"),
    "arcee": Family(mlp=PLAIN),
    "nemotron": Family(mlp=PLAIN, norm=one_plus, rotary=joined_rotary),
    "jais2": Family(mlp=PLAIN, norm=layer_norm),
    "granite": Family(mlp=LLAMA.mlp, multiplied=True, scaled_logits=True),
    "granitemoe": Family(mlp=granite_moe, mlp_name="block_sparse_moe", multiplied=True, scaled_logits=True),
    "cohere": Family(
        mlp=LLAMA.mlp, norm=cohere_norm, rotary=fp32_rotary, side_by_side=True, query_norm="before", scaled_logits=True
    ),
    "cohere2": Family(
        mlp=LLAMA.mlp, norm=cohere_norm, rotary=fp32_rotary, side_by_side=True, unrotated="full", scaled_logits=True
    ),
    "glm": Family(mlp=fused_mlp, rotary=half_interleaved),
    "glm4": Family(
        mlp=fused_mlp, rotary=half_interleaved, sandwich=True,
        norms=("input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm"),
    ),
}  # fmt: skip


def family_of(architecture: Architecture) -> Family:
    """The record of this model's own code: by its type where that differs from its form."""
    return FAMILIES.get(architecture.model_type) or FAMILIES[architecture.form]
