"""Which of a plan's targets peft turns into fused experts: whole parameters that it wraps instead of linear layers.

transformers 5 stacks a mixture's experts into 3-D parameters. So that adapters made before still fit, peft renames the
projections of old to those parameters, for lists of names and for ``all-linear`` alike. Qwen2-MoE itself and
GraniteMoE are not in its table: there ``all-linear`` finds no expert.
Source: peft 0.21.2, utils/transformers_weight_conversion.py, _convert_peft_config_moe, whose table of families is
transformers 5.23.0, conversion_mapping.py, _MODEL_TO_CONVERSION_PATTERN, and Mixtral; a test holds them equal.
"""

from __future__ import annotations

from gpufit.errors import Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.memory.training.plan import ALL_LINEAR, TrainingPlan

LIKE_MIXTRAL = frozenset({"mixtral", "minimax", "minimax_m2"})
LIKE_QWEN2_MOE = frozenset({
    "afmoe", "beam", "cohere2_moe", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1", "ernie4_5_moe",
    "exaone_moe", "flex_olmo", "glm4_moe", "glm4_moe_lite", "glm4v_moe", "glm_moe_dsa", "hunyuan_v1_moe",
    "longcat_flash", "mellum", "olmoe", "qwen3_moe", "qwen3_next", "qwen3_omni_moe", "qwen3_omni_moe_text",
    "qwen3_omni_moe_thinker", "solar_open",
})  # fmt: skip
ATTENTION_ALONE = ("q_proj", "k_proj", "v_proj", "o_proj")
_MIXTRAL = {"gate": "gate.weight", "w1": "gate_up_proj", "w3": "gate_up_proj", "w2": "down_proj"}
_QWEN2_MOE = {
    "gate": "gate.weight", "gate_proj": "gate_up_proj", "up_proj": "gate_up_proj", "down_proj": "down_proj",
}  # fmt: skip


def fused_names(model_type: str) -> dict[str, str]:
    """The projections of old and the parameters that hold them now; empty where peft renames nothing.

    >>> fused_names("mixtral")["w2"], fused_names("qwen2_moe")
    ('down_proj', {})
    """
    return _MIXTRAL if model_type in LIKE_MIXTRAL else _QWEN2_MOE if model_type in LIKE_QWEN2_MOE else {}


def wraps_experts(architecture: Architecture, plan: TrainingPlan) -> bool:
    """Whether the plan's targets reach fused experts, so that every layer keeps a merged copy of them.

    >>> from gpufit.facts.read import parse_config
    >>> mixtral = parse_config({"model_type": "mixtral", "hidden_size": 64, "intermediate_size": 96, "vocab_size": 99,
    ...                         "num_hidden_layers": 2, "num_attention_heads": 4, "num_local_experts": 8})
    >>> [wraps_experts(mixtral, TrainingPlan(method="lora", lora_targets=t)) for t in (None, (ALL_LINEAR,))]
    [False, True]
    """
    experts = {name for name, becomes in fused_names(architecture.model_type).items() if becomes != "gate.weight"}
    targets = plan.targets_for(architecture.model_type)
    return bool(experts) and any(t == ALL_LINEAR or t.rpartition(".")[2] in experts for t in targets)


def split_targets(architecture: Architecture, plan: TrainingPlan, linear: frozenset[str]) -> tuple[
    tuple[str, ...], dict[str, int]
]:  # fmt: skip
    """The targets that stay modules, and the endings of the parameters that are wrapped with the rank of each.

    ``linear`` are the last names of the model's linear layers. The two halves of ``gate_up_proj`` share one adapter of
    both ranks together, and one half alone is refused. A dense layer's projections bear the names of old: they lose
    their adapters to the experts'.

    Raises Unsupported where peft does: half a fused parameter, DoRA or dropout on it.
    """
    targets = plan.targets_for(architecture.model_type)
    renamed = fused_names(architecture.model_type)
    if not renamed:
        return targets, {}
    if targets == (ALL_LINEAR,):
        targets = (*sorted(linear - renamed.keys()), *renamed)
    old = {target: target.rpartition(".")[2] for target in targets}
    wrapped: dict[str, int] = {}
    for new in dict.fromkeys(renamed[name] for name in old.values() if name in renamed):
        halves = {name for name, becomes in renamed.items() if becomes == new}
        missing = sorted(halves - set(old.values()))
        if missing:
            raise Unsupported(
                f"peft adapts {architecture.model_type}'s {new} whole: {', '.join(missing)} is not among the targets",
                hint=f"use --lora-targets {','.join((*targets, *missing))}",
            )
        wrapped[new] = plan.lora_r * len(halves)
    if wrapped and (plan.dora or plan.lora_dropout):
        raise Unsupported(
            f"peft's adapters on the fused experts of {architecture.model_type} take neither DoRA nor dropout",
            hint=f"use --lora-targets {','.join(ATTENTION_ALONE)}",
        )
    return tuple(target for target, name in old.items() if name not in renamed), wrapped
