"""transformers' attention functions on a tape: eager, and scaled_dot_product_attention with CUDA's choice of kernel.

Mirrors transformers 5.23.0, models/llama/modeling_llama.py (eager_attention_forward, repeat_kv),
integrations/sdpa_attention.py, and PyTorch 2.13, aten/src/ATen/native/transformers/cuda/sdp_utils.cpp.
"""

from __future__ import annotations

from collections.abc import Callable

from gpufit.memory.training.modules import Part
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.tape.indexing import repeat_interleave
from gpufit.memory.training.tape.ops import add, cast, dropout, from_result, like, scale, softmax
from gpufit.memory.training.tape.products import AttentionPath, fused_attention, matmul
from gpufit.memory.training.tape.tensor import Tensor
from gpufit.memory.training.tape.views import contiguous, expand, narrow, pad, reshape, transpose, unsqueeze

Attended = tuple[Tensor, Tensor | None]
Eager = Callable[[Part, Tensor, Tensor, Tensor, "Tensor | None"], Attended]
_LARGEST_FLASH_HEAD = 256


def choose_path(
    plan: TrainingPlan, q: Tensor, k: Tensor, v: Tensor, *, masked: bool, grouped: bool, drops: bool
) -> AttentionPath:
    """The first kernel in CUDA's order that takes these tensors (select_sdp_backend); cards of 8.0 where unknown."""
    capability = plan.compute_capability or (8, 0)
    half = q.dtype != "fp32"
    dim, value_dim = q.shape[-1], v.shape[-1]
    agree = grouped or q.shape[1] == k.shape[1]
    narrow = dim % 8 == 0 and value_dim % 8 == 0 and max(dim, value_dim) <= 128  # check_cudnn_tensor_shapes
    if capability in ((9, 0), (10, 0)) and half and agree and narrow and not (masked and drops):
        return "cudnn"
    if half and capability >= (8, 0) and not masked and dim == value_dim <= _LARGEST_FLASH_HEAD and agree:
        wide = capability in ((8, 6), (8, 9), (12, 0), (12, 1)) and (192 < dim <= 224 or (dim > 224 and drops))
        if not wide:
            return "flash"
    aligned = 8 if half and capability >= (7, 0) else 4 if capability >= (8, 0) else 1
    fits = dim % aligned == 0 and value_dim % aligned == 0 and (q.dtype != "bf16" or capability >= (8, 0))
    return "efficient" if fits and q.shape[1] == k.shape[1] else "math"


def attend(
    part: Part,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    causal: bool = True,
    eager: Eager | None = None,
    eager_only: bool = False,
) -> Attended:
    """The configured attention function: (batch, heads, tokens, dim) in; (batch, tokens, heads, dim) out.

    Eager hands its probabilities out too, and whoever names them keeps them.
    """
    if eager_only or part.model.plan.attention == "eager":
        return (eager or eager_attention)(part, query, key, value, mask)
    return sdpa(part, query, key, value, mask, causal=causal), None


def repeat_kv(x: Tensor, times: int) -> Tensor:
    """modeling_llama.py, repeat_kv: each key head once per query head of its group."""
    if times == 1:
        return x
    batch, heads, tokens, dim = x.shape
    return reshape(expand(unsqueeze(x, 2), batch, heads, times, tokens, dim), batch, heads * times, tokens, dim)


def eager_attention(
    part: Part, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, capped: bool = False
) -> Attended:
    """eager_attention_forward: scores, mask, softmax in fp32, back, dropout, product."""
    times = query.shape[1] // key.shape[1]
    key_states = repeat_kv(key, times)
    value_states = repeat_kv(value, times)
    weights = scale(matmul(query, transpose(key_states, 2, 3)))
    if capped:
        weights = scale(weights)
        weights = from_result(weights, "tanh")
        weights = scale(weights)
    if mask is not None:
        weights = add(weights, mask)
    weights = cast(softmax(weights, "fp32"), query.dtype)
    weights = dropout(weights, part.dropout.attention)
    output = matmul(weights, value_states)
    output = contiguous(transpose(output, 1, 2))
    return output, weights


def eager_plain(part: Part, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Attended:
    """modeling_gpt2.py and modeling_bert.py: the softmax stays in the scores' own format."""
    weights = scale(matmul(query, transpose(key, -1, -2)))
    if mask is not None:
        weights = add(weights, mask)
    weights = softmax(weights)
    weights = cast(weights, value.dtype)
    weights = dropout(weights, part.dropout.attention)
    output = matmul(weights, value)
    output = transpose(output, 1, 2)
    return output, weights


def eager_capped(part: Part, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Attended:
    """modeling_gemma2.py: scores are soft-capped before the mask."""
    return eager_attention(part, query, key, value, mask, capped=True)


def sdpa(part: Part, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
    """sdpa_attention_forward: grouped queries without a mask go to the kernel as they are, else keys are repeated."""
    times = query.shape[1] // key.shape[1]
    grouped = times > 1 and mask is None and key.shape[-1] == value.shape[-1] <= _LARGEST_FLASH_HEAD
    grouped = grouped and not part.model.plan.expands_keys
    if times > 1 and not grouped:
        key = repeat_kv(key, times)
        value = repeat_kv(value, times)
    output = scaled_dot_product(part, query, key, value, mask, causal=causal and mask is None, grouped=grouped)
    return contiguous(transpose(output, 1, 2))


def scaled_dot_product(
    part: Part, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool, grouped: bool = False
) -> Tensor:
    """torch.nn.functional.scaled_dot_product_attention on CUDA."""
    tape = part.tape
    if tape.autocast:
        query, key, value = (cast(t, tape.autocast) for t in (query, key, value))
    drops = part.dropout.attention
    path = choose_path(part.model.plan, query, key, value, masked=mask is not None, grouped=grouped, drops=drops)
    if mask is not None and mask.dtype != "bool" and tape.autocast:
        mask = cast(mask, tape.autocast)
    if mask is not None and mask.dtype == "bool" and path != "cudnn":  # convert_boolean_attn_mask
        mask = like(mask, dtype=query.dtype)
    if path == "math":
        return _unfused(query, key, value, mask, causal=causal, drops=drops, grouped=grouped)
    if path == "efficient" and mask is not None:
        mask = expand(_aligned(mask), *query.shape[:3], key.shape[2])
    return fused_attention(query, key, value, mask, path)


def _unfused(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, drops: bool, grouped: bool
) -> Tensor:
    """attention.cpp, _scaled_dot_product_attention_math: fp32, keys repeated, scores before and after the mask.

    Without ``grouped`` fewer key heads are broadcast by the products themselves.
    """
    given = q.dtype
    q, k, v = (cast(t, "fp32") for t in (q, k, v))
    times = q.shape[1] // k.shape[1]
    query = scale(q)
    if causal:
        tokens, keys = q.shape[-2], k.shape[-2]
        mask = q.tape.empty((tokens, keys), "fp32")
    if times > 1 and grouped:
        k, v = repeat_interleave(k, times), repeat_interleave(v, times)
    weights = matmul(query, scale(transpose(k, -2, -1)))
    if mask is not None:
        weights = add(weights, mask)
    weights = softmax(weights)
    weights = dropout(weights, drops)
    return cast(matmul(weights, v), given)


def _aligned(mask: Tensor) -> Tensor:
    """attention.cpp, preprocess_mask: rows that do not start on a multiple of 8 are copied into padded ones."""
    if all(stride % 8 == 0 for stride in mask.strides[:-1]):
        return mask
    width = mask.shape[-1]
    return narrow(pad(mask, 8 - width % 8), -1, width)
