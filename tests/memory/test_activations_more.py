"""Closed forms with plans of their own against the replay: Llama 4, Gemma 4, MiMo-V2-Flash, MPT, DeepSeek-V4, LED."""

from __future__ import annotations

from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.activations import estimate_phases
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.workload import Workload
from gpufit.records import replace

from .shrunken import DEEPSEEK_V4, LED
from .shrunken import OWN_PLANS as MODELS

pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")

PROMPT, NEW, BATCH = 331, 6, 2
EAGER_ONLY = {"mimo", "mpt"}


def differences(config: dict[str, Any], attention: Any) -> dict[str, float]:
    """Percent by which each phase's estimate differs from the replay, above the weights."""
    from gpufit.replay.oracle import peak_above_weights

    workload = Workload(prompt_tokens=PROMPT, new_tokens=NEW, batch=BATCH, dtype="bf16", attention=attention)
    truth = peak_above_weights(config, prompt=PROMPT, new=NEW, batch=BATCH, dtype="bf16", attention=attention)
    architecture = parse_config(config)
    fed = replace(workload, new_tokens=NEW - (0 if architecture.is_encoder_decoder else 1))
    caches = {"encode": 0, "prefill": count_cache(architecture, workload, after_prefill=True),
              "decode": count_cache(architecture, fed)}  # fmt: skip
    phases = estimate_phases(architecture, workload)
    assert {phase.name for phase in phases} == set(truth)
    return {
        phase.name: 100 * ((phase.activation_bytes + caches[phase.name]) / truth[phase.name].above_bytes - 1)
        for phase in phases
    }


@pytest.mark.real
@pytest.mark.parametrize("name", MODELS)
def test_every_phase_is_within_one_percent_of_the_replay(name: str) -> None:
    for attention in ("eager",) if name in EAGER_ONLY else ("eager", "sdpa"):
        found = differences(MODELS[name], attention)
        assert {phase: percent for phase, percent in found.items() if abs(percent) > 1} == {}, attention


@pytest.mark.real
def test_the_form_of_deepseek_v4_is_near_and_no_more_than_a_percent_low() -> None:
    """Its decode counts the most tokens that can wait for compression, so it lies high."""
    found = differences(DEEPSEEK_V4, "eager")
    assert all(-1 <= percent < 15 for percent in found.values()), found


@pytest.mark.real
@pytest.mark.parametrize("changes", [{}, {"attention_window": 16, "encoder_ffn_dim": 9000}, {"attention_window": 512}])
def test_led_in_windows_of_any_width_is_within_half_a_percent_of_the_replay(changes: dict[str, Any]) -> None:
    """The last case has one chunk a sequence, most of it padding."""
    found = differences({**LED, **changes}, "eager")
    assert abs(found["encode"]) < 0.05, found
    assert max(map(abs, found.values())) < 0.5, found
