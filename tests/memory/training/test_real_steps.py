"""Whole training steps on real CPU tensors: live bytes of every phase against the estimate, within 3 %."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="runs real training steps and needs torch")
pytest.importorskip("transformers", reason="runs real training steps and needs transformers")

from gpufit.facts.read import parse_config
from gpufit.memory.training.estimate import estimate_training
from gpufit.memory.training.plan import Optimizer, TrainingPlan

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
NAMES = {"adamw-foreach": "adamw", "adamw-fused": "adamw-fused", "adamw-loop": "adamw-loop", "sgd": "sgd",
         "sgd-momentum": "sgd-momentum"}  # fmt: skip
# without dropout: the CPU keeps its mask as numbers, CUDA (and so the estimate) as bytes
MODELS: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 128, "intermediate_size": 352,
        "vocab_size": 2000, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    },
    "gpt2": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 128, "n_head": 4, "n_layer": 3,
        "vocab_size": 2000, "n_positions": 128, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
    },
    "bert": {
        "model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 128, "intermediate_size": 512,
        "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 2000, "max_position_embeddings": 128,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    },
}  # fmt: skip
CASES = [
    ("llama", "full", False, "adamw-foreach"), ("llama", "full", True, "adamw-loop"),
    ("llama", "lora", False, "adamw-fused"), ("llama", "lora", True, "sgd-momentum"),
    ("gpt2", "full", False, "sgd"), ("gpt2", "lora", True, "adamw-foreach"),
    ("bert", "full", True, "adamw-foreach"), ("bert", "lora", False, "sgd-momentum"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "method", "checkpointing", "optimizer"), CASES)
def test_a_real_step_needs_what_is_estimated(name: str, method: str, checkpointing: bool, optimizer: Optimizer) -> None:
    if method == "lora":
        pytest.importorskip("peft", reason="puts real adapters on the model")
    from gpufit.replay.recording import find_peaks
    from gpufit.replay.run import record_training
    from gpufit.replay.training_step import TrainingSetup

    raw, tokens, batch = MODELS[name], 96, 4
    model = _real_model(raw)
    setup = TrainingSetup(
        kind="lora" if method == "lora" else "full", optimizer=NAMES[optimizer],  # type: ignore[arg-type]
        checkpointing=checkpointing,
    )  # fmt: skip
    seen = {peak.phase: peak.live_bytes for peak in find_peaks(
        record_training(model, setup, tokens=tokens, batch=batch)
    )}  # fmt: skip
    found = estimate_training(
        parse_config(raw),
        TrainingPlan(
            method=setup.kind, micro_batch=batch, seq=tokens, precision="fp32", attention="eager",
            optimizer=optimizer, checkpointing="full" if checkpointing else "none",
        ),
    )  # fmt: skip
    held, optimizer_bytes = found.residents, found.residents.optimizer
    # without the CUDA allocator: no rounding of tensors and no workspaces
    lasting = held.model_bytes + held.buffers_bytes + optimizer_bytes.states_bytes
    for phase in found.phases:
        assert lasting + phase.above_bytes == pytest.approx(seen[phase.name], rel=0.03), phase.name


def _real_model(raw: dict[str, Any]) -> Any:
    """Random weights in fp32 on the CPU, dropout as the configuration has it."""
    import transformers

    settings = {key: value for key, value in raw.items() if key not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(raw["model_type"], **settings)
    return getattr(transformers, raw["architectures"][0])._from_config(config, attn_implementation="eager")
