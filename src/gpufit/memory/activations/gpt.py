"""The older decoders: learned or ALiBi positions, fused projections, plain MLPs (transformers 5.23.0).

Their blocks return the attention weights in a tuple that the loop names ``outputs``, so eager attention keeps
the scores of the layer before alive as well (Bloom, Falcon, GPT-J): ``previous_scores``.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course, plan_decoder
from gpufit.memory.activations.decoder import BLOOM_GELU, GELU_TANH, PLAIN, Block
from gpufit.memory.activations.symbols import B, C, D, F, H, S, X, b, h, j, k, o, q, r
from gpufit.memory.workload import Workload
from gpufit.records import replace

# GPT2Block: attn_output and residual stay named beside the normalized input; qkv is split into views of one tensor;
# position embeddings (1, S, h) live on; softmax stays in the model's dtype
GPT2 = Block(
    stream=3,
    mlp_stream=5,
    mlp=GELU_TANH,
    norm="layer",
    norm_stream=4,
    projections=F,
    rotary="none",
    scores="same",
    table=S * h * b,
)
FALCON = Block(mlp=PLAIN, norm="layer", projections=F + q, scores="sum and same", previous_scores=1, repeats=False)
# falcon-rw: the MLP after attention, so that both norms and attention's output are named beside it; no rotary queries;
# eager upcasts the product, adds ALiBi, then the mask, and casts back for the softmax
FALCON_ALIBI = replace(
    FALCON,
    projections=F,
    rotary="none",
    scores="alibi",
    mlp_stream=6,
    norm_stream=5,
    table=2 * S * X * b + 8 * S,  # cos and sin of the whole head, made and not used
)
FALCON_TWO_NORMS = replace(FALCON, stream=4, mlp_stream=5)  # ln_attn and ln_mlp
# GPTJBlock: scores from fp32 queries and keys; NewGELU; embed_positions is an fp32 buffer of every layer, which its
# attention copies whole (repeat), beside the 8-byte indices of the rows to gather and the rows themselves
GPTJ = Block(
    mlp=GELU_TANH,
    norm="layer",
    norm_stream=2,
    projections=2 * q + k + r + j,
    rotary="partial",
    scores="fp32",
    previous_scores=1,
    eager_only=True,
    own_angles=4 * (X * D) + S * D * (8 + b),
)
# CodeGenAttention: GPT-J's scores; the fused projection and the parts of queries and keys split from it stay named,
# their rotated parts are fp32 as sin and cos are, and so are the queries joined from them: in fp32 one more tensor;
# the rows of its table are indexed, not gathered from a copy
CODEGEN = replace(GPTJ, projections=F + q + k + 2 * (r + j), own_angles=4 * (S * D))
BLOCKS: dict[str, Block] = {
    "gpt2": GPT2,
    # GPTBigCodeMLP: torch's own gelu; softmax upcast; one key head
    "gpt_bigcode": replace(GPT2, mlp=PLAIN, scores="upcast"),
    # OPTDecoderLayer: ReLU; pos_embeds and inputs_embeds live on; 8-byte mask and position ids
    "opt": Block(
        stream=4,
        mlp_stream=4,
        mlp=PLAIN,
        norm="layer",
        norm_stream=4,
        rotary="none",
        scores="upcast",
        frees_input=True,
    ),
    # GPTNeoXLayer: attention and MLP side by side; partial rotary, the fused projection stays alive through its views
    "gpt_neox": Block(mlp=PLAIN, norm="layer", norm_stream=3, projections=F + q, rotary="partial"),
    # GPTNeoSelfAttention: scores from fp32 queries and keys, eager only; NewGELU; the loop's outputs keep the weights
    "gpt_neo": replace(GPT2, projections=q, scores="fp32", previous_scores=1, eager_only=True),
    # FalconDecoderLayer: attention and MLP side by side; softmax in the model's dtype
    "falcon": FALCON,
    "falcon_alibi": FALCON_ALIBI,
    "falcon_two_norms": FALCON_TWO_NORMS,
    "gptj": GPTJ,
    "codegen": CODEGEN,
    # BloomBlock: ALiBi (batch·heads, 1, keys) lives on; scores, masked scores and their fp32 softmax
    "bloom": Block(
        mlp=BLOOM_GELU,
        norm="layer",
        projections=F + q,
        rotary="none",
        scores="upcast beside",
        previous_scores=1,
        named_scores=3,
        output=o + 2 * h,
        table=B * H * C * b,
        eager_only=True,
    ),
}


FP32_BLOCKS = {**BLOCKS, "codegen": replace(CODEGEN, projections=F + q + k + r + j + q)}


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of an older decoder."""
    block = (FP32_BLOCKS if workload.dtype == "fp32" else BLOCKS)[architecture.form]
    extra = next((g.shape[0] for g in architecture.tensors.groups if g.name.endswith(".embed_positions")), 0)
    if architecture.form == "falcon_alibi":
        attention = architecture.stacks[0].attention
        extra = attention.head_dim if attention else 0
    return plan_decoder(block, architecture, workload, extra=extra)
