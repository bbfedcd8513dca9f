"""From a row's words to a TrainingPlan, or the reason why gpufit does not estimate it.

Words are read by what they contain, in any spelling: ``bf16 amp``, ``bf16-mixed``, ``adamw_bnb_8bit``, ``FSDP2``.
"""

from __future__ import annotations

import re

from gpufit.accuracy.cards import Card
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Refusal
from gpufit.accuracy.training.row import TrainingRow
from gpufit.accuracy.training.targets import read_targets
from gpufit.facts.architecture import Architecture
from gpufit.facts.kernels import attention_kernels
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.memory.training.plan import (
    Checkpointing,
    Engine,
    Kernels,
    Loss,
    Method,
    Offload,
    Optimizer,
    Precision,
    Sharding,
    TrainingPlan,
)
from gpufit.memory.versions import holds, parse_version, season_version
from gpufit.memory.workload import AttentionKernel, Quantization

_TRANSFORMERS = re.compile(r"transformers\s+v?(\d+\.\d+(?:\.\d+)?)")
_TORCH = re.compile(r"(?<!\w)torch\s+v?(\d+\.\d+(?:\.\d+)?)")
_COMPILED = re.compile(r"(?<!no )\b(torch\.)?compiled?\b", re.IGNORECASE)
_DAY = re.compile(r"20\d\d-\d\d-\d\d")
_TORCHTUNE_CHUNKS = "2024-09"  # torchtune 0.3.0, whose recipes first take the loss in chunks
_HEAD_METRICS = ("weights_only", "resident_after_load", "cuda_context", "gradients", "optimizer_states")

# engine, by what its name contains; the first that matches
_ENGINES: tuple[tuple[str, Engine], ...] = (
    ("torchtune", "torchtune"), ("torchtitan", "torchtitan"), ("litgpt", "litgpt"), ("lit-gpt", "litgpt"),
    ("transformers", "transformers"), ("trl", "transformers"), ("peft", "transformers"), ("swift", "transformers"),
    ("axolotl", "transformers"), ("factory", "transformers"), ("accelerate", "transformers"),
    ("deepspeed", "transformers"), ("hf", "transformers"), ("huggingface", "transformers"), ("qlora", "transformers"),
    ("alpaca", "transformers"), ("pytorch", "transformers"),
)  # fmt: skip
_UNKNOWN_ENGINES = {
    "unsloth": "unsloth's kernels and its checkpointing on the host are its own",
    "megatron": "its parallel layers are its own",
    "nemo": "its parallel layers are its own",
    "mlx": "it shares the host's memory",
    "jax": "XLA plans its own buffers",
    "lomo": "its optimizer works inside backward",
}
# lora_dropout 0.05 by default: fms-hf-tuning 2.4.0, tuning/config/peft_config.py:59; ms-swift 1.5.0,
# swift/llm/utils/argument.py, lora_dropout_p
_DROPPING = ("fms-hf-tuning", "swift")
_TRAINERS = ("trainer", "trl", "swift", "axolotl", "factory", "alpaca", "deepspeed")
_SHARDINGS: tuple[tuple[str, Sharding], ...] = (
    ("fsdp2", "fsdp2"), ("fsdp", "fsdp1"), ("zero3", "zero3"), ("zero2", "zero2"), ("zero1", "zero1"), ("ddp", "ddp"),
    ("dataparallel", "ddp"), ("pipeline", "pipeline"), ("devicemap", "pipeline"), ("none", "none"),
)  # fmt: skip
_OPTIMIZERS: tuple[tuple[str, Optimizer], ...] = (
    ("paged8bit", "paged-adamw-8bit"), ("paged", "paged-adamw-32bit"), ("galore", "galore"),
    ("lion8bit", "lion-8bit"), ("lion", "lion"), ("adafactor", "adafactor"), ("adam8bit", "adamw-8bit"),
    ("sgdmomentum", "sgd-momentum"), ("sgd", "sgd"), ("fused", "adamw-fused"), ("adamwhf", "adamw-loop"),
    ("loop", "adamw-loop"), ("adam", "adamw-foreach"),
)  # fmt: skip
_QUANTS: dict[str, Quantization] = {
    "none": "none", "": "none", "bnb-nf4": "bnb-nf4", "nf4": "bnb-nf4", "bnb-nf4-dq": "bnb-nf4-dq",
    "nf4-dq": "bnb-nf4-dq", "bnb-fp4": "bnb-fp4", "fp4": "bnb-fp4", "bnb-int8": "bnb-int8", "int8": "bnb-int8",
    "gptq": "gptq-int4-g128", "gptq-int4": "gptq-int4-g128", "awq": "awq-int4-g128", "awq-int4": "awq-int4-g128",
    "torchao-nf4": "bnb-nf4-dq",  # block 64, absmax in 8 bits by 256: the same parts (torchao, dtypes/nf4tensor.py)
}  # fmt: skip


