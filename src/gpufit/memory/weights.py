"""The bytes of a model's weights, tensor by tensor, in any dtype and under any quantization.

What stays in 16 bits is decided by the loaders' own rules, each quoted where it is applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import NamedTuple

from gpufit.errors import Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.facts.tensors import TensorGroup, TensorInventory
from gpufit.memory.workload import Quantization
from gpufit.records import record

ALLOCATION_BYTES = 512  # kMinBlockSize, c10/cuda/CUDACachingAllocator: every allocation is a multiple


@record
class WeightBytes:
    """Where the bytes of the weights are. ``padding_bytes`` is what 512-byte allocation adds on a CUDA device.

    ``buffer_bytes`` are non-persistent buffers (rotary tables, position ids), resident but in no checkpoint.
    """

    quantized_bytes: int
    quantized_parameters: int
    kept_bytes: int
    kept_parameters: int
    fp32_bytes: int  # the part of kept_bytes that the library holds in fp32 though asked for 16 bits
    buffer_bytes: int
    padding_bytes: int
    block_bytes: int  # the part of the total inside the repeated blocks, which several devices can share out
    largest_matrix: tuple[int, int]  # (outputs, inputs) of the largest quantized matrix; (0, 0) without

    @property
    def total_bytes(self) -> int:
        """Weights alone: what a checkpoint in this format would hold on the device."""
        return self.quantized_bytes + self.kept_bytes


def round_allocation(size_bytes: int) -> int:
    """The allocator's rounding of one tensor.

    >>> round_allocation(1), round_allocation(1024)
    (512, 1024)
    """
    return -(-size_bytes // ALLOCATION_BYTES) * ALLOCATION_BYTES


@lru_cache(maxsize=8192)
def count_weights(architecture: Architecture, dtype: str, quant: Quantization) -> WeightBytes:
    """Count every tensor once, in ``dtype`` or as the quantization stores it.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> [count_weights(llama, "fp16", q).total_bytes for q in ("none", "bnb-int8", "bnb-nf4", "bnb-nf4-dq")]
    [13476831232, 7006265344, 4167587840, 3865836416]

    Raises Unsupported where no loader exists for this family and format.
    """
    quantized = quantized_parameters = kept = kept_parameters = fp32 = buffers = padding = blocks = 0
    largest = (0, 0)
    for found in weigh_groups(architecture, dtype, quant):
        group = found.group
        padding += found.padding_bytes
        if group.module == "buffer":
            buffers += found.kept_bytes
            continue
        quantized += found.quantized_bytes
        quantized_parameters += found.quantized_copies * group.elements
        largest = max(largest, found.matrix, key=prod)
        kept += found.kept_bytes
        kept_parameters += (group.copies - found.quantized_copies) * group.elements
        blocks += found.quantized_bytes + found.kept_bytes if group.in_blocks else 0
        fp32 += found.kept_bytes if found.stays_fp32 else 0
    return WeightBytes(
        quantized_bytes=quantized, quantized_parameters=quantized_parameters, kept_bytes=kept,
        kept_parameters=kept_parameters, fp32_bytes=fp32, buffer_bytes=buffers, padding_bytes=padding,
        block_bytes=blocks, largest_matrix=largest,
    )  # fmt: skip


class GroupBytes(NamedTuple):
    """One tensor group in a format: how many of its copies are quantized, and the bytes of those and of the others.

    ``matrix`` is (outputs, inputs) of a quantized one, (0, 0) without; ``stays_fp32`` is about the others.
    """

    group: TensorGroup
    quantized_copies: int
    quantized_bytes: int
    kept_bytes: int
    padding_bytes: int
    stays_fp32: bool
    matrix: tuple[int, int]


def weigh_groups(architecture: Architecture, dtype: str, quant: Quantization) -> Iterator[GroupBytes]:
    """Every tensor group that owns storage, buffers included, in the inventory's order."""
    inventory = architecture.tensors
    if quant == "stored":
        yield from _weigh_stored(architecture, dtype)
        return
    convertible = _matrices(architecture, quant) if quant != "none" else {}
    element_bytes = DTYPE_BYTES[dtype]
    for index, group in enumerate(inventory.groups):
        if group.tied_to:
            continue
        quantized_copies = quantized = padding = 0
        matrix = (0, 0)
        if (found := convertible.get(index)) is not None:
            matrix = (found.outputs, found.inputs)
            parts = MATRIX_PARTS[quant](*matrix).values()
            matrices = found.copies * found.per_copy
            quantized_copies, quantized = found.copies, matrices * sum(parts)
            padding = matrices * sum(round_allocation(part) - part for part in parts)
        kept_copies = group.copies - quantized_copies
        stays_fp32 = dtype != "fp32" and _kept_fp32(inventory, group, dtype)
        size = group.elements * (DTYPE_BYTES[group.dtype] if group.dtype else 4 if stays_fp32 else element_bytes)
        padding += kept_copies * (round_allocation(size) - size)
        yield GroupBytes(group, quantized_copies, quantized, kept_copies * size, padding, stays_fp32, matrix)


