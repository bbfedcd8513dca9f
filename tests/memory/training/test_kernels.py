"""What fused kernels save, by hand."""

from __future__ import annotations

from gpufit.facts.read import parse_config
from gpufit.memory.training.forward import micro_step
from gpufit.memory.training.plan import Kernels, TrainingPlan

LAYERS, HEADS, HIDDEN, KEYS, MLP = 3, 4, 64, 32, 112
TOKENS = 66


def saved(kernels: Kernels, layers: int = LAYERS) -> int:
    architecture = parse_config(
        {
            "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": MLP, "vocab_size": 199,
            "num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": 2,
        }
    )  # fmt: skip
    return micro_step(architecture, TrainingPlan(micro_batch=2, seq=33, fused_kernels=kernels)).saved_bytes


def test_a_layer_with_fused_kernels_by_hand() -> None:
    """bf16: both norms' inputs and outputs, queries, keys, values and the kernel's output, gate, up, silu(gate) and
    their product; fp32: one number a row for each norm, one a row and head for the attention.
    """
    layer = TOKENS * (2 * (4 * HIDDEN + 2 * HIDDEN + 2 * KEYS + 4 * MLP) + 4 * (2 + HEADS))
    assert saved("fms", 3) - saved("fms", 2) == layer


def test_liger_keeps_no_silu_by_hand() -> None:
    assert saved("fms") - saved("liger") == LAYERS * TOKENS * 2 * MLP
    assert saved("none") > saved("fms")
