"""Which attention kernel CUDA runs, and what it allocates.

The meta device always takes the math path, which CUDA almost never does. The rules mirror PyTorch 2.13,
aten/src/ATen/native/transformers/cuda/sdp_utils.cpp (select_sdp_backend and the check it calls is named beside each)
and aten/src/ATen/native/transformers/attention.cpp (scaled_dot_product_attention).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Kernel = Literal["cudnn", "flash", "efficient", "math"]
Capability = tuple[int, int]
_MASK_ALIGNMENT = 8  # attention.cpp, preprocess_mask: mem_eff_alignment


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCall:
    """The shape of one scaled_dot_product_attention call: (batch, heads, tokens, head_dim) of each input."""

    query: tuple[int, ...]
    key: tuple[int, ...]
    value: tuple[int, ...]
    dtype: str  # float16, bfloat16, float32, ...
    masked: bool = False
    causal: bool = False
    grouped_query: bool = False
    dropout: bool = False
    needs_gradient: bool = False


def choose_kernel(call: AttentionCall, capability: Capability) -> Kernel:
    """The first kernel in CUDA's order whose constraints hold (priority_order, select_sdp_backend).

    >>> llama = AttentionCall(query=(1, 32, 9, 128), key=(1, 32, 9, 128), value=(1, 32, 9, 128), dtype="float16")
    >>> choose_kernel(llama, (8, 0)), choose_kernel(llama, (9, 0)), choose_kernel(llama, (7, 5))
    ('flash', 'cudnn', 'efficient')
    """
    if len(call.query) != 4 or min(*call.query, *call.key) == 0:  # check_tensor_shapes, check_nonzero_sequence_lengths
        return "math"
    if capability in ((9, 0), (10, 0)) and _cudnn_can(call, capability):  # check_prefer_cudnn_attention
        return "cudnn"
    if _flash_can(call, capability):
        return "flash"
    if _efficient_can(call, capability):
        return "efficient"
    return "math"


def _heads_agree(call: AttentionCall, *, grouped: bool) -> bool:
    """check_batch_size_and_num_heads_dense."""
    if not call.query[0] == call.key[0] == call.value[0]:
        return False
    heads, key_heads, value_heads = call.query[1], call.key[1], call.value[1]
    if grouped and call.grouped_query:
        return heads % key_heads == 0 and key_heads == value_heads
    return heads == key_heads == value_heads


def _flash_can(call: AttentionCall, capability: Capability) -> bool:
    """can_use_flash_attention."""
    head_dim = call.query[-1]
    small_gradient = not (
        # check_requires_grad_and_head_dim_gt192_constraints_on_sm86_89_or_sm120
        capability in ((8, 6), (8, 9), (12, 0), (12, 1))
        and call.needs_gradient
        and (192 < head_dim <= 224 or (head_dim > 224 and call.dropout))
    )
    return (
        capability >= (8, 0)  # check_flash_attention_hardware_support
        and call.dtype in ("float16", "bfloat16")
        and not call.masked  # check_for_attn_mask
        and head_dim == call.key[-1] == call.value[-1] <= 256  # check_head_dim_size_flash
        and small_gradient
        and not (call.causal and call.query[2] != call.key[2])  # check_flash_causal_non_square_seqlens
        and _heads_agree(call, grouped=True)
    )


def _efficient_can(call: AttentionCall, capability: Capability) -> bool:
    """can_use_mem_efficient_attention."""
    half = call.dtype in ("float16", "bfloat16")
    dtypes = ("float16", "bfloat16", "float32") if capability >= (8, 0) else ("float16", "float32")
    alignment = 4 if capability >= (8, 0) else 1  # minimum_gemm_alignment
    if capability >= (8, 0) or (capability >= (7, 0) and half):
        alignment = max(alignment, 8 if half else 4)
    return (
        capability >= (5, 0)
        and call.dtype in dtypes
        and call.query[-1] == call.key[-1]  # check_head_dim_size_mem_efficient
        and call.query[-1] % alignment == 0
        and call.value[-1] % alignment == 0
        and _heads_agree(call, grouped=False)
    )


def _cudnn_can(call: AttentionCall, capability: Capability) -> bool:
    """can_use_cudnn_attention with cuDNN 9.9 or newer."""
    limit = 256 if capability == (9, 0) and not call.needs_gradient else 128  # check_cudnn_tensor_shapes
    dims = (call.query[-1], call.value[-1])
    return (
        call.dtype in ("float16", "bfloat16")
        and call.query[-1] == call.key[-1]
        and all(dim % 8 == 0 and dim <= limit for dim in dims)
        and not (call.query[2] == 1 and call.key[2] == 1)
        and not (call.causal and call.query[2] != call.key[2])
        and not (call.masked and call.needs_gradient and call.dropout)
        and _heads_agree(call, grouped=True)
    )


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    dropout: float,
    causal: bool,
    scale: float | None,
    grouped_query: bool,
    capability: Capability,
) -> torch.Tensor:
    """scaled_dot_product_attention as CUDA composes it: choose, prepare the mask, pad, run the kernel's meta twin."""
    import torch

    aten: Any = torch.ops.aten
    needs_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    call = AttentionCall(
        query=tuple(query.shape),
        key=tuple(key.shape),
        value=tuple(value.shape),
        dtype=str(query.dtype).removeprefix("torch."),
        masked=mask is not None,
        causal=causal,
        grouped_query=grouped_query,
        dropout=dropout > 0,
        needs_gradient=needs_gradient,
    )
    kernel = choose_kernel(call, capability)
    if mask is not None and mask.dtype is torch.bool and kernel != "cudnn":  # convert_boolean_attn_mask
        mask = torch.where(mask, 0.0, torch.scalar_tensor(float("-inf"), dtype=query.dtype, device=query.device))
    if kernel == "math":
        result = aten._scaled_dot_product_attention_math(
            query, key, value, mask, dropout, causal, None, scale=scale, enable_gqa=grouped_query
        )
    elif kernel == "flash":
        head_dim = query.shape[-1]
        scale = head_dim**-0.5 if scale is None else scale
        if head_dim % 8:  # pad_last_dim<8>
            query, key, value = (torch.nn.functional.pad(t, (0, 8 - head_dim % 8)) for t in (query, key, value))
        result = aten._scaled_dot_product_flash_attention(query, key, value, dropout, causal, False, scale=scale)
        return result[0][..., :head_dim]  # type: ignore[no-any-return]
    elif kernel == "efficient":
        if mask is not None:
            mask = _align_mask(mask).expand(*query.shape[:3], key.shape[2])
        result = aten._scaled_dot_product_efficient_attention(
            query, key, value, mask, needs_gradient, dropout, causal, scale=scale
        )
    else:
        result = aten._scaled_dot_product_cudnn_attention(
            query, key, value, mask, needs_gradient, dropout, causal, False, scale=scale
        )
    return result[0]  # type: ignore[no-any-return]


def _align_mask(mask: torch.Tensor) -> torch.Tensor:
    """preprocess_mask: rows that do not start on the alignment are copied into padded ones (pad_bias)."""
    import torch

    if mask.stride(-1) == 1 and all(stride % _MASK_ALIGNMENT == 0 for stride in mask.stride()[:-1]):
        return mask
    width = mask.shape[-1]
    return torch.nn.functional.pad(mask, (0, _MASK_ALIGNMENT - width % _MASK_ALIGNMENT))[..., :width]
