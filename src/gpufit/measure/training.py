"""Steps of training as transformers' Trainer makes them, under a meter: its optimizer and autocast, peft's adapters."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from typing import Any

from gpufit.errors import Unsupported
from gpufit.measure.job import Job
from gpufit.measure.meters import Meter
from gpufit.memory.training.optimizers import TRAINER_NAMES
from gpufit.memory.training.plan import ALL_LINEAR, Optimizer, TrainingPlan
from gpufit.replay.cuda_ops import cuda_dropout
from gpufit.replay.training_step import TrainingSetup, prepare_for_training, train

# what torch chooses by itself on CUDA (optim/optimizer.py, _default_to_fused_or_foreach), here said on every device
_SETTINGS: dict[Optimizer, dict[str, Any]] = {
    "adamw-foreach": {"foreach": True}, "adamw-loop": {"foreach": False}, "sgd": {"foreach": True},
    "sgd-momentum": {"foreach": True, "momentum": 0.9},
}  # fmt: skip


def refuse_other_trainers(plan: TrainingPlan, device: str) -> None:
    """Raise Unsupported for a plan that one process with transformers, peft and bitsandbytes does not run."""
    on_cpu = device == "cpu"
    refused = [
        (plan.gpus > 1, f"training over {plan.gpus} GPUs is not measured", "measure one of them"),
        (plan.loss != "full", f"--loss {plan.loss} is not measured", "leave --loss out"),
        (plan.packing, "packed sequences are not measured", "leave --packing out"),
        (plan.checkpointing == "selective", "selective checkpointing is not measured", "use --checkpointing full"),
        (plan.optimizer == "galore", "GaLore is not measured", "use another --optimizer"),
        (plan.quant not in ("none", "bnb-int8", "bnb-nf4", "bnb-nf4-dq", "bnb-fp4"),
         f"{plan.quant} weights are not made on loading", "use --quant bnb-nf4 or bnb-int8"),
        (on_cpu and plan.optimizer.startswith("paged-"), "paged states need a card", "use --optimizer adamw-8bit"),
        (on_cpu and plan.precision == "amp-fp16", "autocast to fp16 needs a card", "use --precision amp-bf16"),
    ]  # fmt: skip
    for is_so, message, hint in refused:
        if is_so:
            raise Unsupported(message, hint=hint)


def run_training(model: Any, job: Job, meter: Meter) -> None:
    """``forward``, ``backward`` and ``step`` of a second step, when there are optimizer states."""
    plan = job.training
    assert plan is not None
    trained = prepare(model, plan)
    meter.count(trained)
    trainer = make_trainer(trained, plan, job.device)
    optimizer = trainer.create_optimizer()
    passed = trainer.accelerator.prepare_model(trained, device_placement=False, evaluation_mode=True)
    with_tracker: Any = meter
    with cuda_dropout() if job.device == "cpu" else nullcontext():
        train(
            passed, with_tracker, optimizer, tokens=plan.seq, batch=plan.micro_batch, device=job.device,
            micro_batches=plan.grad_accum,
        )  # fmt: skip


def prepare(model: Any, plan: TrainingPlan) -> Any:
    """The model in training mode, as planned: k-bit preparation first, then what a replay of the same step prepares."""
    checkpointing = plan.checkpointing == "full"
    if plan.trains_adapters and plan.kbit_prepare:
        peft: Any = import_module("peft")
        model = peft.prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=checkpointing, gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    if not plan.trains_adapters:
        return prepare_for_training(model, TrainingSetup(checkpointing=checkpointing))
    targets = plan.targets_for(model.config.model_type)
    setup = TrainingSetup(
        kind="lora", checkpointing=checkpointing, lora_rank=plan.lora_r,
        lora_targets=ALL_LINEAR if targets == (ALL_LINEAR,) else targets,
    )  # fmt: skip
    return prepare_for_training(
        model, setup, use_dora=plan.dora, modules_to_save=list(plan.modules_to_save) or None
    )  # fmt: skip


def make_trainer(model: Any, plan: TrainingPlan, device: str) -> Any:
    """transformers' Trainer with the plan's optimizer and precision; it groups the parameters by weight decay."""
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir="unused", use_cpu=device == "cpu", optim=TRAINER_NAMES[plan.optimizer],
        bf16=plan.precision == "amp-bf16", fp16=plan.precision == "amp-fp16", report_to="none", disable_tqdm=True,
        gradient_accumulation_steps=plan.grad_accum, per_device_train_batch_size=plan.micro_batch,
    )  # fmt: skip
    made, settings = Trainer.get_optimizer_cls_and_kwargs(arguments)
    chosen = {**settings, **_SETTINGS.get(plan.optimizer, {})}
    return Trainer(model=model, args=arguments, optimizer_cls_and_kwargs=(made, chosen))
