"""The closed forms against the replay of transformers' own code, on shrunken models of every family.

Each configuration keeps its family's proportions but few layers; sizes are primes or odd where a family allows it,
so that two terms that happen to coincide at published sizes cannot hide each other.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.activations import Phase, estimate_phases
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.workload import Workload

from .shrunken import DENSE as FAMILIES

pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")

PROMPT, NEW, BATCH = 331, 6, 2
WORST_PERCENT, MEDIAN_PERCENT = 2.0, 0.2

EAGER_ONLY = {"gemma2", "bloom", "gptj", "deberta"}
WIDE = {"llama-grouped", "qwen3", "olmo2", "cohere", "gpt2", "bloom", "gptj", "falcon", "bert", "deberta", "t5"}
EXPERTS = {"mixtral", "qwen3_moe", "deepseek_v3"}  # torch's grouped product has no fp16 shape rule off the GPU


def above_weights(config: dict[str, Any], workload: Workload, phase: Phase) -> int:
    """The estimate of everything above the weights: the cache at that moment, and the temporaries."""
    architecture = parse_config(config)
    if phase.name == "encode" and architecture.is_encoder_decoder:
        return phase.activation_bytes
    if phase.name in ("encode", "prefill"):
        return phase.activation_bytes + count_cache(architecture, workload, after_prefill=True)
    fed = workload.new_tokens - (0 if architecture.is_encoder_decoder else 1)  # the last token is never fed back
    last = Workload(prompt_tokens=workload.prompt_tokens, new_tokens=fed, batch=workload.batch, dtype=workload.dtype)
    return phase.activation_bytes + count_cache(architecture, last)


def differences(name: str, dtype: str, attention: Any) -> dict[str, float]:
    """Percent by which each phase's estimate differs from the replay, above the weights."""
    from gpufit.replay.oracle import peak_above_weights

    config = FAMILIES[name]
    workload = Workload(prompt_tokens=PROMPT, new_tokens=NEW, batch=BATCH, dtype=dtype, attention=attention)
    truth = peak_above_weights(config, prompt=PROMPT, new=NEW, batch=BATCH, dtype=dtype, attention=attention)
    phases = estimate_phases(parse_config(config), workload)
    assert {phase.name for phase in phases} == set(truth)
    return {
        phase.name: 100 * (above_weights(config, workload, phase) / truth[phase.name].above_bytes - 1)
        for phase in phases
    }


CASES = [
    (name, dtype, attention)
    for name in FAMILIES
    for dtype in (("bf16",) if name in EXPERTS else ("fp16", "fp32") if name in WIDE else ("fp16",))
    for attention in (("eager",) if name in EAGER_ONLY else ("eager", "sdpa"))
]


@pytest.mark.real
@pytest.mark.parametrize("name", FAMILIES)
def test_every_phase_is_within_two_percent_of_the_replay(name: str) -> None:
    found = {
        (dtype, attention, phase): round(percent, 2)
        for family, dtype, attention in CASES
        if family == name
        for phase, percent in differences(name, dtype, attention).items()
        # the replay's last step follows a prefill of all tokens, so its window layers still hold them whole
        if (name, phase) != ("mistral-window", "decode")
    }
    assert {case: percent for case, percent in found.items() if abs(percent) > WORST_PERCENT} == {}
    assert median(map(abs, found.values())) <= 5 * MEDIAN_PERCENT  # a family may sit higher than the whole matrix


@pytest.mark.real
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_mask_with_biases_is_copied_only_where_its_rows_are_not_aligned(attention: Any) -> None:
    """falcon-rw, whose mask holds every head's ALiBi: 7 × 1,500² × 2 bytes are 31.5 MB, and decide the peak.

    1,500 is no multiple of 8, so the memory-efficient kernel takes an aligned copy of it; of 1,504 it takes none.
    """
    from gpufit.replay.oracle import peak_above_weights

    config, moments = FAMILIES["falcon-alibi"], []
    for prompt in (1500, 1504):
        workload = Workload(prompt_tokens=prompt, new_tokens=2, dtype="fp16", attention=attention)
        truth = peak_above_weights(config, prompt=prompt, new=2, batch=1, dtype="fp16", attention=attention)["prefill"]
        (prefill, _) = estimate_phases(parse_config(config), workload)
        moments.append(prefill.moment)
        assert above_weights(config, workload, prefill) == pytest.approx(truth.above_bytes, rel=0.002)
    assert moments == (["attention", "mlp"] if attention == "sdpa" else ["attention scores"] * 2)
