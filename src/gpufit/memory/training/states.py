"""What stays on the device from step to step: base weights, adapters, gradients, optimizer states, buffers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.memory.segments import unsplit_rests
from gpufit.memory.training.adapters import Trained, trained_tensors
from gpufit.memory.training.optimizers import OptimizerBytes, count_optimizer
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.weights import GroupBytes, round_allocation, weigh_groups
from gpufit.records import record

UPCAST_METHODS = ("none", "bnb-int8", "bnb-nf4", "bnb-nf4-dq", "bnb-fp4", "mxfp4", "fp8")
"""peft 0.21.2, utils/other.py, prepare_model_for_kbit_training: GPTQ, AQLM, EETQ, HQQ and torchao are not cast."""


@record
class Residents:
    """Bytes by part. ``weights_bytes`` holds ``upcast_bytes``, what k-bit preparation added to it.

    ``adapters_bytes`` is what peft adds beside the base weights, copies of modules_to_save included; 0 in full tuning.
    ``gradients_bytes`` is what all gradients weigh once backward has made them; ``rounding_bytes`` what the CUDA
    allocator counts beyond the tensors of weights, adapters and buffers, ``gradient_rounding_bytes`` for gradients.
    """

    weights_bytes: int
    upcast_bytes: int
    quantized_bytes: int
    adapters_bytes: int
    buffers_bytes: int
    rounding_bytes: int
    gradients_bytes: int
    gradient_rounding_bytes: int
    optimizer: OptimizerBytes
    trained: tuple[Trained, ...]

    @property
    def model_bytes(self) -> int:
        """Weights and adapters: what the model's own tensors hold."""
        return self.weights_bytes + self.adapters_bytes

    @property
    def loaded_bytes(self) -> int:
        """The device's count after loading, before the optimizer's first step."""
        return self.model_bytes + self.buffers_bytes + self.rounding_bytes

    @property
    def trained_parameters(self) -> int:
        """Parameters that learn."""
        return sum(tensor.parameters for tensor in self.trained)


@lru_cache(maxsize=4096)
def count_residents(architecture: Architecture, plan: TrainingPlan) -> Residents:
    """Everything that stays, on one device that holds it all.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> held = count_residents(llama, TrainingPlan(method="full", precision="bf16"))
    >>> held.weights_bytes, held.gradients_bytes, held.optimizer.states_bytes
    (13476831232, 13476831232, 26953662464)
    >>> count_residents(llama, TrainingPlan(method="qlora", quant="bnb-nf4", kbit_prepare=True)).upcast_bytes
    524820480
    """
    weights = upcast = quantized = buffers = 0
    sizes: list[tuple[int, int]] = []  # (bytes, copies) as the allocator is asked for them
    for found in weigh_groups(architecture, plan.base_dtype, plan.quant):
        if found.group.module == "buffer":
            buffers += found.kept_bytes
            sizes += _kept_sizes(found, found.kept_bytes)
            continue
        kept = prepared_bytes(found, plan)
        weights += found.quantized_bytes + kept
        quantized += found.quantized_bytes
        upcast += kept - found.kept_bytes
        sizes += _packed_sizes(found, plan)
        sizes += _kept_sizes(found, kept)
    trained = trained_tensors(architecture, plan)
    adapters = 0
    if plan.trains_adapters:
        adapters = sum(tensor.total_bytes for tensor in trained)
        sizes += ((tensor.elements * DTYPE_BYTES[tensor.dtype], tensor.copies) for tensor in trained)
    gradients = sum(tensor.total_bytes for tensor in trained)
    rounding = sum(copies * (round_allocation(size) - size) for size, copies in sizes)
    return Residents(
        weights_bytes=weights, upcast_bytes=upcast, quantized_bytes=quantized, adapters_bytes=adapters,
        buffers_bytes=buffers, rounding_bytes=rounding + unsplit_rests(sizes), gradients_bytes=gradients,
        gradient_rounding_bytes=sum(tensor.rounded_bytes for tensor in trained) - gradients,
        optimizer=count_optimizer(plan.optimizer, trained, galore_rank=plan.galore_rank), trained=trained,
    )  # fmt: skip


def prepared_bytes(found: GroupBytes, plan: TrainingPlan) -> int:
    """What is not quantized, after prepare_model_for_kbit_training where that runs: every 16-bit parameter in fp32."""
    if not plan.lifts(found.group.name) or plan.quant not in UPCAST_METHODS or found.stays_fp32:
        return found.kept_bytes
    held = DTYPE_BYTES[found.group.dtype or plan.base_dtype]
    return found.kept_bytes * 4 // held if held == 2 else found.kept_bytes


def _kept_sizes(found: GroupBytes, kept_bytes: int) -> Iterator[tuple[int, int]]:
    copies = found.group.copies - found.quantized_copies
    if copies and kept_bytes:
        yield kept_bytes // copies, copies


def _packed_sizes(found: GroupBytes, plan: TrainingPlan) -> Iterator[tuple[int, int]]:
    if found.quantized_copies and plan.quant in MATRIX_PARTS:
        parts = MATRIX_PARTS[plan.quant](*found.matrix)
        matrices = found.quantized_bytes // sum(parts.values())
        yield from ((part, matrices) for part in parts.values())
