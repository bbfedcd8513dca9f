"""The Trainer and peft program that realises a training plan, and the file that accelerate starts it with."""

from __future__ import annotations

from gpufit.facts.dtypes import TORCH_NAME
from gpufit.memory.training.optimizers import TRAINER_NAMES
from gpufit.memory.training.plan import ALL_LINEAR, TrainingPlan
from gpufit.memory.workload import Workload
from gpufit.render.code import ATTENTION, auto_class, quantization_arguments
from gpufit.render.training_config import accelerate_config, deepspeed_config, wraps_checkpoints
from gpufit.units import format_gib
from gpufit.verdict.check import Subject
from gpufit.verdict.training import TrainingCheck

_TASK_TYPES = {"AutoModelForCausalLM": "CAUSAL_LM", "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
               "AutoModelForSequenceClassification": "SEQ_CLS"}  # fmt: skip


def render_training_code(check: TrainingCheck) -> str:
    """A program for the plan that was asked for, or for the first change that makes it fit; ends with a newline."""
    plan, warning = check.plan, ""
    if check.verdict == "no" and check.alternatives:
        first = check.alternatives[0]
        plan, warning = first.plan, f"# As asked it does not fit; this is: {first.change}.\n"
    elif check.verdict == "no":
        warning = f"# This does not fit: nothing that was tried fits {format_gib(check.asked.budget_bytes)}.\n"
    parts = [warning + training_program(check.subject, plan)]
    config = accelerate_config(plan)
    if config:
        parts.append("# --- accelerate.yaml: accelerate launch --config_file accelerate.yaml train.py\n" + config)
    deepspeed = deepspeed_config(plan)
    if deepspeed:
        parts.append("# --- deepspeed.json, which accelerate.yaml names\n" + deepspeed)
    return "\n".join(parts)


def training_program(subject: Subject, plan: TrainingPlan) -> str:
    """Python source for transformers 5 and peft."""
    model_class = auto_class(subject)
    config = _quantization(plan)
    names = sorted({model_class, "Trainer", "TrainingArguments", *([config.partition("(")[0]] if config else [])})
    lines = ["import torch"]
    if plan.trains_adapters:
        prepare = ", prepare_model_for_kbit_training" if plan.kbit_prepare else ""
        lines.append(f"from peft import LoraConfig, get_peft_model{prepare}")
    lines += [f"from transformers import {', '.join(names)}", "", f'model_id = "{_source(subject)}"']
    lines += [
        f"model = {model_class}.from_pretrained(",
        "    model_id,",
        f"    dtype=torch.{TORCH_NAME[plan.base_dtype]},",
        *([f"    quantization_config={config},"] if config else []),
        f'    attn_implementation="{ATTENTION[plan.attention]}",',
        *(['    device_map="auto",'] if plan.sharding == "pipeline" else []),
        ")",
    ]
    if plan.kbit_prepare:
        checkpointing = plan.checkpointing != "none" and not wraps_checkpoints(plan)
        lines.append(f"model = prepare_model_for_kbit_training(model, use_gradient_checkpointing={checkpointing})")
    if plan.trains_adapters:
        lines += _adapters(subject, plan, model_class)
    given = "model=model, args=args, train_dataset=train_dataset"
    if plan.optimizer == "adamw-loop":  # of optim_args the Trainer hands nothing to torch's AdamW
        given += ', optimizer_cls_and_kwargs=(torch.optim.AdamW, {"lr": args.learning_rate, "foreach": False})'
    lines += ["", *_arguments(plan), f"trainer = Trainer({given})"]
    length = "filled to exactly that length, without padding" if plan.packing else "of at most that length"
    lines.append(f"trainer.train()  # train_dataset: your tokenized sequences {length}")
    return "\n".join(lines) + "\n"


def _source(subject: Subject) -> str:
    source = subject.hub_id or subject.name
    return source.rpartition("/")[0] or "." if source.endswith((".json", ".safetensors")) else source


def _quantization(plan: TrainingPlan) -> str | None:
    return quantization_arguments(Workload(prompt_tokens=1, dtype=plan.compute_dtype, quant=plan.quant))


def _adapters(subject: Subject, plan: TrainingPlan, model_class: str) -> list[str]:
    targets = plan.targets_for(subject.architecture.model_type)
    shown = f'"{ALL_LINEAR}"' if targets == (ALL_LINEAR,) else repr(list(targets))
    lines = [
        "model = get_peft_model(",
        "    model,",
        "    LoraConfig(",
        f"        r={plan.lora_r},",
        f"        target_modules={shown},",
    ]
    if plan.modules_to_save:
        lines.append(f"        modules_to_save={list(plan.modules_to_save)!r},")
    if plan.dora:
        lines.append("        use_dora=True,")
    if model_class in _TASK_TYPES:
        lines.append(f'        task_type="{_TASK_TYPES[model_class]}",')
    return [*lines, "    ),", ")"]


def _arguments(plan: TrainingPlan) -> list[str]:
    lines = [
        "args = TrainingArguments(",
        '    output_dir="out",',
        f"    per_device_train_batch_size={plan.micro_batch},  # of at most {plan.seq} tokens each",
        f"    gradient_accumulation_steps={plan.grad_accum},",
        f'    optim="{TRAINER_NAMES[plan.optimizer]}",',
    ]
    if plan.autocast:
        lines.append(f"    {plan.compute_dtype}=True,")
    if plan.checkpointing == "selective":  # transformers 5.23.0, modeling_utils.py, activation_checkpointing_enable
        lines.append('    activation_checkpointing=True, activation_checkpointing_kwargs={"every_n_layers": 2},')
    elif plan.checkpointing == "full" and not wraps_checkpoints(plan):
        lines.append("    gradient_checkpointing=True,")
    if plan.optimizer == "sgd-momentum":
        lines.append('    optim_args="momentum=0.9",')
    if plan.optimizer == "galore":
        lines.append(f'    optim_target_modules="all-linear", optim_args="rank={plan.galore_rank}",')
    if plan.loss != "full":
        lines.append("    use_liger_kernel=True,  # the linear layer and the loss in one kernel, in pieces")
    return [*lines, ")"]
