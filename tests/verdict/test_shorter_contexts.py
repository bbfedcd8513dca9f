"""The longest context that is promised: every length up to it fits, though memory may fall as a context grows."""

from __future__ import annotations

import os
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufit.api import load_catalog
from gpufit.devices.device import Device
from gpufit.facts.architecture import Architecture
from gpufit.facts.read import parse_config
from gpufit.memory.estimate import estimate
from gpufit.memory.solve import with_context
from gpufit.memory.workload import Workload
from gpufit.verdict.advise import Adviser
from gpufit.verdict.budget import make_budget
from gpufit.verdict.check import Subject, check_fit

WINDOWED = {
    "model_type": "mistral", "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 3,
    "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 3000,
}  # fmt: skip
T5 = {
    "model_type": "t5", "d_model": 128, "d_ff": 512, "d_kv": 32, "num_heads": 4, "num_layers": 3, "vocab_size": 700,
    "n_positions": 3000, "architectures": ["T5ForConditionalGeneration"],
}  # fmt: skip


@cache
def model(window: int) -> Architecture:
    return parse_config({**WINDOWED, "sliding_window": window} if window else T5)


def adviser_of(architecture: Architecture, w: Workload, budget_bytes: int) -> Adviser:
    device = Device(
        name="a card", source="given", total_bytes=budget_bytes, free_bytes=budget_bytes,
        compute_capability=w.compute_capability,
    )  # fmt: skip
    return Adviser(architecture, device, make_budget(device))


def between(adviser: Adviser, w: Workload, top: int, part: float) -> int:
    """A budget between what the shortest and what a long context need."""
    low, high = (adviser.need(estimate(adviser.architecture, with_context(w, n))) for n in (1, top))
    return low + int((high - low) * part)


def hold(architecture: Architecture, w: Workload, budget_bytes: int, step: int) -> None:
    """What ``longest_context`` and ``larger_below`` promise, at every ``step``-th length and around the window."""
    adviser = adviser_of(architecture, w, budget_bytes)
    asked, longest = w.context_tokens, adviser.longest_context(w)
    asked_fits = adviser.weigh(w).verdict == "fits"
    first = asked if asked_fits else 1
    assert longest >= asked if asked_fits else longest < asked
    over = {
        n
        for n in {*range(first, longest + 1, step), *range(longest - 9, longest + 1)}
        if n >= first and adviser.need(estimate(architecture, with_context(w, n))) > budget_bytes
    }
    assert not over
    if asked_fits:
        shorter = adviser.larger_below(w)
        for n in range(1, asked, step):
            fits = adviser.need(estimate(architecture, with_context(w, n))) <= budget_bytes
            assert fits or shorter is not None, n
        assert shorter is None or shorter.verdict != "fits"


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([0, 16, 100, 512, 1000, 2047]),
    st.builds(
        Workload, prompt_tokens=st.integers(1, 2400), new_tokens=st.integers(0, 400), batch=st.integers(1, 9),
        dtype=st.sampled_from(["fp32", "fp16", "bf16"]), attention=st.sampled_from(["eager", "sdpa"]),
        compute_capability=st.sampled_from([None, (7, 5), (8, 9)]),
    ),
    st.floats(0, 1.2),
)  # fmt: skip
def test_every_length_up_to_the_longest_context_fits(window: int, w: Workload, part: float) -> None:
    architecture = model(window)
    big = adviser_of(architecture, w, 1 << 50)
    hold(architecture, w, between(big, w, 3000, part), step=13)


@pytest.mark.parametrize("capability", [(7, 5), (8, 9)])
def test_it_holds_for_a_model_of_every_form(capability: tuple[int, int]) -> None:
    forms = {a.form: a for entry in load_catalog(None, os.environ).entries for a in (entry.architecture(),)}
    for index, architecture in enumerate(forms.values()):
        if architecture.task == "vision":
            continue
        top = min(architecture.max_context_tokens or 6000, 6000)
        new = (1, 64, 256)[index % 3] if architecture.generates else 0
        asked = (top, top // 2, min(top, 3001))[index % 3]
        w = with_context(
            Workload(prompt_tokens=1, new_tokens=new, dtype="fp16", compute_capability=capability), max(new + 1, asked)
        )
        big = adviser_of(architecture, w, 1 << 60)
        for part in (0.4, 0.97):
            hold(architecture, w, between(big, w, top, part), step=max(1, top // 20))


def test_prompts_below_a_window_may_need_more_than_longer_ones() -> None:
    """Grouped queries in fp32: a prompt below the window of 1,024 runs PyTorch's unfused kernel; beyond it a mask
    rules that out, so that 2,000 tokens fit where 1,023 and 10 new ones do not."""
    w = Workload(prompt_tokens=1990, new_tokens=10, dtype="fp32", batch=8, compute_capability=(8, 9))
    architecture = model(1024)
    big = adviser_of(architecture, w, 1 << 50)
    need = {n: big.need(estimate(architecture, with_context(w, n))) for n in (1033, 1034, 2000)}
    assert need[1033] > need[2000] > need[1034]
    adviser = adviser_of(architecture, w, need[2000])
    assert adviser.longest_context(w) == 2000
    shorter = adviser.larger_below(w)
    assert shorter is not None
    assert shorter.workload.context_tokens == 1033
    subject = Subject(name="a model", origin="a test", architecture=architecture)
    notes = check_fit(subject, w, adviser.device).notes
    assert [note for note in notes if "1,033 tokens" in note]
    tight = adviser_of(architecture, w, need[2000] - 1)
    assert tight.longest_context(w) < 1033
