"""Dense decoders with rotary embeddings and their blocks (transformers 5.23.0, models/<family>/modeling_<family>.py).

Worked by hand, Llama-2-7B, 2,048 tokens, fp16, sdpa, batch 1: T = 2048, b = 2, h = q = 4096, f = 11008. The MLP is
the widest instant: silu(gate), up and their product (3·f) while LlamaModel.forward names inputs_embeds and
hidden_states, the decoder layer names residual, and the MLP its normalized input (4·h): 2048·2·(3·11008 + 4·4096) =
202 375 168 bytes, and beside them cos and sin, 2·2048·128·2 = 1 048 576, and 8-byte ids and positions, 2·8·2048 = 32
768.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course, plan_decoder
from gpufit.memory.activations.decoder import GATED_FUSED, GELU_TANH, PLAIN, SQUARED, XIELU, Block
from gpufit.memory.activations.symbols import F, f, j, k, q, r
from gpufit.memory.workload import Workload
from gpufit.records import replace

LLAMA = Block()
BLOCKS: dict[str, Block] = {
    # LlamaDecoderLayer; Mistral, Qwen2, Granite, SmolLM3 are the same block
    "llama": LLAMA,
    "gemma": LLAMA,  # GemmaRMSNorm: fp32 until type_as: two fp32 copies as well
    # Qwen3Attention: q_norm(q_proj(x)) runs before k_proj and v_proj
    "qwen3": replace(LLAMA, query_norm="before values"),
    # Gemma2DecoderLayer: a norm after attention and after the MLP, whose input the block still names
    "gemma2": replace(LLAMA, norm_stream=4, eager_only=True),
    # Gemma3Attention: queries, keys and values are projected first; two pairs of rotary tables
    "gemma3": replace(LLAMA, norm_stream=4, query_norm="after values", tables=2),
    # OlmoDecoderLayer: LayerNorm in fp32, rotary products in fp32
    "olmo": replace(LLAMA, norm="fp32 layer", rotary="fp32 product"),
    # Olmo2DecoderLayer: norms after attention and MLP only, so the stream is one tensor thinner
    "olmo2": replace(
        LLAMA, stream=2, mlp_stream=3, norm="wide rms", norm_stream=4, query_norm="wide", rotary="fp32 product"
    ),
    # CohereDecoderLayer: attention and MLP side by side on one norm; rotary on fp32 copies; logits are scaled
    "cohere": replace(LLAMA, norm="mean rms", norm_stream=2, rotary="fp32", logits_copies=2),
    # GlmMLP: gate and up in one projection; partial rotary joined by torch.cat
    "glm": replace(LLAMA, mlp=GATED_FUSED, rotary="partial"),
    "glm4": replace(LLAMA, mlp=GATED_FUSED, rotary="partial", norm_stream=4),
    # Phi3Attention: qkv in one projection that the forward still names while attention runs
    "phi3": replace(LLAMA, mlp=GATED_FUSED, projections=F + q),
    # NemotronMLP: relu²; LayerNorm1P is the native kernel; partial rotary
    "nemotron": replace(LLAMA, mlp=SQUARED, norm="layer", rotary="partial"),
    "arcee": replace(LLAMA, mlp=SQUARED),
    "starcoder2": replace(LLAMA, mlp=PLAIN, norm="layer"),
    # StableLmDecoderLayer: self_attn_output and its residual stay named through the MLP
    "stablelm": replace(
        LLAMA, mlp_stream=6, norm="layer", norm_stream=4, rotary="partial", projections=2 * q + k + r + j
    ),
    # PhiDecoderLayer: attention and MLP side by side; NewGELU; the unrotated parts are views that keep q and k alive
    "phi": replace(LLAMA, mlp=GELU_TANH, norm="layer", norm_stream=2, rotary="partial", projections=2 * q + k + r + j),
    # XIELUActivation._xielu_python: the sign's mask and both branches stand until torch.where; norms as Gemma3's
    "apertus": replace(LLAMA, mlp=XIELU, mlp_mask=f, query_norm="after values"),
    # PersimmonAttention: the fused projection, the normalized heads (through views of their unrotated parts) and the
    # rotated parts stay named; all of it is there when attention runs, so that rotation itself is never the widest
    "persimmon": replace(LLAMA, mlp=SQUARED, norm="layer", projections=F + 2 * q + k + r + j),
    # Exaone4: olmo2's placement of norms with Qwen3's query norms
    "exaone4": replace(LLAMA, stream=2, mlp_stream=3, norm_stream=4, query_norm="after values"),
}

PERSIMMON_PLAIN_HEADS = replace(BLOCKS["persimmon"], projections=F + q + r + j)  # unrotated parts are the projection's


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of a dense decoder."""
    block = BLOCKS[architecture.form]
    if architecture.form == "persimmon" and not any(
        "q_layernorm" in group.name for group in architecture.tensors.groups
    ):
        block = PERSIMMON_PLAIN_HEADS
    return plan_decoder(block, architecture, workload)
