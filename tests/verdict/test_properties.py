"""What must hold for any model, workload and budget."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufit.devices.device import Device
from gpufit.facts.architecture import Architecture
from gpufit.facts.read import parse_config
from gpufit.memory.breakdown import break_down
from gpufit.memory.estimate import estimate
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.ranges import Range
from gpufit.memory.solve import with_context
from gpufit.memory.split import share_out
from gpufit.memory.workload import Workload
from gpufit.records import replace
from gpufit.verdict.advise import Adviser
from gpufit.verdict.budget import make_budget
from gpufit.verdict.judge import judge

LLAMA = {
    "model_type": "llama", "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 1000, "max_position_embeddings": 8192,
}  # fmt: skip
WINDOWED = {**LLAMA, "model_type": "mistral", "sliding_window": 512}
GPT2 = {"model_type": "gpt2", "n_embd": 192, "n_layer": 3, "n_head": 6, "vocab_size": 900, "n_positions": 4096}
T5 = {
    "model_type": "t5", "d_model": 128, "d_ff": 512, "d_kv": 32, "num_heads": 4, "num_layers": 3, "vocab_size": 700,
    "architectures": ["T5ForConditionalGeneration"],
}  # fmt: skip
BERT = {
    "model_type": "bert", "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3,
    "num_attention_heads": 4, "vocab_size": 700, "max_position_embeddings": 4096, "architectures": ["BertForMaskedLM"],
}  # fmt: skip
MODELS = {"llama": LLAMA, "windowed": WINDOWED, "gpt2": GPT2, "t5": T5, "bert": BERT}


@cache
def model(name: str) -> Architecture:
    return parse_config(MODELS[name])


names = st.sampled_from(sorted(MODELS))
quants = st.sampled_from(["none", "bnb-int8", "bnb-nf4", "bnb-nf4-dq", "bnb-fp4", "fp8"])
workloads = st.builds(
    Workload,
    prompt_tokens=st.integers(1, 2000),
    new_tokens=st.integers(0, 500),
    batch=st.integers(1, 33),
    dtype=st.sampled_from(["fp32", "fp16", "bf16"]),
    attention=st.sampled_from(["eager", "sdpa"]),
)


def all_sizes(found: Range) -> tuple[int, ...]:
    return found.low_bytes, found.likely_bytes, found.high_bytes


@given(names, workloads, quants)
def test_sizes_are_non_negative_ordered_ints_and_rows_sum_to_the_process(name: str, w: Workload, quant: str) -> None:
    if quant == "fp8" and name == "gpt2":
        return  # Conv1D has no FP8 form; refused, as tested elsewhere
    e = estimate(model(name), replace(w, quant=quant))
    rows = break_down(e)
    for found in (e.allocated, e.reserved, e.process, e.load_peak, *(row.range for row in rows)):
        assert all(type(size) is int for size in all_sizes(found))
        assert 0 <= found.low_bytes <= found.likely_bytes <= found.high_bytes
    assert tuple(map(sum, zip(*(all_sizes(row.range) for row in rows), strict=True))) == all_sizes(e.process)
    assert all_sizes(e.allocated) <= all_sizes(e.reserved) <= all_sizes(e.process)


@given(names, workloads, st.integers(1, 300), st.integers(1, 8))
def test_more_prompt_or_batch_never_needs_less(name: str, w: Workload, tokens: int, sequences: int) -> None:
    if name == "windowed":  # past the window the fp32 kernel changes: a mask rules enable_gqa's unfused path out
        tokens = min(tokens, max(0, 510 - w.context_tokens)) if w.context_tokens < 512 else tokens
        tokens = 0 if w.prompt_tokens < 512 <= w.prompt_tokens + tokens else tokens
    if name == "t5":  # its biases are a mask, whose rows are copied where their length is no multiple of 8
        w = replace(w, prompt_tokens=-(-w.prompt_tokens // 8) * 8)
        tokens *= 8
    base = estimate(model(name), w).allocated.likely_bytes
    assert estimate(model(name), replace(w, prompt_tokens=w.prompt_tokens + tokens)).allocated.likely_bytes >= base
    assert estimate(model(name), replace(w, batch=w.batch + sequences)).allocated.likely_bytes >= base


@given(workloads, st.integers(1, 4))
def test_more_layers_never_need_less(w: Workload, layers: int) -> None:
    taller = parse_config({**LLAMA, "num_hidden_layers": 4 + layers})
    assert estimate(taller, w).allocated.likely_bytes >= estimate(model("llama"), w).allocated.likely_bytes


@given(workloads)
def test_a_window_never_holds_more_than_a_full_cache(w: Workload) -> None:
    assert count_cache(model("windowed"), w) <= count_cache(model("llama"), w)


@settings(max_examples=60, deadline=None)
@given(names, workloads, st.integers(20, 4000))
def test_a_solved_answer_fits_and_one_more_does_not(name: str, w: Workload, budget_mib: int) -> None:
    device = Device(name="a card", source="given", total_bytes=budget_mib << 20, free_bytes=budget_mib << 20)
    adviser = Adviser(model(name), device, make_budget(device))
    batch = adviser.largest_batch(w)
    if batch:
        assert adviser.weigh(replace(w, batch=batch)).verdict == "fits"
    if batch < 1 << 14:
        assert adviser.weigh(replace(w, batch=batch + 1)).verdict != "fits"
    context = adviser.longest_context(w)
    longest = model(name).max_context_tokens
    if context:
        assert adviser.weigh(with_context(w, context)).verdict == "fits"
    if longest is None or context < longest:
        assert adviser.weigh(with_context(w, context + 1)).verdict != "fits"


@given(
    st.lists(st.integers(0, 1 << 40), min_size=3, max_size=3).map(sorted),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
)
def test_a_larger_budget_never_turns_a_better_verdict_into_a_worse_one(sizes: list[int], one: int, two: int) -> None:
    order = ("no", "tight", "fits")
    need = Range(*sizes)
    small, large = sorted((one, two))
    assert order.index(judge(need, small)) <= order.index(judge(need, large))


@given(names, workloads, st.integers(2, 8))
def test_sharing_out_never_needs_more_a_device_and_never_loses_weights(name: str, w: Workload, devices: int) -> None:
    e = estimate(model(name), w)
    share = share_out(e, devices)
    assert share.process.likely_bytes <= e.process.likely_bytes
    assert sum(card.blocks for card in share.cards) == sum(stack.layers for stack in model(name).stacks)
    assert abs(sum(card.weights_bytes for card in share.cards) - e.weights.total_bytes) <= devices
    assert share.process.likely_bytes >= (e.weights.total_bytes + e.kv_cache_bytes) // devices


def test_verdict_words_at_their_exact_borders() -> None:
    need = Range(10, 20, 30)
    assert [judge(need, budget) for budget in (30, 29, 20, 19)] == ["fits", "tight", "tight", "no"]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_recommendation_and_the_changes_really_fit(name: str) -> None:
    w = Workload(prompt_tokens=1024, new_tokens=64, batch=4, dtype="fp32", attention="eager")
    need = estimate(model(name), w).process.likely_bytes
    device = Device(name="a card", source="given", total_bytes=need - 1, free_bytes=need - 1)
    adviser = Adviser(model(name), device, make_budget(device))
    assert adviser.weigh(w).verdict == "no"
    options = adviser.changes(w, tuple)
    assert 1 <= len(options) <= 3
    for option in options:
        assert option.verdict in ("fits", "tight")
        assert adviser.weigh(option.workload).process == option.process
        assert option.headroom_bytes >= 0