def _weigh_stored(architecture: Architecture, dtype: str) -> Iterator[GroupBytes]:
    """A checkpoint as its files hold it: its tensors by stored format, in and outside the blocks, and the buffers.

    The largest linear layer stands for the largest matrix, since packed shapes do not show it.
    """
    if architecture.stored is None:
        raise Unsupported("only a model read from its files has weights as stored", hint="name a folder or file")
    linears = (g for g in architecture.tensors.groups if g.module == "linear" and len(g.shape) == 2 and g.in_blocks)
    matrix = max((g.shape for g in linears), key=prod, default=(0, 0))
    sums: dict[tuple[str, bool], tuple[int, int, int]] = {}
    for tensor in architecture.stored.tensors:
        key = (tensor.dtype, any(part.isdigit() for part in tensor.name.split(".")))
        size, elements, padding = sums.get(key, (0, 0, 0))
        rounding = round_allocation(tensor.size_bytes) - tensor.size_bytes
        sums[key] = (size + tensor.size_bytes, elements + tensor.elements, padding + rounding)
    for (name, in_blocks), (size, elements, padding) in sums.items():
        group = TensorGroup(
            name=f"{'blocks.{}.' if in_blocks else ''}{name} tensors", shape=(elements,), module="parameter",
            role="stored", indices=((0,),) if in_blocks else (),
        )  # fmt: skip
        yield GroupBytes(group, 1, size, 0, padding, False, (matrix[0], matrix[-1]))
    for found in weigh_groups(architecture, dtype, "none"):
        if found.group.module == "buffer":
            yield found


class _Converted(NamedTuple):
    """What the loader makes of one tensor group: so many copies, each of so many 2-D matrices."""

    copies: int
    per_copy: int
    outputs: int
    inputs: int


def _matrices(architecture: Architecture, quant: Quantization) -> dict[int, _Converted]:
    """Group index -> what the loader converts of it."""
    if quant.startswith(("gptq-", "awq-")):
        found = _calibrated_matrices(architecture, quant)
    elif quant == "mxfp4":
        found = _mxfp4_matrices(architecture)
    else:
        found = _linear_matrices(architecture.tensors, fused_experts=quant == "fp8")
    if not found:
        raise Unsupported(
            f"{architecture.model_type} models have no layer that {quant} can convert",
            hint="use fp16, bf16 or another quantization",
        )
    return found


@lru_cache(maxsize=1024)
def _linear_matrices(inventory: TensorInventory, *, fused_experts: bool) -> dict[int, _Converted]:
    """bitsandbytes converts each nn.Linear and Conv1D that is not skipped, FP8 each nn.Linear and the fused experts.

    Fused 3-D experts are no nn.Linear, so bitsandbytes leaves them as they are. Sources, transformers 5.23.0:
    integrations/bitsandbytes.py replace_with_bnb_linear; integrations/finegrained_fp8.py replace_with_fp8_linear.
    """
    modules = ("linear", "experts") if fused_experts else ("linear", "conv1d")
    skip = _skip_patterns(inventory)
    numbered = tuple(key for key in skip if _names_a_block(key))  # the last module may be one block's own
    everywhere = tuple(key for key in skip if key not in numbered)
    found = {}
    for index, group in enumerate(inventory.groups):
        if group.module in modules and _is_matrix(group) and not group.tied_to:
            copies = _count_converted(group, everywhere, numbered)
            if copies:
                found[index] = _as_matrices(group, copies)
    return found


def _mxfp4_matrices(architecture: Architecture) -> dict[int, _Converted]:
    """MXFP4 checkpoints hold the fused experts in it and everything else in 16 bits.

    Source: transformers 5.23.0, integrations/mxfp4.py, replace_with_mxfp4_linear (only the experts are replaced).
    """
    if architecture.config_quantization != "mxfp4":
        raise Unsupported(
            f"{architecture.model_type} checkpoints are not published in mxfp4", hint="use bnb-nf4 for 4 bits"
        )
    groups = enumerate(architecture.tensors.groups)
    return {i: _as_matrices(g, g.copies) for i, g in groups if g.module == "experts" and _is_matrix(g)}


