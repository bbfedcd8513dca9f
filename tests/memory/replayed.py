"""A shrunken model's phases by closed form and by replay of transformers' own code."""

from __future__ import annotations

from typing import Any

from gpufit.facts.read import parse_config
from gpufit.memory.activations import estimate_phases
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.workload import AttentionKernel, Workload
from gpufit.records import replace


def phase_differences(
    raw: dict[str, Any], *, prompt: int, new: int, batch: int, dtype: str, attention: AttentionKernel
) -> dict[str, float]:
    """How far each phase's cache and activations lie from the replay's bytes above the weights, in percent."""
    from gpufit.replay.oracle import peak_above_weights

    architecture = parse_config(raw)
    work = Workload(prompt_tokens=prompt, new_tokens=new, batch=batch, dtype=dtype, attention=attention)
    fed = replace(work, new_tokens=max(new - 1, 0))  # the last token is chosen, never fed
    phases = {phase.name: phase for phase in estimate_phases(architecture, work)}
    peaks = peak_above_weights(raw, prompt=prompt, new=new, batch=batch, dtype=dtype, attention=attention)
    assert set(peaks) == set(phases), "the closed form and the replay know different phases"
    found = {}
    for name, peak in peaks.items():
        cache = count_cache(architecture, fed if name == "decode" else work, after_prefill=name != "decode")
        found[name] = 100 * ((cache + phases[name].activation_bytes) / peak.above_bytes - 1)
    return found
