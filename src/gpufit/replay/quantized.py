"""bitsandbytes layers on the meta device: packed weights, and the temporaries of CUDA's kernels.

The layers are bitsandbytes' own (transformers' loader puts them in); their weights are made here with the shapes that
quantization would give them. Its operators run as shapes alone, so what CUDA's implementations allocate inside is
spelled out below. Mirrors bitsandbytes 0.50.2: nn/modules.py, backends/cuda/ops.py and backends/default/ops.py.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpufit.errors import UsageError
from gpufit.facts.dtypes import TORCH_NAME
from gpufit.memory.workload import Quantization

if TYPE_CHECKING:
    import torch

_BLOCK = 64  # nn/modules.py, Params4bit: blocksize on CUDA
_NESTED_BLOCK = 256  # functional.py, quantize_4bit: the second level of absmax


def quantize_model(model: Any, quant: Quantization, dtype: str) -> None:
    """Replace what transformers' loader would replace, with empty packed weights. Needs bitsandbytes."""
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise UsageError("replaying a bnb quantization needs bitsandbytes", hint='pip install "gpufit[measure]"')
    import torch
    import transformers
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    keep = [*get_keys_to_not_convert(model), *(model._keep_in_fp32_modules or ())]
    compute = getattr(torch, TORCH_NAME[dtype])
    make_config: Any = transformers.BitsAndBytesConfig
    if quant == "bnb-int8":
        config = make_config(load_in_8bit=True)
    else:
        config = make_config(
            load_in_4bit=True,
            bnb_4bit_quant_type="fp4" if quant == "bnb-fp4" else "nf4",
            bnb_4bit_use_double_quant=quant == "bnb-nf4-dq",
            bnb_4bit_compute_dtype=compute,
        )
    biases = {name: module.bias for name, module in model.named_modules() if getattr(module, "bias", None) is not None}
    replace_with_bnb_linear(model, modules_to_not_convert=keep, quantization_config=config)
    model.is_loaded_in_8bit, model.is_loaded_in_4bit = quant == "bnb-int8", quant != "bnb-int8"
    for name, module in model.named_modules():
        if type(module).__name__ == "Linear8bitLt":
            _pack_8bit(module)
        elif type(module).__name__ == "Linear4bit":
            _pack_4bit(module, compute, nested=quant == "bnb-nf4-dq")
        else:
            continue
        if name in biases:
            module.bias = biases[name].requires_grad_(False)
    model.requires_grad_(False)