def plan_row(row: Measurement, work: TrainingRow, architecture: Architecture, card: Card) -> TrainingPlan | Refusal:
    """The plan that the row describes."""
    engine = _engine(row.engine, work.dated)
    if isinstance(engine, Refusal):
        return engine
    method = _method(work)
    if isinstance(method, Refusal):
        return method
    if _COMPILED.search(row.notes) or "compile" in row.engine_version:
        return Refusal(reason="torch.compile plans its own memory, which is not estimated")
    if engine == "litgpt" and method != "full":
        return Refusal(reason="litgpt's own adapters and quantized layers are not estimated")
    optimizer = _optimizer(work, row)
    if isinstance(optimizer, Refusal):
        return optimizer
    sharding = _sharding(work)
    if isinstance(sharding, Refusal):
        return sharding
    quant = _QUANTS.get(row.quant_method.lower())
    if quant is None or (quant != "none" and quant not in MATRIX_PARTS):
        return Refusal(reason=f"the quantization {row.quant_method[:40]} is not estimated in training")
    if work.sequence_length is None and row.metric not in _HEAD_METRICS:
        return Refusal(reason="the row states no length of its sequences")
    targets = read_targets(work.lora_targets, architecture)
    if isinstance(targets, Refusal):
        return targets
    names = row.engine.lower()
    transformers, torch = _TRANSFORMERS.search(row.engine_version), _TORCH.search(row.engine_version)
    version = transformers[1] if transformers else season_version(torch[1]) if torch else None
    precision = _precision(work, architecture)
    attention = _attention(row, architecture)
    prepares = engine == "transformers" and _prepares(row, work, quant, sharding)
    return TrainingPlan(
        method=method, micro_batch=work.micro_batch or 1, seq=work.sequence_length or 1,
        grad_accum=work.grad_accum or 1, precision=precision, weight_dtype=_weight_dtype(work, precision, method),
        optimizer=optimizer, checkpointing=_checkpointing(work), attention=attention,
        lora_dropout=method != "full" and any(name in names for name in _DROPPING), lora_r=work.lora_rank or 8,
        lora_targets=targets, dora=work.method.lower().startswith("dora"),
        adapter_dtype=None if engine == "transformers" else "bf16", quant=quant,
        kbit_prepare=prepares,
        # trl 0.13.0, trainer/sft_trainer.py:228-233: args.bf16 and a model in 4 bit
        embeddings_cast_back=prepares and "trl" in names and precision == "amp-bf16" and quant != "bnb-int8",
        loss=_loss(names, engine, method, row),
        packing="packed" in row.notes or "packing" in row.notes, gpus=work.gpus or 1, sharding=sharding,
        offload=_offload(work, row), compute_capability=card.capability, library_version=version,
        torch_version=torch[1] if torch else None, engine=engine,
        # accelerate 1.0.1, utils/dataclasses.py:1461, and the Trainer's --fsdp: NO_PREFETCH if nothing is said
        prefetches="BACKWARD_PRE" in row.notes or engine != "transformers",
        fused_kernels=_kernels(names),
        steps_in_backward="bwd" in work.optimizer,
        # torchtune 0.3.0, recipes/full_finetune_single_device.py:517, "free logits otherwise it peaks backward memory"
        keeps_outputs=engine != "torchtune" and not any(name in names for name in _TRAINERS),
        expands_keys="GQA expand" in row.notes
        or holds("repeated keys, flash" if attention == "flash" else "repeated keys", version, architecture.model_type),
    )  # fmt: skip


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _engine(name: str, dated: str) -> Engine | Refusal:
    lowered = name.lower()
    if "torchtune" in lowered and (day := _DAY.search(dated)) and day[0] < _TORCHTUNE_CHUNKS:
        return "torchtune-0.2"
    for unknown, why in _UNKNOWN_ENGINES.items():
        if unknown in lowered:
            return Refusal(reason=f"training with {name[:40]} is not estimated: {why}")
    for part, engine in _ENGINES:
        if part in lowered:
            return engine
    return Refusal(reason=f"training with {name[:40]} is not estimated")


def _method(work: TrainingRow) -> Method | Refusal:
    name = work.method.lower()
    if name.startswith(("full", "pretrain", "pre-train", "sft", "finetun")) or not name:
        return "full"
    if name in ("lora", "dora", "rslora", "lora+", "lora-fa"):
        return "lora"
    if name.startswith(("qlora", "lora-on-", "qdora")):
        return "qlora"
    return Refusal(reason=f"the method {work.method[:40]} is not estimated")


