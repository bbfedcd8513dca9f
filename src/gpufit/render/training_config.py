"""The files that start a plan on several GPUs: accelerate's YAML, and DeepSpeed's JSON for ZeRO."""

from __future__ import annotations

import json

from gpufit.memory.training.plan import TrainingPlan

_MIXED = {"amp-bf16": "bf16", "amp-fp16": "fp16"}


def accelerate_config(plan: TrainingPlan) -> str:
    """The YAML of ``accelerate launch --config_file``; empty for one GPU and for a pipeline, which is one process.

    >>> print(accelerate_config(TrainingPlan(gpus=2, sharding="ddp")).splitlines()[1])
    distributed_type: MULTI_GPU
    >>> accelerate_config(TrainingPlan())
    ''
    """
    if plan.gpus < 2 or plan.sharding in ("none", "pipeline"):
        return ""
    kind = "MULTI_GPU" if plan.sharding == "ddp" else "FSDP" if plan.sharding.startswith("fsdp") else "DEEPSPEED"
    lines = [
        "compute_environment: LOCAL_MACHINE",
        f"distributed_type: {kind}",
        f"mixed_precision: {_mixed(plan)}",
        f"num_processes: {plan.gpus}",
        "num_machines: 1",
        "machine_rank: 0",
    ]
    if kind == "FSDP":
        lines += _fsdp(plan)
    elif kind == "DEEPSPEED":
        lines += [
            "deepspeed_config:",
            "  deepspeed_config_file: deepspeed.json",
            f"  zero3_init_flag: {str(plan.sharding == 'zero3').lower()}",
        ]
        lines.remove(f"mixed_precision: {_mixed(plan)}")  # the DeepSpeed file says it
    return "\n".join(lines) + "\n"


def wraps_checkpoints(plan: TrainingPlan) -> bool:
    """Whether FSDP's configuration asks for checkpoints of every block: the Trainer takes them from one place alone.

    Source: transformers 5.23.0, trainer.py, "can't both be set to True".
    """
    return plan.gpus > 1 and plan.sharding.startswith("fsdp") and plan.checkpointing == "full"


def _mixed(plan: TrainingPlan) -> str:
    return _MIXED.get(plan.precision, "'no'")


def _fsdp(plan: TrainingPlan) -> list[str]:
    version = plan.sharding[-1]
    lines = [
        "fsdp_config:",
        f"  fsdp_version: {version}",
        "  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP",
        f"  fsdp_offload_params: {str(plan.offload != 'none').lower()}",
        "  fsdp_cpu_ram_efficient_loading: true",
        "  fsdp_state_dict_type: SHARDED_STATE_DICT",
        f"  fsdp_activation_checkpointing: {str(wraps_checkpoints(plan)).lower()}",
    ]
    if version == "1":
        lines += [
            "  fsdp_sharding_strategy: FULL_SHARD",
            "  fsdp_backward_prefetch: BACKWARD_PRE",
            "  fsdp_forward_prefetch: false",
            "  fsdp_sync_module_states: true",
            f"  fsdp_use_orig_params: {str(not plan.trains_adapters).lower()}",
        ]
    else:
        lines.append("  fsdp_reshard_after_forward: true")
    return lines


def deepspeed_config(plan: TrainingPlan) -> str:
    """DeepSpeed's JSON; empty but for ZeRO. ``auto`` values are filled in by the Trainer.

    >>> json.loads(deepspeed_config(TrainingPlan(gpus=4, sharding="zero2")))["zero_optimization"]["stage"]
    2
    """
    if plan.gpus < 2 or not plan.sharding.startswith("zero"):
        return ""
    stage = int(plan.sharding[-1])
    zero: dict[str, object] = {
        "stage": stage,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": "auto",
    }
    if stage < 3:
        zero["allgather_bucket_size"] = "auto"
    else:
        zero["stage3_prefetch_bucket_size"] = "auto"
        zero["stage3_param_persistence_threshold"] = "auto"
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if plan.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if plan.offload == "all" and stage == 3:
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    config: dict[str, object] = {
        "bf16": {"enabled": plan.compute_dtype == "bf16"},
        "fp16": {"enabled": plan.compute_dtype == "fp16"},
        "zero_optimization": zero,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.grad_accum,
        "train_batch_size": plan.micro_batch * plan.grad_accum * plan.gpus,
        "gradient_clipping": 1.0,
    }
    return json.dumps(config, indent=2) + "\n"