def quantization_tensors(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Scales, code books and offsets, which are neither parameters nor buffers."""
    found: list[tuple[str, torch.Tensor]] = []
    for name, module in model.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        for owner, prefix in ((state, ""), (getattr(state, "state2", None), "nested_")):
            for part in ("absmax", "code", "offset"):
                tensor: Any = getattr(owner, part, None)
                if hasattr(tensor, "untyped_storage"):
                    found.append((f"{name}.weight.{prefix}{part}", tensor))
        # the first forward moves the scales from the weight to the layer's state (init_8bit_state)
        owners = (getattr(module, "state", None), getattr(module, "weight", None))
        scales = next((scb for owner in owners if (scb := getattr(owner, "SCB", None)) is not None), None)
        if scales is not None:
            found.append((f"{name}.SCB", scales))
    return found


def _pack_8bit(module: Any) -> None:
    """Linear8bitLt.init_8bit_state: one byte a weight, one fp32 scale a row."""
    import torch

    bnb: Any = import_module("bitsandbytes")
    packed = torch.empty(tuple(module.weight.shape), dtype=torch.int8, device="meta")
    module.weight = bnb.nn.Int8Params(packed, requires_grad=False, has_fp16_weights=False)
    module.state.CB = module.weight.data
    module.state.SCB = torch.empty(packed.shape[0], dtype=torch.float32, device="meta")
    module.weight.CB = module.weight.SCB = None


def _pack_4bit(module: Any, compute: torch.dtype, *, nested: bool) -> None:
    """functional.quantize_4bit: half a byte a weight, absmax a block of 64, itself in 8 bits where nested."""
    import torch

    bnb: Any = import_module("bitsandbytes")

    def empty(count: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(count, dtype=dtype, device="meta")

    shape = module.weight.shape
    blocks = -(-shape.numel() // _BLOCK)
    second = None
    if nested:
        second = bnb.functional.QuantState(
            absmax=empty(-(-blocks // _NESTED_BLOCK), torch.float32), code=empty(256, torch.float32),
            blocksize=_NESTED_BLOCK, dtype=torch.float32,
        )  # fmt: skip
    state = bnb.functional.QuantState(
        absmax=empty(blocks, torch.uint8 if nested else torch.float32), shape=shape,
        code=empty(16, torch.float32), blocksize=_BLOCK, quant_type=module.weight.quant_type, dtype=compute,
        offset=torch.empty((), dtype=torch.float32, device="meta") if nested else None, state2=second,
    )  # fmt: skip
    packed = torch.empty((-(-shape.numel() // 2), 1), dtype=torch.uint8, device="meta")
    module.weight = bnb.nn.Params4bit(
        packed, requires_grad=False, quant_state=state, quant_type=module.weight.quant_type,
        compress_statistics=nested, bnb_quantized=True, module=module,
    )  # fmt: skip
    module.quant_state = state


def bitsandbytes_inside(device_type: str) -> dict[Any, Callable[..., Any]]:
    """bitsandbytes' operators on real tensors, called so that the tracker sees what they allocate inside.

    A dispatch mode sees an operator's results alone. On the processor the kernels are Python (backends/cpu/ops.py,
    backends/default/ops.py): called by the device's key, past the mode's, they run their operations under the mode.
    Empty unless bitsandbytes is imported.
    """
    import sys

    if "bitsandbytes" not in sys.modules:
        return {}
    import torch

    kernel = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, device_type.upper()))

    def opened(operator: Any) -> Callable[..., Any]:
        return lambda *args, **kwargs: operator.redispatch(kernel, *args, **kwargs)

    packets = [getattr(torch.ops.bitsandbytes, name) for name in dir(torch.ops.bitsandbytes)]
    operators = [getattr(p, name) for p in packets for name in getattr(p, "overloads", list)()]
    return {operator: opened(operator) for operator in operators}


def fused_rows(capability: tuple[int, int]) -> int:
    """The most rows that the fused 4-bit kernel takes; more are multiplied with a dequantized weight.

    Simplified from backends/cuda/ops.py, _gemm_4bit_use_custom_cuda, to its row for matrices that fill the card: the
    original also weighs the count of multiprocessors, and small or narrow matrices stay fused somewhat longer.
    """
    return {7: 64, 8: 256 if capability == (8, 9) else 128, 9: 64}.get(capability[0], 256)


def bitsandbytes_rules(capability: tuple[int, int]) -> dict[Any, Callable[..., Any]]:
    """What each bitsandbytes operator allocates on CUDA, as torch operators that the tracker sees.

    Empty unless bitsandbytes is imported: whoever made its layers has done that, and it takes seconds.
    """
    import sys

    if "bitsandbytes" not in sys.modules:
        return {}
    import torch

    ops: Any = torch.ops.bitsandbytes

    def gemm_4bit(
        inputs: Any, weight: Any, shape: Any, absmax: Any, blocksize: int, quant_type: str, bias: Any = None,
        absmax_8bit: Any = None, absmax_code: Any = None, absmax_offset: Any = None,
    ) -> Any:  # fmt: skip
        columns = inputs.shape[-1]
        rows = inputs.numel() // columns
        if rows <= fused_rows(capability) and columns % blocksize == 0:
            return torch.empty((*inputs.shape[:-1], shape[0]), dtype=inputs.dtype, device=inputs.device)
        if absmax_8bit is not None:  # _dequant_linear_fallback
            absmax = torch.empty_like(absmax_8bit, dtype=torch.float32) + absmax_offset
        assert absmax is not None  # it lives until the product is done
        dequantized = torch.empty(tuple(shape), dtype=inputs.dtype, device=inputs.device)
        return torch.nn.functional.linear(inputs, dequantized, bias)

    def vectorwise_quant(inputs: Any, threshold: float = 0.0) -> Any:
        scales = torch.empty(inputs.numel() // inputs.shape[-1], dtype=torch.float32, device=inputs.device)
        rows = torch.empty(inputs.shape, dtype=torch.int8, device=inputs.device)
        if threshold <= 0:
            return rows, scales, None
        outliers = inputs.abs() >= threshold
        outliers.any()  # rule: no column holds an outlier
        return rows, scales, torch.empty(0, dtype=torch.int64, device=inputs.device)

    def scaled_mm(rows: Any, weight: Any, row_stats: Any, col_stats: Any, bias: Any = None, dtype: Any = None) -> Any:
        product = torch.empty((*rows.shape[:-1], weight.shape[0]), dtype=torch.int32, device=rows.device)
        result = torch.empty_like(product, dtype=torch.float16)  # int8_mm_dequant
        return result.to(dtype or torch.float16)

    def mixed_scaled_mm(
        inputs: Any, rows: Any, weight: Any, row_stats: Any, col_stats: Any, outliers: Any = None, bias: Any = None
    ) -> Any:
        nothing = torch.empty(0, dtype=inputs.dtype, device=inputs.device)
        return scaled_mm(rows, weight, row_stats, col_stats, bias, inputs.dtype), nothing

    return {
        ops.gemm_4bit.default: gemm_4bit,
        ops.int8_vectorwise_quant.default: vectorwise_quant,
        ops.int8_scaled_mm.default: scaled_mm,
        ops.int8_mixed_scaled_mm.default: mixed_scaled_mm,
    }
