"""Real steps of training on the processor, of each kind that gpufit has a form for: measured against estimated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="measuring runs the real model and needs torch")
pytest.importorskip("transformers", reason="measuring runs the real model and needs transformers")
pytest.importorskip("peft", reason="adapters need peft")

from small_models import CONFIGS, LLAMA

from gpufit.errors import GpufitError, Unsupported
from gpufit.facts.read import parse_config
from gpufit.facts.task_head import with_task_head
from gpufit.measure.child import measure_job
from gpufit.measure.compare import Compared, compare
from gpufit.measure.front import measure_work
from gpufit.measure.job import make_job
from gpufit.measure.readings import Measurement, stage_from
from gpufit.measure.store import append_measurement
from gpufit.memory.training.plan import TrainingPlan
from gpufit.records import replace

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
PLAN = TrainingPlan(method="full", micro_batch=2, seq=32, precision="fp32", attention="eager")
KINDS = ("decoder", "decoder with learned positions", "mixture of experts", "encoder", "encoder-decoder")
QLORA = {"method": "qlora", "quant": "bnb-nf4", "kbit_prepare": True, "checkpointing": "full"}
CASES: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in KINDS),
    ("decoder", QLORA),
    ("encoder", QLORA),
    ("decoder", {**QLORA, "quant": "bnb-int8", "checkpointing": "none"}),
    ("decoder", {"method": "lora", "precision": "amp-bf16"}),
    ("decoder", {"grad_accum": 2, "optimizer": "adamw-8bit"}),
    ("encoder", {"method": "lora", "optimizer": "sgd-momentum", "lora_targets": ("all-linear",)}),
    ("mixture of experts", {"method": "lora", "optimizer": "adafactor", "modules_to_save": ("lm_head",)}),
]


def small(kind: str) -> dict[str, Any]:
    """Two layers and a thousand words: steps of training take a processor long."""
    layers = ("n_layer", "num_hidden_layers", "encoder_layers", "decoder_layers")
    less = {name: 2 for name in layers if name in CONFIGS[kind]}
    return {**CONFIGS[kind], **less, "vocab_size": 1000}


def measured(kind: str, plan: TrainingPlan) -> tuple[Measurement, tuple[Compared, ...]]:
    """The steps run in this very process, and their figures beside the estimate."""
    raw = small(kind)
    architecture = with_task_head(parse_config(raw), raw)
    events: list[Any] = []
    asked = make_job(plan, {**raw, "architectures": [architecture.model_class]}, name="small", device="cpu")
    measure_job(asked, events.append)
    stages = tuple(stage_from(event["stage"]) for event in events if event["event"] == "stage")
    found = Measurement(job=asked, outcome=events[-1]["outcome"], stages=stages, message=events[-1].get("message", ""))
    return found, compare(found, architecture, plan)


@pytest.mark.parametrize(("kind", "changes"), CASES, ids=[f"{kind} {changes}" for kind, changes in CASES])
def test_each_phase_takes_what_was_estimated(kind: str, changes: dict[str, Any]) -> None:
    if "quant" in changes or changes.get("optimizer") == "adamw-8bit":
        pytest.importorskip("bitsandbytes", reason="quantized layers and 8-bit states need bitsandbytes")
    found, compared = measured(kind, replace(PLAN, **changes))
    assert found.outcome == "ok", found.message
    assert [item.stage for item in compared] == ["load", "forward", "backward", "step"]
    errors = {item.stage: item.error for item in compared}
    assert all(error is not None and abs(error) < 0.03 for error in errors.values()), errors


def test_a_family_without_a_form_is_measured_beside_nothing() -> None:
    found, compared = measured("state space", replace(PLAN, seq=16))
    assert found.outcome == "ok", found.message
    assert [item.estimated is None for item in compared] == [False, True, True, True]


def test_an_estimate_of_other_steps_would_be_seen() -> None:
    found, _ = measured("decoder", PLAN)
    other = compare(found, parse_config(small("decoder")), replace(PLAN, micro_batch=4))
    assert max(item.error or 0 for item in other) > 0.1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "fused"}, "--loss fused is not measured"),
        ({"packing": True}, "packed sequences"),
        ({"checkpointing": "selective"}, "selective checkpointing"),
        ({"optimizer": "galore"}, "GaLore"),
        ({"optimizer": "paged-adamw-8bit"}, "paged states need a card"),
        ({"precision": "amp-fp16"}, "autocast to fp16 needs a card"),
        ({"gpus": 2, "sharding": "ddp"}, "over 2 GPUs"),
        ({"method": "qlora", "quant": "gptq-int4-g128"}, "are not made on loading"),
    ],
)
def test_what_is_not_run_here_is_refused_first(changes: dict[str, Any], said: str) -> None:
    plan = replace(PLAN, **changes)
    with pytest.raises(Unsupported, match=said):
        measure_work(parse_config(LLAMA), LLAMA, plan, name="small", device="cpu")


def test_steps_larger_than_the_host_are_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpufit.measure.front.available_bytes", lambda: 2 << 30)
    with pytest.raises(GpufitError, match=r"of host memory and 2\.00 GiB are available"):
        measure_work(parse_config(LLAMA), LLAMA, replace(PLAN, micro_batch=512), name="small", device="cpu")


def test_the_record_of_training_is_what_validate_reads(tmp_path: Path) -> None:
    from gpufit.accuracy.cards import UNKNOWN_CARD
    from gpufit.accuracy.measurements import read_measurements
    from gpufit.accuracy.training.predict import predict_training

    found, compared = measured("decoder", replace(PLAN, **QLORA))
    path = append_measurement(tmp_path, found, compared)
    assert path == tmp_path / "trainings.csv"
    (row,) = read_measurements(path)
    assert row.problem == ""
    predicted: Any = predict_training(row, parse_config(small("decoder")), UNKNOWN_CARD)
    assert predicted.range.likely_bytes == pytest.approx(row.measured_bytes, rel=0.03)
