"""Recurrent and hybrid decoders: the closed forms against the replay of transformers' code without CUDA kernels."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.activations import estimate_phases, explain_phase
from gpufit.memory.workload import Workload

from .replayed import phase_differences
from .shrunken import RECURRENT as FAMILIES
from .shrunken import RECURRENT_EXPERTS as SPARSE

pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")

WORST_PERCENT, MEDIAN_PERCENT = 2.0, 0.2


_NARROW = {"mamba_n_heads": 2, "mamba_d_state": 3, "mamba_chunk_size": 8, "mamba_n_groups": 1}
_NARROW_NEMOTRON = {"mamba_num_heads": 2, "ssm_state_size": 3, "chunk_size": 8, "mamba_head_dim": 16, "n_groups": 1}
_WIDE = {"moe_intermediate_size": 904, "intermediate_size": 1104, "num_experts_per_tok": 6}
# what else can be widest once the mixers are narrow: the moment, the kernel and the configuration
OTHERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jamba": ("experts", "eager", SPARSE["jamba"] | _WIDE | {"mamba_d_state": 2, "mamba_expand": 1}),
    "granitemoehybrid": ("experts", "sdpa", SPARSE["granitemoehybrid"] | _WIDE | _NARROW),
    "granitemoehybrid-shared": (
        "mlp", "sdpa", SPARSE["granitemoehybrid"] | _NARROW | {"shared_intermediate_size": 4000},
    ),
    "nemotron_h": ("experts", "eager", SPARSE["nemotron_h"] | _WIDE | _NARROW_NEMOTRON | {"intermediate_size": 272}),
    "nemotron_h-mlp": ("mlp", "sdpa", SPARSE["nemotron_h"] | _NARROW_NEMOTRON | {"intermediate_size": 5000}),
    "nemotron_h-shared": (
        "shared expert", "sdpa",
        SPARSE["nemotron_h"] | _NARROW_NEMOTRON | {"moe_shared_expert_intermediate_size": 5000},
    ),
    "qwen3_next": ("experts", "sdpa", SPARSE["qwen3_next"] | _WIDE),
    "qwen3_next-shared": ("shared expert", "sdpa", SPARSE["qwen3_next"] | {"shared_expert_intermediate_size": 8000}),
    "qwen3_5-outputs": (
        "outputs joined", "sdpa",
        FAMILIES["qwen3_5-square"] | {"linear_key_head_dim": 40, "linear_value_head_dim": 41},
    ),
    "qwen3_5": ("query norm", "sdpa", FAMILIES["qwen3_5"] | {"num_attention_heads": 24, "head_dim": 64}),
    "qwen3_5-scores": ("attention scores", "eager", FAMILIES["qwen3_5"] | {"num_attention_heads": 24, "head_dim": 64}),
}  # fmt: skip


def _differences(raw: dict[str, Any], dtypes: tuple[str, ...]) -> dict[str, float]:
    found = {}
    kernels = ("sdpa",) if "mamba" in raw["model_type"] and "mamba_n_heads" not in raw else ("sdpa", "eager")
    for dtype, batch, prompt in zip(dtypes, (2, 1), (45, 64), strict=True):
        for kernel in kernels:
            case = phase_differences(raw, prompt=prompt, new=4, batch=batch, dtype=dtype, attention=kernel)  # type: ignore[arg-type]
            found |= {f"{dtype} {kernel} {batch} × {prompt} {phase}": value for phase, value in case.items()}
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_recurrent_families_meet_the_replay(name: str) -> None:
    found = _differences(FAMILIES[name], ("fp16", "fp32"))
    assert max(map(abs, found.values())) <= WORST_PERCENT, found
    assert median(map(abs, found.values())) <= MEDIAN_PERCENT, found


@pytest.mark.parametrize("name", SPARSE)
def test_recurrent_families_with_experts_meet_the_replay(name: str) -> None:
    found = _differences(SPARSE[name], ("bf16", "bf16"))
    assert max(map(abs, found.values())) <= WORST_PERCENT, found
    assert median(map(abs, found.values())) <= MEDIAN_PERCENT, found


@pytest.mark.parametrize("name", OTHERS)
def test_a_hybrid_with_narrow_mixers_peaks_elsewhere(name: str) -> None:
    moment, kernel, raw = OTHERS[name]
    case = {"prompt": 200, "new": 0, "batch": 1, "dtype": "bf16", "attention": kernel}
    work = Workload(prompt_tokens=200, dtype="bf16", attention=kernel)  # type: ignore[arg-type]
    assert estimate_phases(parse_config(raw), work)[0].moment == moment
    assert abs(phase_differences(raw, **case)["prefill"]) <= 0.5  # type: ignore[arg-type]


def test_a_state_does_not_grow_but_a_scan_does() -> None:
    mamba = parse_config(FAMILIES["mamba"])
    short, long = (estimate_phases(mamba, Workload(prompt_tokens=n, new_tokens=4)) for n in (64, 512))
    assert 7.9 < long[0].activation_bytes / short[0].activation_bytes < 8
    # a decode step's state is the same; only the 8-byte ids of the longer context are more
    assert long[1].activation_bytes - short[1].activation_bytes == 8 * (512 - 64)


def test_a_padded_chunk_costs_as_much_as_a_full_one() -> None:
    mamba2 = parse_config(FAMILIES["mamba2"])
    one_more, full = (
        estimate_phases(mamba2, Workload(prompt_tokens=n))[0].activation_bytes for n in (33, 64)
    )  # fmt: skip
    just_one = estimate_phases(mamba2, Workload(prompt_tokens=32))[0].activation_bytes
    assert full - one_more < 0.1 * full < one_more - just_one


def test_the_explanation_names_the_scan_and_its_letters() -> None:
    mamba = parse_config(FAMILIES["mamba"])
    work = Workload(prompt_tokens=100)
    text = explain_phase(mamba, work, estimate_phases(mamba, work)[0])
    assert text.startswith("prefill, selective scan: T·i·s·12")
    assert "i = 272" in text
    assert "s = 13" in text
