"""Architecture and workload in, letters and case distinctions out."""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Attention, Stack
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.activations.quantized import linear_kind
from gpufit.memory.activations.setting import Kernel, PhaseName, Setting
from gpufit.memory.activations.symbols import Sizes
from gpufit.memory.workload import Workload
from gpufit.records import replace

_NO_ATTENTION = Attention(heads=0, kv_heads=0, head_dim=0, value_dim=0)
# their forward makes a full and a sliding mask, whichever layers there are
_TWO_MASKS = ("gemma2", "gemma3", "gemma3_text", "olmo3", "cohere2", "qwen2_moe")
LARGEST_FLASH_HEAD = 256  # sdp_utils.cpp, check_head_dim_size_flash
MASK_ALIGNMENT = 8  # attention.cpp, preprocess_mask: elements that a row of a mask must start at


def stack_sizes(
    architecture: Architecture,
    workload: Workload,
    stack: Stack,
    *,
    queries: int,
    keys: int,
    sources: int = 0,
    extra: int = 0,
) -> Sizes:
    """Every letter for ``queries`` new tokens per sequence that attend to ``keys`` tokens.

    ``extra`` is the letter X of the families that need it. ``sources`` are the encoder's tokens per sequence where
    the stack attends to them too.
    """
    a = stack.attention or _NO_ATTENTION
    fused = a.heads * a.head_dim + a.kv_heads * (a.head_dim + a.value_dim)
    if architecture.model_type == "falcon" and a.kv_heads > 1:
        a = replace(a, kv_heads=a.heads)  # FalconAttention._split_heads broadcasts keys and values to all heads
    x = stack.experts
    mixer = stack.mixer
    batch = workload.batch
    tokens = batch * queries
    windows = [layers.window_tokens for layers in architecture.cache if layers.window_tokens]
    behind = sum(layers.followed_by for layers in architecture.cache if layers.kind == "full")
    width = DTYPE_BYTES[workload.dtype]
    return Sizes(
        tokens, batch, queries, keys, batch * keys, a.heads * tokens * keys, tokens * keys, queries * keys,
        width, stack.hidden, stack.mlp_width,
        a.heads * a.head_dim, a.kv_heads * a.head_dim, a.kv_heads * a.value_dim, a.heads * a.value_dim,
        a.heads, a.kv_heads, a.heads * a.rope_dim, a.kv_heads * a.rope_dim, a.rope_dim, architecture.vocab_size,
        *((x.count, x.per_token, x.width, x.shared_width) if x else (0, 0, 0, 0)),
        a.query_rank, a.kv_rank, batch * sources, a.heads * tokens * sources,
        *((mixer.inner, mixer.state, mixer.conv, mixer.groups, mixer.heads, mixer.time_rank, mixer.chunk) if mixer
        else (0,) * 7), extra, stack.layers, fused, batch * min(keys, max(windows, default=0)),
        z=behind * tokens * a.kv_heads * (a.head_dim + a.value_dim) * width,
    )  # fmt: skip


def settle(
    architecture: Architecture,
    workload: Workload,
    stack: Stack,
    phase: PhaseName,
    *,
    keys: int,
    queries: int = 0,
    eager_only: bool = False,
) -> Setting:
    """The case distinctions of one phase of one stack.

    The kernel follows sdp_utils.cpp of PyTorch 2.13: flash in half precision without a mask from compute capability
    8.0; the memory-efficient kernel otherwise, which knows no grouped queries: there ``enable_gqa`` ends in the
    unfused math path. An unknown device is taken as 8.0 or later.
    """
    a = stack.attention or _NO_ATTENTION
    kinds = {layers.kind for layers in architecture.cache}
    windows = [layers.window_tokens for layers in architecture.cache if layers.window_tokens]
    window = min(windows, default=a.window_tokens or 0)
    sliding = bool(window) and bool(windows or not architecture.cache)
    flash = workload.attention == "flash"
    modern = workload.compute_capability is None or workload.compute_capability >= (8, 0)
    half = workload.dtype != "fp32"
    fits_flash = half and modern and a.head_dim == a.value_dim <= LARGEST_FLASH_HEAD
    masked = sliding and keys >= window
    grouped = a.kv_heads != a.heads
    if architecture.model_type == "falcon":  # calls scaled_dot_product_attention itself, without enable_gqa
        grouped = a.kv_heads == 1
        fits_flash = fits_flash and not grouped
        masked = phase != "decode"  # its mask is never skipped
    if architecture.form == "falcon_alibi":  # in the model's dtype already: copied where its rows are not aligned
        masked = masked and keys % MASK_ALIGNMENT != 0
    full = not sliding or "full" in kinds
    # a picture's tokens see each other, whatever stands before them: a mask for every kind of layer
    mutual = bool(workload.images) and phase == "prefill" and architecture.model_type in ("gemma3", "paligemma")
    masked = masked or mutual
    only_masked = mutual or (masked and not full)
    kernel: Kernel = "fused"
    if not flash:
        if workload.attention == "eager" or eager_only:
            kernel = "eager"
        elif grouped and not fits_flash and not only_masked and a.head_dim == a.value_dim <= LARGEST_FLASH_HEAD:
            kernel = "math"
    return Setting(
        phase=phase, dtype=workload.dtype, kernel=kernel, logsumexp=flash or (fits_flash and not only_masked),
        grouped=grouped and a.kv_heads > 1, shared=grouped and a.kv_heads == 1, batched=workload.batch > 1,
        deep=stack.layers > 1, full=full, masks=2 if architecture.model_type in _TWO_MASKS else full + sliding,
        sliding=sliding, masked=masked, mutual=mutual, flash=flash, gated=stack.gated, variant=architecture.model_type,
        linear="plain" if workload.quant == "none" else linear_kind(workload, workload.batch * (queries or keys)),
        head="last" if architecture.generates and architecture.tensors.output else "none",
    )  # fmt: skip