def _is_matrix(group: TensorGroup) -> bool:
    """A weight, not a bias: 2-D, or 3-D where experts are fused."""
    return len(group.shape) == (3 if group.module == "experts" else 2)


def _skip_patterns(inventory: TensorInventory) -> tuple[str, ...]:
    """Module names that the loader leaves alone: tied, last, output, kept in fp32.

    Source: transformers 5.23.0, quantizers/base.py, get_keys_to_not_convert: "remove tied weights", "remove last
    module" (a weight's name only; a bias never names its module), "remove output emb".
    """
    keys = {name for group in inventory.groups if group.tied_to for name in (*group.names(), group.tied_to)}
    last = next(g for g in reversed(inventory.groups) if g.module != "buffer" and not g.tied_to)
    keys.add(last.name.format(*(index[-1] for index in last.indices)))
    if inventory.output:
        keys.add(inventory.output)
    return (*(key.removesuffix(".weight") for key in keys), *inventory.keep_fp32)


def _count_converted(group: TensorGroup, everywhere: tuple[str, ...], numbered: tuple[str, ...]) -> int:
    """How many copies no pattern matches; ``numbered`` patterns name one block, the others hold in all alike.

    Source: transformers 5.23.0, quantizers/quantizers_utils.py, should_convert_module: a pattern matches from
    the start up to a module boundary, or as a suffix.
    """
    suffix = ".weight" if group.name.endswith(".weight") else ""
    module = group.name.removesuffix(suffix).format(*(index[0] for index in group.indices))
    if any(_matches(module, key) for key in everywhere):
        return 0
    if not numbered:
        return group.copies
    return sum(not any(_matches(name.removesuffix(suffix), key) for key in numbered) for name in group.names())


def _matches(module: str, key: str) -> bool:
    return module == key or module.startswith(key + ".") or module.endswith(key)


def _names_a_block(key: str) -> bool:
    return any(part.isdigit() for part in key.split("."))


def _as_matrices(group: TensorGroup, copies: int) -> _Converted:
    """The 2-D weights that one tensor holds: itself, or each expert of a fused tensor."""
    outputs, inputs = group.shape[-2:]
    if group.module == "conv1d":
        outputs, inputs = inputs, outputs
    return _Converted(copies, prod(group.shape[:-2]), outputs, inputs)


def _calibrated_matrices(architecture: Architecture, quant: Quantization) -> dict[int, _Converted]:
    """GPTQ and AWQ convert the linear layers inside the decoder's blocks, each expert on its own, routers not.

    Sources: optimum 1.24 gptq/quantizer.py (block_name_to_quantize: decoder blocks of text models only);
    AutoAWQ 0.2 models/base.py ("gate" and vision towers in modules_to_not_convert). Published checkpoints keep an
    expert's gate and up projections apart.
    """
    if architecture.task not in ("causal-lm", "vision-language"):
        raise Unsupported(
            f"{quant} checkpoints exist for text decoders only, not for {architecture.task} models",
            hint="use bnb-int8 or bnb-nf4",
        )
    awq = quant.startswith("awq-")
    modules = ("linear", "linear_kin", "experts") if awq else ("linear", "linear_kin", "experts", "conv1d")
    found = {}
    for index, group in enumerate(architecture.tensors.groups):
        outside = not group.in_blocks or group.tied_to or group.role in ("router", "vision", "audio")
        if outside or group.module not in modules or not _is_matrix(group):
            continue
        matrix = _as_matrices(group, group.copies)
        if group.module == "experts" and group.name.endswith("gate_up_proj"):
            matrix = matrix._replace(per_copy=2 * matrix.per_copy, outputs=matrix.outputs // 2)
        size = int(quant.rpartition("-g")[2]) if awq else 1
        if awq and (matrix.inputs % size or matrix.outputs % 8):
            raise Unsupported(
                f"AWQ with groups of {size} cannot pack {group.module_name.replace('.{}', '')} of shape {group.shape}",
                hint=f"its inputs must be a multiple of {size} and its outputs of 8; use bnb-nf4 or gptq-int4-g128",
            )
        found[index] = matrix
    return found


def _kept_fp32(inventory: TensorInventory, group: TensorGroup, dtype: str) -> bool:
    """Whether the library loads this tensor in fp32 though 16 bits were asked for.

    Source: transformers 5.23.0, modeling_utils.py, _get_dtype_plan: ``_keep_in_fp32_modules`` under fp16 alone,
    ``_keep_in_fp32_modules_strict`` under bf16 too.
    """
    patterns = inventory.keep_fp32_strict + (inventory.keep_fp32 if dtype == "fp16" else ())
    if not patterns:
        return False
    path = f".{group.name}."
    return any(f".{pattern}." in path for pattern in patterns)
