"""States and step temporaries against the real optimizers on the CPU, tensor by tensor."""

from __future__ import annotations

from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.training.adapters import Trained, trained_tensors
from gpufit.memory.training.optimizers import count_optimizer
from gpufit.memory.training.plan import OPTIMIZERS, Optimizer, TrainingPlan

TINY: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 172,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 500,
}  # fmt: skip
STEP_COUNTS = 4  # bytes a tensor that are counted as the allocator's block, not as a state


def test_foreach_full_tuning_in_bf16_is_ten_bytes_a_parameter() -> None:
    """Weights 2, gradients 2, two states 4, and the list of denominators 2, whatever the model."""
    one = Trained(name="w", shape=(1024, 1024), copies=24, dtype="bf16")
    optimizer = count_optimizer("adamw-foreach", [one])
    assert (2 * one.total_bytes + optimizer.states_bytes + optimizer.step_bytes) / one.parameters == 10.0


def test_eight_bit_states_keep_small_tensors_and_embeddings_in_32_bits() -> None:
    """One tensor of 4,095 elements: 2 x 4 bytes each. One of 4,096: 2 x (1 + 4/256) each, and the two maps."""
    small = Trained(name="s", shape=(4095,), copies=1, dtype="bf16")
    large = Trained(name="l", shape=(64, 64), copies=1, dtype="bf16")
    rows = Trained(name="e", shape=(64, 64), copies=1, dtype="bf16", embedding=True)
    sizes = [count_optimizer("adamw-8bit", [t]).states_bytes for t in (small, large, rows)]
    assert sizes == [8 * 4095, 2 * (4096 + 64) + 2048, 8 * 4096]


def test_paged_states_leave_the_device_from_a_hundred_thousand_elements() -> None:
    below = Trained(name="a", shape=(99_999,), copies=1, dtype="fp32")
    above = Trained(name="b", shape=(100_000,), copies=1, dtype="fp32")
    found = count_optimizer("paged-adamw-32bit", [below, above])
    assert (found.states_bytes, found.paged_bytes) == (8 * 99_999, 8 * 100_000)


def test_galore_projects_the_shorter_side() -> None:
    """A 4096 x 11008 matrix at rank 128: two states of 128 x 11008 and a projector of 128 x 4096, all in bf16."""
    one = Trained(name="w", shape=(4096, 11008), copies=1, dtype="bf16")
    assert count_optimizer("galore", [one]).states_bytes == 2 * (2 * 128 * 11008 + 128 * 4096)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "galore"])
def test_the_real_optimizer_needs_what_is_counted(name: Optimizer, dtype: str) -> None:
    """Two steps on random gradients: the states' bytes, and the peak of the second step above them."""
    torch = pytest.importorskip("torch", reason="runs torch's optimizers")
    pytest.importorskip("transformers", reason="runs the Trainer's Adafactor")
    pytest.importorskip("bitsandbytes", reason="runs its 8-bit optimizers")
    from gpufit.replay.build import build_model
    from gpufit.replay.recording import find_peaks
    from gpufit.replay.tracker import Tracker

    model = build_model(TINY, dtype=dtype, attention="sdpa").to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
        parameter.grad = torch.randn_like(parameter)
    optimizer = _make(name, model)
    tracker = Tracker("cpu")
    tracker.register(model.named_parameters())
    tracker.register((n, p.grad) for n, p in model.named_parameters())
    with tracker.watching(model):
        with tracker.phase("first", counted=False):
            optimizer.step()
        with tracker.phase("step"):
            optimizer.step()
    held = {"step", "RMS", "qmap1", "qmap2"}
    states = [t for s in optimizer.state.values() for k, t in s.items() if torch.is_tensor(t) and k not in held]
    states_bytes = sum(t.numel() * t.element_size() for t in states)
    counted = count_optimizer(name, trained_tensors(parse_config(TINY), TrainingPlan(weight_dtype=dtype)))
    maps = 2048 if name.endswith("8bit") else 0  # held by the optimizer, not by a tensor's state
    assert counted.states_bytes + counted.paged_bytes == states_bytes + maps
    recording = tracker.recording()
    above = find_peaks(recording)[0].live_bytes - recording.resident_bytes - states_bytes
    tensors = len(list(model.parameters()))
    assert 0 <= above - counted.step_bytes <= STEP_COUNTS * tensors


def _make(name: Optimizer, model: Any) -> Any:
    """The optimizer as the Trainer makes it, in two parameter groups."""
    import bitsandbytes
    import torch
    from transformers.optimization import Adafactor

    named = list(model.named_parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in named if ("norm" in n) is plain]} for plain in (False, True)
    ]
    if name.endswith("8bit"):
        manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
        manager.register_module_override(model.get_input_embeddings(), "weight", {"optim_bits": 32})
    bits = 8 if name.endswith("8bit") else 32
    return {
        "adamw-foreach": lambda: torch.optim.AdamW(groups, foreach=True),
        "adamw-fused": lambda: torch.optim.AdamW(groups, fused=True),
        "adamw-loop": lambda: torch.optim.AdamW(groups, foreach=False),
        "sgd": lambda: torch.optim.SGD(groups, lr=0.1, foreach=True),
        "sgd-momentum": lambda: torch.optim.SGD(groups, lr=0.1, momentum=0.9, foreach=True),
        "adafactor": lambda: Adafactor(groups, lr=1e-3, scale_parameter=False, relative_step=False),
        "lion": lambda: bitsandbytes.optim.Lion(groups, optim_bits=bits),
        "lion-8bit": lambda: bitsandbytes.optim.Lion(groups, optim_bits=bits),
        "adamw-8bit": lambda: bitsandbytes.optim.AdamW(groups, optim_bits=bits),
        "paged-adamw-8bit": lambda: bitsandbytes.optim.AdamW(groups, optim_bits=bits),  # paged on CUDA alone
        "paged-adamw-32bit": lambda: bitsandbytes.optim.AdamW(groups, optim_bits=bits),
    }[name]()
