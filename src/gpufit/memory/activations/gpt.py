"""The older decoders: learned or ALiBi positions, fused projections, plain MLPs (transformers 5.23.0).

Their blocks return the attention weights in a tuple that the loop names ``outputs``, so eager attention keeps the scores of
the layer before alive as well (Bloom, Falcon, GPT-J): ``previous_scores``.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course, plan_decoder
from gpufit.memory.activations.decoder import BLOOM_GELU, GELU_TANH, PLAIN, Block
from gpufit.memory.activations.symbols import B, C, H, S, b, h, j, k, q, r, v
from gpufit.memory.workload import Workload
from gpufit.records import replace

# GPT2Block: attn_output and residual stay named beside the normalized input; qkv is split into views of one tensor;
# position embeddings (1, S, h) live on; softmax stays in the model's dtype
GPT2 = Block(
    stream=3, mlp_stream=5, mlp=GELU_TANH, norm="layer", norm_stream=4, projections=q + k + v, rotary="none", scores="same",
    table=S * h * b,
)  # fmt: skip
BLOCKS: dict[str, Block] = {
    "gpt2": GPT2,
    # GPTBigCodeMLP: torch's own gelu; softmax upcast; one key head
    "gpt_bigcode": replace(GPT2, mlp=PLAIN, scores="upcast"),
    # OPTDecoderLayer: ReLU; pos_embeds and inputs_embeds live on; 8-byte mask and position ids
    "opt": Block(
        stream=4, mlp_stream=4, mlp=PLAIN, norm="layer", norm_stream=4, rotary="none", scores="upcast",
    ),
    # GPTNeoXLayer: attention and MLP side by side; partial rotary, the fused projection stays alive through its views
    "gpt_neox": Block(mlp=PLAIN, norm="layer", norm_stream=3, projections=2 * q + k + v, rotary="partial"),
    # FalconDecoderLayer: attention and MLP side by side; softmax in the model's dtype
    "falcon": Block(
        mlp=PLAIN, norm="layer", projections=2 * q + k + v, scores="same", previous_scores=1, repeats=False,
    ),
    # GPTJBlock: scores from fp32 queries and keys; NewGELU
    "gptj": Block(
        mlp=GELU_TANH, norm="layer", norm_stream=2, projections=2 * q + k + r + j, rotary="partial", scores="fp32",
        previous_scores=1, eager_only=True,
    ),
    # BloomBlock: ALiBi (batch·heads, 1, keys) lives on; scores, masked scores and their fp32 softmax
    "bloom": Block(
        mlp=BLOOM_GELU, norm="layer", projections=2 * q + k + v, rotary="none", scores="upcast", previous_scores=1,
        table=B * H * C * b, eager_only=True,
    ),
}  # fmt: skip


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of an older decoder."""
    return plan_decoder(BLOCKS[architecture.form], architecture, workload)
