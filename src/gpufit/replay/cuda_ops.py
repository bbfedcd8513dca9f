"""What CUDA does and the meta device does not, as kernels registered for the meta device while a replay runs.

Each mirrors a branch of PyTorch 2.13 that asks ``is_cuda()``; without it the composite would take its CPU path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from gpufit.replay.cuda_attention import Capability, attend

if TYPE_CHECKING:
    import torch


@contextmanager
def cuda_behaviour(capability: Capability) -> Iterator[None]:
    """Inside, composites on the meta device take CUDA's branches for that compute capability.

    The kernels are registered above autograd, so that both forward and backward see CUDA's operators.
    """
    import torch

    aten: Any = torch.ops.aten

    def attention(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        return attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, capability)

    def fused(operator: Any) -> Any:
        # aten/src/ATen/native/SoftMax.cpp, softmax: "if (input_.is_cuda() && half && dtype == float)": no fp32 input
        def run(tensor: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
            if tensor.dtype is torch.float16 and dtype is torch.float32:
                return operator(tensor, dim, True)
            return operator(tensor if dtype is None else tensor.to(dtype), dim, False)

        return run

    kernels = {
        "scaled_dot_product_attention": attention, "softmax.int": fused(aten._softmax),
        "log_softmax.int": fused(aten._log_softmax), "dropout": _dropout,
    }  # fmt: skip
    with _replaced(kernels, "AutogradMeta"), _autocast_can_be_off():
        yield


@contextmanager
def cuda_dropout() -> Iterator[None]:
    """Inside, dropout on real CPU tensors keeps what it keeps on a card: a mask of one byte, where the CPU's keeps
    numbers."""
    with _replaced({"dropout": _dropout}, "AutogradCPU"):
        yield


@contextmanager
def _replaced(kernels: dict[str, Callable[..., Any]], key: str) -> Iterator[None]:
    import warnings

    import torch

    make_library: Any = torch.library.Library
    library = make_library("aten", "IMPL")
    with warnings.catch_warnings():  # replacing a composite's kernel is what is wanted here
        warnings.simplefilter("ignore")
        for name, kernel in kernels.items():
            library.impl(name, kernel, key)
    try:
        yield
    finally:
        library._destroy()


@contextmanager
def _autocast_can_be_off() -> Iterator[None]:
    """Switching autocast off does nothing on the meta device, where it never is on and torch knows no such thing.

    peft does so around the product that folds an adapter into an expert's weights (tuners/lora/layer.py).
    """
    import torch

    known: Any = torch.autocast

    def autocast(device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: Any = None) -> Any:
        if device_type == "meta" and not enabled:
            return nullcontext()
        return known(device_type, dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)

    module: Any = torch
    module.autocast = autocast
    try:
        yield
    finally:
        module.autocast = known


def _dropout(tensor: torch.Tensor, p: float, train: bool) -> Any:
    """aten/src/ATen/native/Dropout.cpp, is_fused_kernel_acceptable: native_dropout with a mask of one byte."""
    import torch

    if p == 0 or not train or tensor.numel() == 0:
        return tensor
    native: Any = torch.ops.aten.native_dropout
    return native(tensor, p, train)[0]


def kernel_rules() -> dict[Any, Callable[..., Any]]:
    """Operators whose meta kernel takes less than CUDA's: what CUDA allocates, as operators that the tracker sees."""
    import torch

    def grouped_mm(left: Any, right: Any, offsets: Any = None, bias: Any = None, out_dtype: Any = None) -> Any:
        """aten/src/ATen/native/cuda/GroupedBlas.cpp, _grouped_mm_cuda: fp16 and fp32 too, by a loop over the groups.

        The result is create_grouped_gemm_output_tensor's (GroupedMMUtils.h): rows padded to 16 bytes. The few pointers
        that the fused bf16 kernel lays out per group are left out.
        """
        groups = () if left.dim() != right.dim() else (right.shape[0] if left.dim() == 3 else offsets.shape[0],)
        rows = left.shape[1] if left.dim() == 3 and right.dim() == 2 else left.shape[-2]
        shape = (*groups, rows, right.shape[-1])
        dtype = out_dtype or left.dtype
        padded = -(-shape[-1] * dtype.itemsize // 16) * 16 // dtype.itemsize
        strides = (*((rows * padded,) if groups else ()), padded, 1)
        return torch.empty_strided(shape, strides, dtype=dtype, device=left.device)

    aten: Any = torch.ops.aten
    return {aten._grouped_mm.default: grouped_mm}
