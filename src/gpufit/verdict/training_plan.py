"""From what the user asked to a whole TrainingPlan: the libraries' defaults filled in, impossible wishes refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from gpufit.devices.device import Device
from gpufit.errors import Unsupported, UsageError
from gpufit.facts.architecture import Architecture
from gpufit.memory.training.fused import fused_names
from gpufit.memory.training.plan import (
    ALL_LINEAR,
    CHECKPOINTINGS,
    DEFAULT_LORA_R,
    DEFAULT_MICRO_BATCH,
    DEFAULT_OPTIMIZER,
    DEFAULT_SEQUENCE_TOKENS,
    LORA_DEFAULT_TARGETS,
    LOSSES,
    METHODS,
    OFFLOADS,
    OPTIMIZERS,
    PRECISIONS,
    SHARDINGS,
    Method,
    Precision,
    Sharding,
    TrainingPlan,
)
from gpufit.memory.workload import Quantization
from gpufit.records import record
from gpufit.verdict.driver_context import measured_context
from gpufit.verdict.plan import plan_attention, plan_dtype, plan_quant

T = TypeVar("T", bound=str)

LARGEST_NUMBER = 1 << 20
QLORA_FORMATS: tuple[Quantization, ...] = (
    "bnb-nf4", "bnb-nf4-dq", "bnb-fp4", "bnb-int8", "gptq-int4-g128", "awq-int4-g128",
)  # fmt: skip
_OPTIMIZER_NAMES = {"adamw": DEFAULT_OPTIMIZER, "adamw-torch": DEFAULT_OPTIMIZER}


@record
class TrainingRequest:
    """What the user said; None where nothing was said."""

    train: str
    micro_batch: int | None = None
    seq: int | None = None
    grad_accum: int | None = None
    precision: str | None = None
    optimizer: str | None = None
    checkpointing: str | None = None
    attention: str | None = None
    lora_r: int | None = None
    lora_targets: str | None = None
    modules_to_save: str | None = None
    dora: bool = False
    kbit_prepare: bool = False
    no_kbit_prepare: bool = False
    loss: str | None = None
    packing: bool = False
    quant: str | None = None
    dtype: str | None = None
    sharding: str | None = None
    offload: str | None = None


def plan_training(
    architecture: Architecture, device: Device | None, request: TrainingRequest
) -> tuple[TrainingPlan, tuple[str, ...]]:
    """The plan to estimate, and notes on what was assumed.

    Raises UsageError for unknown names and impossible numbers, Unsupported for what the family or card cannot do.
    """
    notes: list[str] = []
    method = _choose(METHODS, request.train, "--train")
    if architecture.task in ("vision", "speech", "vision-language"):
        notes.append("training is counted for the text that goes through the model")
    quant = _plan_format(architecture, device, method, request.quant, notes.append)
    precision = _plan_precision(architecture, device, request, quant, notes.append)
    if request.kbit_prepare and (method != "qlora" or request.no_kbit_prepare):
        raise UsageError(
            "--kbit-prepare is for quantized weights, and not with --no-kbit-prepare", hint="use --train qlora"
        )
    prepare = method == "qlora" and not request.no_kbit_prepare
    count = device.count if device else 1
    targets = _plan_targets(architecture, method, request.lora_targets, notes.append)
    sharding = _plan_sharding(method, count, request.sharding)
    offload = _choose(OFFLOADS, request.offload or "none", "--offload")
    if offload != "none" and sharding not in ("fsdp1", "fsdp2", "zero1", "zero2", "zero3"):
        raise UsageError(f"--offload {offload} needs FSDP or ZeRO", hint="use --sharding zero2 or zero3, or fsdp2")
    plan = TrainingPlan(
        method=method,
        micro_batch=_number("--micro-batch", request.micro_batch, DEFAULT_MICRO_BATCH),
        seq=_plan_seq(architecture, request.seq),
        grad_accum=_number("--grad-accum", request.grad_accum, 1),
        precision=precision,
        weight_dtype=request.dtype if request.dtype and precision.startswith("amp-") else None,
        optimizer=_choose(OPTIMIZERS, _optimizer_name(request.optimizer), "--optimizer"),
        checkpointing=_choose(CHECKPOINTINGS, request.checkpointing or ("full" if prepare else "none"),
                              "--checkpointing"),
        attention=plan_attention(architecture, device, request.attention, notes.append),
        lora_r=_number("--lora-r", request.lora_r, DEFAULT_LORA_R),
        lora_targets=targets,
        modules_to_save=_names(request.modules_to_save),
        dora=request.dora,
        quant=quant,
        kbit_prepare=prepare,
        loss=_choose(LOSSES, request.loss or "full", "--loss"),
        packing=request.packing,
        gpus=count,
        sharding=sharding,
        offload=offload,
        compute_capability=device.compute_capability if device else None,
        driver_context=measured_context(device),
    )  # fmt: skip
    if prepare and request.checkpointing is None:
        notes.append("prepare_model_for_kbit_training turns checkpointing on")
    if plan.optimizer == "adamw-fused" and plan.precision == "fp16" and method == "full":
        notes.append("pure fp16 full tuning rarely converges; amp-fp16 or bf16 is usual")
    return plan, tuple(notes)


def _choose(known: Sequence[T], wanted: str, option: str) -> T:
    for name in known:
        if name == wanted.lower():
            return name
    raise UsageError(f"unknown {option} {wanted[:40]!r}", hint=f"{option} takes {', '.join(known)}")


def _number(option: str, value: int | None, default: int) -> int:
    if value is None:
        return default
    if type(value) is not int or not 1 <= value <= LARGEST_NUMBER:
        raise UsageError(f"{option} {value} is not from 1 to {LARGEST_NUMBER:,}", hint=f"use {option} {default}")
    return value


def _optimizer_name(wanted: str | None) -> str:
    """The Trainer's spellings are understood too: adamw_torch_fused, adamw_bnb_8bit, paged_adamw_8bit, galore_adamw.

    >>> _optimizer_name("adamw_bnb_8bit"), _optimizer_name("lion_32bit"), _optimizer_name(None)
    ('adamw-8bit', 'lion', 'adamw-fused')
    """
    if wanted is None:
        return DEFAULT_OPTIMIZER
    name = wanted.lower().replace("_", "-").replace("bnb-", "").replace("-torch-fused", "-fused")
    name = {"galore-adamw": "galore", "lion-32bit": "lion"}.get(name, name)
    return _OPTIMIZER_NAMES.get(name, name)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _plan_seq(architecture: Architecture, wanted: int | None) -> int:
    longest = architecture.max_context_tokens
    if wanted is None:
        return min(DEFAULT_SEQUENCE_TOKENS, longest or DEFAULT_SEQUENCE_TOKENS)
    seq = _number("--seq", wanted, DEFAULT_SEQUENCE_TOKENS)
    if longest is not None and seq > longest:
        raise UsageError(
            f"a sequence of {seq:,} tokens is beyond the model's maximum of {longest:,}",
            hint=f"use --seq {longest} or less",
        )
    return seq


def _plan_format(
    architecture: Architecture, device: Device | None, method: Method, wanted: str | None, note: Callable[[str], None]
) -> Quantization:
    if method != "qlora":
        if wanted is not None and wanted.lower() != "none":
            raise UsageError(f"--train {method} trains plain weights, not {wanted[:40]}", hint="use --train qlora")
        return "none"
    if architecture.stored is not None and architecture.stored.method is not None and wanted is None:
        return plan_quant(architecture, device, None, note)
    quant = plan_quant(architecture, device, wanted or "bnb-nf4", note)
    if quant not in QLORA_FORMATS:
        raise UsageError(f"{quant} weights cannot carry adapters here", hint=f"use {', '.join(QLORA_FORMATS)}")
    return quant


def _plan_precision(
    architecture: Architecture, device: Device | None, request: TrainingRequest, quant: Quantization,
    note: Callable[[str], None],
) -> Precision:  # fmt: skip
    """As said; else what the Trainer does unasked: no autocast, in the format that the checkpoint is stored in."""
    if request.precision is None:
        found = plan_dtype(architecture, device, request.dtype, quant, note)
        return _choose(PRECISIONS, found, "--precision")
    precision = _choose(PRECISIONS, request.precision, "--precision")
    runs = device.dtypes if device else None
    if precision.endswith("bf16") and runs is not None and "bf16" not in runs:
        name = device.name if device else "this card"
        raise Unsupported(
            f"{name} has no bf16 arithmetic (it needs compute capability 8.0)", hint="use --precision amp-fp16"
        )
    return precision


def _plan_targets(
    architecture: Architecture, method: Method, wanted: str | None, note: Callable[[str], None]
) -> tuple[str, ...] | None:
    if method == "full":
        return None
    if wanted is not None:
        names = _names(wanted)
        if not names:
            raise UsageError("--lora-targets names no module", hint=f"use {ALL_LINEAR}, or names like q_proj,v_proj")
        return (ALL_LINEAR,) if names == (ALL_LINEAR,) else names
    if architecture.model_type not in LORA_DEFAULT_TARGETS:
        reach = ", and peft wraps the fused experts too" if fused_names(architecture.model_type) else ""
        note(f"peft has no default targets for {architecture.model_type}; {ALL_LINEAR} is assumed{reach}")
        return (ALL_LINEAR,)
    return LORA_DEFAULT_TARGETS[architecture.model_type]


def _plan_sharding(method: Method, count: int, wanted: str | None) -> Sharding:
    if wanted is not None:
        sharding = _choose(SHARDINGS, wanted, "--sharding")
        if sharding != "none" and count < 2:
            raise UsageError(f"--sharding {sharding} needs several GPUs", hint="name them: --gpu a100-80gbx4")
        return sharding
    if count < 2:
        return "none"
    return "pipeline" if method == "qlora" else "ddp"
