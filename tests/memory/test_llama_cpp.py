"""llama.cpp's buffers equal those that the library itself reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufit.errors import Undecided, Unsupported, UsageError
from gpufit.facts.architecture import Architecture, Attention, Stack
from gpufit.facts.read import parse_config
from gpufit.memory.estimate import estimate
from gpufit.memory.llama_cpp.allocator import Node, peak_bytes
from gpufit.memory.llama_cpp.cache import count_encoder_buffer, count_kv_buffer
from gpufit.memory.llama_cpp.estimate import count_compute_buffer
from gpufit.memory.llama_cpp.graph import Batch, layer_graph
from gpufit.memory.llama_cpp.plan import solve_layers
from gpufit.memory.llama_cpp.weights import MIXTURES, count_model_buffer
from gpufit.memory.workload import GGUF_QUANTIZATIONS, Workload
from gpufit.units import MIB

LLAMA = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 2,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 8192,
}  # fmt: skip
GEMMA = {
    "model_type": "gemma3_text", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 6,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 32000, "sliding_window": 1024,
    "max_position_embeddings": 8192, "sliding_window_pattern": 6,
}  # fmt: skip


def read(shared: Path, name: str) -> Architecture:
    return parse_config(json.loads((shared / "configs" / f"{name}.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("name", "mixture", "printed_mib"),
    [
        ("meta-llama__Llama-2-7b-hf", "gguf-q4_k_m", 3820.94),
        ("meta-llama__Llama-2-7b-hf", "gguf-q4_0", 3577.56),
        ("meta-llama__Meta-Llama-3-8B", "gguf-q4_k_m", 4403.49),
        ("meta-llama__Meta-Llama-3-8B", "gguf-q8_0", 7605.33),
        ("mistralai__Mistral-7B-v0.1", "gguf-q4_k_m", 4095.05),
        ("Qwen__Qwen2.5-7B", "gguf-q4_k_m", 4168.09),
    ],
)
def test_model_buffers_are_what_llama_cpp_prints_while_loading(
    shared: Path, name: str, mixture: str, printed_mib: float
) -> None:
    assert count_model_buffer(read(shared, name), mixture).device_bytes / MIB == pytest.approx(printed_mib, abs=0.006)


def test_every_mixture_of_the_command_line_has_its_types() -> None:
    assert set(MIXTURES) == set(GGUF_QUANTIZATIONS)
    sizes = [count_model_buffer(parse_config(LLAMA), f"gguf-{name}").device_bytes for name in (
        "q2_k", "q3_k_m", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k", "q8_0", "f16")]  # fmt: skip
    assert sizes == sorted(sizes)
    with pytest.raises(Unsupported):
        count_model_buffer(parse_config(LLAMA), "bnb-nf4")


@pytest.mark.parametrize(
    ("config", "context", "options", "printed_mib"),
    [
        (LLAMA, 5000, {"kv_type": "q8_0"}, 21.25),
        (LLAMA, 1666, {"sequences": 3}, 42.0),
        (GEMMA, 8192, {}, 32.0 + 30.0),
        (GEMMA, 8192, {"swa_full": True}, 32.0 + 160.0),
    ],
)
def test_kv_buffers_are_what_llama_cpp_allocates(
    config: dict[str, object], context: int, options: dict[str, object], printed_mib: float
) -> None:
    """Printed by the build that xllamacpp 2026.10 carries, for headers of these shapes without data."""
    assert count_kv_buffer(parse_config(config), context, **options).size_bytes == printed_mib * MIB  # type: ignore[arg-type]


# hidden, heads, KV heads, width, vocabulary, context of a slot, slots, micro-batch, flash attention -> printed MiB
RESERVED = [
    (4096, 32, 32, 11008, 32000, 4096, 1, 512, True, 108.52),
    (4096, 32, 32, 11008, 32000, 4096, 1, 512, False, 328.01),
    (4096, 32, 8, 14336, 128256, 8192, 1, 512, True, 132.02),
    (4096, 32, 8, 14336, 128256, 2048, 4, 512, True, 126.02),
    (4096, 32, 8, 14336, 32000, 4096, 1, 1024, True, 256.04),
    (2048, 32, 8, 8192, 32000, 2048, 1, 512, True, 70.02),
    (2048, 32, 8, 3000, 32000, 2048, 1, 512, True, 33.74),
    (896, 14, 2, 4864, 151936, 4096, 1, 512, True, 41.27),
    (896, 14, 2, 4864, 151936, 4096, 1, 512, False, 131.01),
    (512, 8, 4, 1024, 1000, 4096, 1, 512, True, 13.02),
]


@pytest.mark.parametrize("case", RESERVED)
def test_the_graph_needs_what_llama_cpp_reserves_on_a_machine_without_a_gpu(
    case: tuple[int, int, int, int, int, int, int, int, bool, float],
) -> None:
    """Compute buffers printed by the build that xllamacpp 2026.10 carries; every tensor then lies in one buffer."""
    hidden, heads, kv_heads, width, vocabulary, cells, slots, tokens, flash, printed_mib = case
    head = hidden // heads
    attention = Attention(heads=heads, kv_heads=kv_heads, head_dim=head, value_dim=head)
    stack = Stack(role="decoder", layers=2, hidden=hidden, attention=attention, mlp_width=width, gated=True)
    batch = Batch(tokens=tokens, cells=(cells,), outputs=slots, flash=flash, on_host=True)
    assert peak_bytes(layer_graph(stack, vocabulary, batch)) / MIB == pytest.approx(printed_mib, rel=0.001)


@pytest.mark.parametrize(("cells", "printed_mib"), [((8192, 1536), 77.53), ((8192, 8192), 84.03)])
def test_a_window_has_a_mask_of_its_own(cells: tuple[int, int], printed_mib: float) -> None:
    """Printed for Gemma 3's shape without and with --swa-full."""
    attention = Attention(heads=8, kv_heads=4, head_dim=256, value_dim=256)
    stack = Stack(role="decoder", layers=6, hidden=2048, attention=attention, mlp_width=8192, gated=True)
    batch = Batch(tokens=512, cells=cells, outputs=1, on_host=True)
    assert peak_bytes(layer_graph(stack, 32000, batch)) / MIB == pytest.approx(printed_mib, rel=0.001)