def _optimizer(work: TrainingRow, row: Measurement) -> Optimizer | Refusal:
    """By what the name says; plain AdamW is torch's, whose default on CUDA is foreach, and fused in newer Trainers.

    Source: transformers 5.0 and torch 2.8, training_args.py: default_optim = "adamw_torch_fused".
    """
    text = _plain(work.optimizer)
    key = text
    if "paged" in text:
        key = "paged8bit" if "8bit" in text else "paged"
    elif "lion" in text and "8bit" in text:
        key = "lion8bit"
    elif "adam" in text and "8bit" in text:
        key = "adam8bit"
    elif "sgd" in text and "momentum" in text:
        key = "sgdmomentum"
    elif "adamwhf" in text:
        key = "adamwhf"
    elif text in ("", "lorafa"):
        key = "adam"
    for part, optimizer in _OPTIMIZERS:
        if part in key:
            version = parse_version(_found(_TRANSFORMERS, row.engine_version))
            by_default = "trainer" in row.engine.lower() and optimizer == "adamw-foreach" and version
            return "adamw-fused" if by_default and by_default >= (5,) else optimizer
    return Refusal(reason=f"the optimizer {work.optimizer[:40]} is not estimated")


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _sharding(work: TrainingRow) -> Sharding | Refusal:
    text = _plain(work.sharding)
    if (work.gpus or 1) < 2 or not text:
        return "none" if (work.gpus or 1) < 2 else "ddp"
    text = text.replace("stage", "").replace("deepspeed", "")
    for part, sharding in _SHARDINGS:
        if part in text:
            return "ddp" if sharding == "none" else sharding
    return Refusal(reason=f"the sharding {work.sharding[:40]} is not estimated")


def _offload(work: TrainingRow, row: Measurement) -> Offload:
    text = work.sharding.lower() + row.notes.lower()
    if "offload" not in text:
        return "none"
    return "all" if "param" in text else "optimizer"


def _precision(work: TrainingRow, architecture: Architecture) -> Precision:
    text = work.compute_dtype.lower()
    mixed = ("amp" in text and "no amp" not in text) or "mixed" in text or "autocast" in text
    for name in ("bf16", "fp16", "fp32"):
        if name in text:
            if name == "bf16":
                return "amp-bf16" if mixed else "bf16"
            if name == "fp16":
                return "amp-fp16" if mixed else "fp16"
            return "fp32"
    return "bf16" if architecture.dtype == "bf16" else "fp16"


def _weight_dtype(work: TrainingRow, precision: Precision, method: Method) -> str | None:
    """What the base weights were loaded in. An fp32 beside quantized layers is what k-bit preparation left."""
    text = work.param_dtype.lower()
    if method == "qlora":
        return None
    for name in ("fp32", "bf16", "fp16"):
        if name in text:
            return name
    return None


def _checkpointing(work: TrainingRow) -> Checkpointing:
    text = work.gradient_checkpointing.lower()
    if text.startswith("selective"):
        return "selective"
    return "full" if text.startswith(("yes", "true", "full", "1")) else "none"


def _attention(row: Measurement, architecture: Architecture) -> AttentionKernel:
    text = row.attention.lower()
    known = attention_kernels(architecture.model_type)
    wanted: AttentionKernel = "sdpa"
    for part, kernel in (("flash", "flash"), ("sdpa", "sdpa"), ("eager", "eager")):
        if part in text:
            wanted = kernel  # type: ignore[assignment]
            break
    return wanted if wanted in known else "sdpa" if "sdpa" in known else "eager"


def _kernels(engine: str) -> Kernels:
    """fms-acceleration's own plugin takes its loss alone from liger."""
    if "fast-kernels" in engine or "foak" in engine:
        return "fms"
    return "liger" if "liger" in engine else "none"


def _prepares(row: Measurement, work: TrainingRow, quant: Quantization, sharding: Sharding) -> bool:
    """Whether prepare_model_for_kbit_training ran: trl runs it, fms-acceleration loads by itself and does not.

    Source: trl 0.13, trainer/sft_trainer.py: not where the quantized model is sharded (is_sharded_qlora).
    """
    if quant == "none" or "accelerated-peft" in row.engine.lower() or sharding.startswith(("fsdp", "zero3")):
        return False
    return work.param_dtype.lower() not in ("fp16", "bf16")


def _loss(names: str, engine: Engine, method: Method, row: Measurement) -> Loss:
    if "liger" in names or "no full logits" in row.notes:
        return "fused"
    if "chunked" in row.notes.lower() and "unpacked" not in row.notes.lower():
        return "chunked"
    if engine == "torchtune" and "full logits" not in row.notes and "packed" not in row.notes:
        return "chunked"
    if engine == "litgpt" and method != "full":
        return "chunked"
    return "full"
