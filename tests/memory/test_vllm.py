"""vLLM's own figures: weights per rank, peak activation, bytes of cache per token."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import median

import pytest

from gpufit.errors import Undecided, UsageError
from gpufit.facts.read import parse_config
from gpufit.memory.breakdown import break_down
from gpufit.memory.estimate import estimate
from gpufit.memory.vllm.cache import plan_pool
from gpufit.memory.vllm.engine import Engine, make_engine, parse_version
from gpufit.memory.vllm.plan import plan_vllm
from gpufit.memory.vllm.profile import estimate_profile
from gpufit.memory.vllm.weights import count_rank_weights
from gpufit.memory.workload import Quantization, Workload

LLAMA = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
}  # fmt: skip
GEMMA = {
    "model_type": "gemma3_text", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 32000, "sliding_window": 1024,
    "max_position_embeddings": 131072, "sliding_window_pattern": 6,
}  # fmt: skip
H100_BYTES = 85_520_809_984
CARDS = {"H100-80GB": ((9, 0), H100_BYTES)}
FORMATS: dict[str, Quantization] = {"none": "none", "mxfp4": "mxfp4", "fp8": "fp8"}


def errors(shared: Path, metric: str) -> list[float]:
    """|predicted / measured - 1| of every row with a stated version, or whose figure does not depend on it."""
    found = []
    with (shared / "measured" / "inference.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["engine"] == "vllm" and row["metric"] == metric]
    for row in rows:
        path = shared / "configs" / f"{row['architecture'].replace('/', '__')}.json"
        if row["quant_method"] not in FORMATS or (metric != "weights_only" and not row["engine_version"]):
            continue
        architecture = parse_config(json.loads(path.read_text(encoding="utf-8")))
        dtype = row["weight_dtype"] if row["weight_dtype"] in ("fp16", "bf16") else "bf16"
        capability, total = CARDS.get(row["gpu"], (None, None))
        w = Workload(
            prompt_tokens=int(row["max_model_len"] or 2048), dtype=dtype, quant=FORMATS[row["quant_method"]],
            tensor_parallel=int(row["tensor_parallel"]), compute_capability=capability, device_total_bytes=total,
        )  # fmt: skip
        if metric == "weights_only":
            predicted = count_rank_weights(architecture, dtype, w.quant, w.tensor_parallel).held.likely_bytes
        else:
            engine = make_engine(architecture, w, version=parse_version(row["engine_version"]))
            predicted = estimate_profile(architecture, dtype, engine, capability).peak.likely_bytes
        found.append(abs(predicted / int(row["measured_bytes"]) - 1))
    return found


def test_published_weights_are_met_at_a_median_of_a_tenth_of_a_percent(shared: Path) -> None:
    assert median(errors(shared, "weights_only")) <= 0.001


def test_published_activation_peaks_with_a_stated_version_are_all_met_within_half_a_percent(shared: Path) -> None:
    assert max(errors(shared, "activation_peak")) <= 0.005


def test_a_rank_holds_its_share_and_ranks_beyond_the_key_heads_copy_them() -> None:
    """The V and K projections of 8 heads shared by 16 ranks leave one head, 128 × 4096 × 2 B, on each."""
    llama = parse_config(LLAMA)
    one, two, sixteen = (count_rank_weights(llama, "bf16", "none", n).stored.likely_bytes for n in (1, 2, 16))
    norms = (2 * 32 + 1) * 4096 * 2
    assert two - norms == (one - norms) // 2
    assert sixteen - norms == (one - norms) // 16 + 32 * 2 * (128 * 4096 * 2) // 2


@pytest.mark.parametrize(
    ("name", "ranks", "printed_gib", "digits"),
    [
        ("deepseek-ai__DeepSeek-R1-Distill-Qwen-14B", 2, 13.9476, 0.005),
        ("Qwen__Qwen3-32B", 2, 30.59, 0.01),
        ("meta-llama__Llama-3.1-8B-Instruct", 1, 14.9888, 0.0001),
        ("Qwen__Qwen3-0.6B", 1, 1.12, 0.005),
    ],
)
def test_weights_are_what_vllm_prints_after_loading(
    shared: Path, name: str, ranks: int, printed_gib: float, digits: float
) -> None:
    """With the rests of 2 MiB segments that the allocator cannot split off, 160 MiB of the first one."""
    architecture = parse_config(json.loads((shared / "configs" / f"{name}.json").read_text(encoding="utf-8")))
    held = count_rank_weights(architecture, "bf16", "none", ranks).held.likely_bytes
    assert held / 2**30 == pytest.approx(printed_gib, abs=digits)


def test_the_vocabulary_is_padded_to_64() -> None:
    odd = parse_config({**LLAMA, "vocab_size": 128257, "tie_word_embeddings": True})
    even = parse_config({**LLAMA, "vocab_size": 128320, "tie_word_embeddings": True})
    assert count_rank_weights(odd, "bf16", "none").stored == count_rank_weights(even, "bf16", "none").stored


def test_defaults_follow_release_and_card() -> None:
    llama = parse_config(LLAMA)
    small = Workload(prompt_tokens=4096)
    large = Workload(prompt_tokens=4096, device_total_bytes=H100_BYTES, compute_capability=(9, 0))
    a100 = Workload(prompt_tokens=4096, device_total_bytes=H100_BYTES, compute_capability=(8, 0))
    found = [(e.batched_tokens, e.sequences) for e in (make_engine(llama, w) for w in (small, large, a100))]
    assert found == [(2048, 256), (8192, 1024), (2048, 256)]
    old = make_engine(llama, small, version=(0, 6, 4))
    assert (old.batched_tokens, old.sequences, old.default_utilization_percent) == (4096, 256, 90)


def test_only_the_driver_rank_of_the_old_engine_samples() -> None:
    """A published figure of two RTX 4090: 204,010,947 bytes on the rank that does not."""
    qwen = parse_config({
        "model_type": "qwen2", "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48,
        "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 152064, "max_position_embeddings": 131072,
    })  # fmt: skip
    engine = make_engine(qwen, Workload(prompt_tokens=131072, tensor_parallel=2), version=(0, 7, 2))
    other = estimate_profile(qwen, "bf16", engine, (8, 9), is_driver=False).peak.likely_bytes
    assert other == pytest.approx(204_010_947, rel=0.05)
    assert estimate_profile(qwen, "bf16", engine, (8, 9)).peak.likely_bytes > 5 * other


def test_windows_and_full_layers_share_blocks_in_groups() -> None:
    """26 layers, every sixth full: 4 full and 22 with a window make groups of 4, so 1 and 6 of them."""
    engine = Engine(version=(0, 33, 0), batched_tokens=2048, sequences=256)
    pool = plan_pool(parse_config(GEMMA), Workload(prompt_tokens=32768), engine)
    page = 16 * 4 * 512 * 2
    window = -(-(1024 - 1 + 2048) // 16) + 1
    assert pool.block_bytes == 4 * page
    assert pool.request_blocks == 32768 // 16 + 6 * window
    assert pool.requests_in(pool.bytes_for(3)) == 3
    assert pool.requests_in(pool.bytes_for(3) - 1) == 2


def test_before_the_hybrid_pool_windows_cached_every_token() -> None:
    engine = Engine(version=(0, 8, 2), batched_tokens=2048, sequences=256)
    pool = plan_pool(parse_config(GEMMA), Workload(prompt_tokens=32768), engine)
    assert pool.request_bytes == 26 * 32768 * 4 * 512 * 2


def test_rows_sum_to_the_process_total_and_more_context_never_needs_less() -> None:
    llama = parse_config(LLAMA)
    last = 0
    for context in (1, 17, 4096, 8192):
        e = estimate(llama, Workload(prompt_tokens=context, runtime="vllm", tensor_parallel=2))
        for end in ("low_bytes", "likely_bytes", "high_bytes"):
            assert sum(getattr(row.range, end) for row in break_down(e)) == getattr(e.process, end)
        assert e.process.likely_bytes >= last
        last = e.process.likely_bytes


def test_the_solved_utilization_holds_the_high_end_and_one_percent_less_does_not() -> None:
    from gpufit.memory.runtime import DRIVER_CONTEXT, runtime_fact

    e = estimate(parse_config(LLAMA), Workload(prompt_tokens=4096, runtime="vllm", compute_capability=(9, 0)))
    plan = plan_vllm(
        e, model="m", total_bytes=H100_BYTES, budget_bytes=H100_BYTES, longest_tokens=8192, largest_batch=9
    )  # fmt: skip
    utilization = dict(plan.values)["gpu_memory_utilization"]
    assert isinstance(utilization, float)
    need = e.process.high_bytes - runtime_fact(DRIVER_CONTEXT, (9, 0)).bytes.high_bytes
    assert (utilization - 0.01) * H100_BYTES < need <= utilization * H100_BYTES
    assert f"--gpu-memory-utilization {utilization:.2f}" in plan.command


def test_pictures_are_undecided_and_heads_that_do_not_divide_are_refused(shared: Path) -> None:
    path = shared / "configs" / "openai__whisper-large-v3.json"
    whisper = parse_config(json.loads(path.read_text(encoding="utf-8")))
    with pytest.raises(Undecided):
        estimate(whisper, Workload(prompt_tokens=100, runtime="vllm"))
    with pytest.raises(UsageError):
        estimate(parse_config(LLAMA), Workload(prompt_tokens=100, runtime="vllm", tensor_parallel=3))