def test_layers_beyond_the_fourth_reserve_no_more() -> None:
    stack = Stack(
        role="decoder", layers=9, hidden=512, mlp_width=1024, gated=True,
        attention=Attention(heads=8, kv_heads=4, head_dim=64, value_dim=64),
    )  # fmt: skip
    for cells in ((4096,), (8192, 1536)):
        batch = Batch(tokens=512, cells=cells, outputs=1)
        assert peak_bytes(layer_graph(stack, 1000, batch, layers=9)) == peak_bytes(layer_graph(stack, 1000, batch))


def test_the_published_buffers_of_an_encoder_are_met_within_one_percent(shared: Path) -> None:
    """ggml-org's own log of bge-small on a V100: 42,734,925, 9,448,928 and 16,750,372 bytes."""
    bge = read(shared, "BAAI__bge-small-en-v1.5")
    assert count_model_buffer(bge, "gguf-f16").device_bytes == pytest.approx(42_734_925, rel=0.01)
    assert count_encoder_buffer(bge, 512) == pytest.approx(9_448_928, rel=0.01)
    assert count_compute_buffer(bge, 512, flash=False, all_logits=True) == pytest.approx(16_750_372, rel=0.01)


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=12))
def test_a_graph_needs_at_least_its_largest_pair_and_at_most_everything(sizes: list[int]) -> None:
    nodes = tuple(Node(size_bytes=size, reads=(i - 1,) if i else ()) for i, size in enumerate(sizes))
    aligned = [-(-size // 128) * 128 for size in sizes]
    pairs = [sum(aligned[i : i + 2]) for i in range(len(aligned))]
    assert max(pairs) <= peak_bytes(nodes) <= sum(aligned)


def test_the_solved_layers_fit_and_one_more_does_not() -> None:
    llama = parse_config({**LLAMA, "num_hidden_layers": 32})
    e = estimate(llama, Workload(prompt_tokens=4000, new_tokens=96, runtime="llama.cpp", quant="gguf-q8_0"))
    whole = e.process.high_bytes
    assert solve_layers(e, whole) == 33
    assert solve_layers(e, whole - 1) == 32
    assert solve_layers(e, 1) == 0


def test_rows_sum_to_the_process_total() -> None:
    from gpufit.memory.breakdown import break_down

    e = estimate(parse_config(LLAMA), Workload(prompt_tokens=4000, runtime="llama.cpp", quant="gguf-q4_k_m"))
    rows = break_down(e)
    for end in ("low_bytes", "likely_bytes", "high_bytes"):
        assert sum(getattr(row.range, end) for row in rows) == getattr(e.process, end)


def test_what_is_not_modelled_is_undecided_and_a_wrong_cache_type_is_refused() -> None:
    mamba = parse_config({"model_type": "mamba", "hidden_size": 256, "num_hidden_layers": 2, "vocab_size": 1000})
    with pytest.raises(Undecided):
        count_compute_buffer(mamba, 512)
    with pytest.raises(UsageError):
        count_kv_buffer(parse_config(LLAMA), 512, kv_type="fp8")
