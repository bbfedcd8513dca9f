"""The peak of vLLM's profile run: the largest batch goes through the model, then through the sampler.

Source: v1/worker/gpu_model_runner.py (0.11.0), profile_run, _dummy_run and _dummy_sampler_run; the same two steps in
worker/model_runner.py (0.6.4) and v1/worker/gpu/model_runner.py (0.33.0).
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.ranges import Range
from gpufit.memory.runtime import CUBLAS_WORKSPACE, Capability, runtime_fact
from gpufit.memory.vllm.engine import SORT_FREE_SAMPLER_SINCE, Engine
from gpufit.records import record

# Bytes for each logit beside the logits in the model's dtype, v1/sample/sampler.py, ops/topk_topp_sampler.py (0.11.0):
# fp32 logits 4, then logits.sort(): sorted values 4, int64 indices 8, and inside the kernel the int64 positions 8 and
# the double buffer of the radix sort 4 + 8 (torch 2.8, aten/src/ATen/native/cuda/Sort.cu, segmented_sort_pairs)
SORTING_BYTES = 4 + 4 + 8 + 8 + 4 + 8
# From 0.17 the kernel masks in place: fp32 logits 4, probabilities 4, exponential noise 4 (random_sample). The model
# runner of 0.33 draws without noise (low); FlashInfer copies the filtered logits once more (high)
IN_PLACE_BYTES = Range(4, 4 + 4 + 4, 4 + 4 + 4 + 4)


@record
class ProfilePeak:
    """The peak above the weights, and the two moments it is the larger of."""

    peak: Range
    workspace_bytes: int
    forward: Range
    sampling: Range


def estimate_profile(
    architecture: Architecture,
    dtype: str,
    engine: Engine,
    capability: Capability | None = None,
    *,
    is_driver: bool = True,
) -> ProfilePeak:
    """What vLLM prints as peak activation memory. In the V0 engine only the driver rank samples (``is_driver``).

    >>> from gpufit.facts.read import parse_config
    >>> from gpufit.memory.vllm.engine import Engine
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    ...                       "vocab_size": 128256, "num_hidden_layers": 32, "num_attention_heads": 32,
    ...                       "num_key_value_heads": 8})
    >>> h100 = Engine(version=(0, 11, 0), batched_tokens=8192, sequences=1024)
    >>> round(estimate_profile(llama, "bf16", h100, (9, 0)).peak.likely_bytes / 2**30, 2)  # published: 4.76
    4.76
    """
    stack = architecture.stacks[0]
    element = DTYPE_BYTES[dtype]
    hidden = engine.batched_tokens * stack.hidden * element
    forward = Range(*(hidden * held + _layer_bytes(stack, element, engine) for held in _held_hidden(engine)))
    sampling = Range.exact(0)
    if architecture.generates and (engine.is_v1 or is_driver):
        last = engine.sequences * stack.hidden * element
        kept = hidden + (2 if engine.is_v1 else 1) * last  # the model's output, its last rows, a random stand-in
        logits = engine.sequences * architecture.vocab_size
        each = Range.exact(SORTING_BYTES) if engine.version < SORT_FREE_SAMPLER_SINCE else IN_PLACE_BYTES
        sampling = Range(
            *(kept + logits * (element + extra) for extra in (each.low_bytes, each.likely_bytes, each.high_bytes))
        )
    workspace = runtime_fact(CUBLAS_WORKSPACE, capability).bytes.likely_bytes
    peak = Range(
        workspace + max(forward.low_bytes, sampling.low_bytes),
        workspace + max(forward.likely_bytes, sampling.likely_bytes),
        workspace + max(forward.high_bytes, sampling.high_bytes),
    )
    return ProfilePeak(peak=peak, workspace_bytes=workspace, forward=forward, sampling=sampling)


def _held_hidden(engine: Engine) -> tuple[int, int, int]:
    """Copies of the hidden states beside the widest layer.

    Run eagerly (V0): the caller's input and residual, the attention's output, the layer's output and the reduced one
    (models/llama.py, LlamaDecoderLayer). Compiled (V1), the first and the last of these are freed or fused.
    """
    reduced = 1 if engine.tensor_parallel > 1 else 0
    if not engine.is_v1:
        return 4 + reduced, 4 + reduced, 4 + reduced
    return 2, 3 + reduced, 4 + reduced


def _layer_bytes(stack: Stack, element: int, engine: Engine) -> int:
    """The widest moment inside one layer: attention, the dense MLP, or the experts' work spaces."""
    tokens, ranks = engine.batched_tokens, engine.tensor_parallel
    widths = []
    if stack.attention is not None:
        a = stack.attention
        kv_heads = max(1, a.kv_heads // ranks)
        heads = a.heads // ranks
        widths.append(heads * (2 * a.head_dim + a.value_dim) + kv_heads * (a.head_dim + a.value_dim))
    if stack.mlp_width:
        widths.append((3 if stack.gated else 2) * stack.mlp_width // ranks)
    if stack.experts is not None:
        # layers/fused_moe/fused_moe.py, workspace_shapes: one work space as wide as gate and up or as the output,
        # one as wide as the activated half or as the output, for each chosen expert
        width = stack.experts.width // ranks
        widths.append(stack.experts.per_token * (max(2 * width, stack.hidden) + max(width, stack.hidden)))
    if stack.mixer is not None:
        widths.append(4 * stack.mixer.inner // ranks)
    return tokens * max(widths, default=0) * element
