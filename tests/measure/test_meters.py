"""Meters and the burn test: what they read, with a double where a card would be asked."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import FakeCuda

from gpufit.cli.main import main
from gpufit.errors import UsageError
from gpufit.measure.meters import CudaGauge, Meter
from gpufit.measure.readings import Reading, Stage


def test_a_stage_has_its_own_peak_and_what_it_left() -> None:
    cuda, stages, begun = FakeCuda(), list[Stage](), list[str]()
    meter = Meter(CudaGauge(cuda, "cuda:0", lambda: cuda.reserved + 100), begun.append, stages.append)
    with meter.phase("load"):
        cuda.take_(1000)
    with meter.phase("fill", counted=False):
        cuda.take_(9000)
        cuda.give_(9000, to_driver=True)
    with meter.phase("prefill", tokens=7):
        cuda.take_(500)
        cuda.give_(300, to_driver=True)
    assert begun == ["load", "fill", "prefill"]
    assert [stage.name for stage in stages] == ["load", "prefill"]
    prefill = stages[1]
    # the driver was asked after 300 bytes had gone back to it: they were held at the peak
    assert prefill.peak == Reading(allocated_bytes=1500, reserved_bytes=1500, process_bytes=1600)
    assert prefill.after == Reading(allocated_bytes=1200, reserved_bytes=1200, process_bytes=1300)
    assert prefill.tokens == 7


def test_a_driver_that_does_not_tell_is_unknown() -> None:
    gauge = CudaGauge(FakeCuda(), "cuda:0", lambda: None)
    assert gauge.peak() == Reading(allocated_bytes=0, reserved_bytes=0, process_bytes=None)


def test_a_stage_that_breaks_off_is_not_reported() -> None:
    stages: list[Stage] = []
    meter = Meter(CudaGauge(FakeCuda(), "cuda:0", lambda: None), lambda name: None, stages.append)
    with pytest.raises(MemoryError), meter.phase("prefill"):
        raise MemoryError
    assert stages == []


def test_a_burn_test_multiplies_and_finds_nothing_wrong() -> None:
    pytest.importorskip("torch", reason="a burn test computes with torch")
    from gpufit.measure.stress import burn

    heat = iter([{"temperature_celsius": 40, "throttled": []}, {"temperature_celsius": 55, "throttled": ["thermal"]}])
    report = burn("cpu", seconds=0.2, hold_bytes=140 << 20, sample=lambda: next(heat, {}))
    assert report.multiplications >= 1
    assert report.wrong == 0
    assert report.held_bytes >= 128 << 20
    assert report.teraflops > 0
    assert (report.temperature_celsius, report.throttled) == ((40, 55), ("thermal",))


def test_a_wrong_result_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="a burn test computes with torch")
    from gpufit.measure.stress import burn

    right = torch.Tensor.__matmul__

    def broken(self: Any, other: Any) -> Any:
        product = right(self, other)
        product[3, 5] += 1
        return product

    monkeypatch.setattr(torch.Tensor, "__matmul__", broken)
    report = burn("cpu", seconds=0.05, hold_bytes=0, sample=dict)
    assert report.wrong == report.multiplications >= 1


@pytest.mark.parametrize(
    ("free", "reserve", "hold", "said"),
    [
        (1000, 0, 2000, "are more than the 1000 B that are free"),
        (1000, 1000, None, "the reserve is more than the 0 B"),
        (None, 0, None, "does not say how much memory is free"),
    ],
)
def test_a_burn_test_takes_no_more_than_is_free(free: int | None, reserve: int, hold: int | None, said: str) -> None:
    from gpufit.measure.stress import run_stress

    with pytest.raises(UsageError, match=said):
        run_stress("cpu", seconds=1, free_bytes=free, reserve_bytes=reserve, hold_bytes=hold)


def test_the_command_measures_and_says_so(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="measuring runs the real model and needs transformers")
    jsonschema = pytest.importorskip("jsonschema", reason="the schema is checked with jsonschema")
    from small_models import LLAMA

    config = tmp_path / "config.json"
    config.write_text(json.dumps(LLAMA), encoding="utf-8")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    words = ["measure", str(config), "--device", "cpu", "--random-weights", "--prompt", "24", "--new-tokens", "2"]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    schema = json.loads((Path(__file__).parents[2] / "schema" / "gpufit.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(answer, schema)
    assert answer["outcome"] == "ok"
    assert [item["stage"] for item in answer["compared"]] == ["load", "prefill", "decode"]
    assert all(abs(item["difference"]) < 0.03 for item in answer["compared"])
    record = tmp_path / "gpufit" / "measurements.csv"
    assert answer["recorded"] == str(record)
    assert main(["validate", str(record)]) == 0
    assert "own" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "no model was named"),
        (["gpt2", "--device", "cuda:9"], 2, "no device 'cuda:9' is visible"),
        (["gpt2"], 3, "no GPU"),
        (["nosuchmodel", "--device", "cpu"], 2, "unknown model"),
        (["gpt2", "--device", "cpu", "--train", "half"], 2, "--train 'half'"),
    ],
)
def test_wrong_use_is_one_sentence(words: list[str], code: int, said: str, capsys: Any) -> None:
    pytest.importorskip("transformers", reason="measuring runs the real model and needs transformers")
    assert main(["measure", *words]) == code
    assert said in capsys.readouterr().err


def test_a_model_too_large_for_the_host_is_refused_first(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="measuring runs the real model and needs transformers")
    monkeypatch.setattr("gpufit.measure.front.available_bytes", lambda: 4 << 30)
    assert main(["measure", "llama-2-7b", "--device", "cpu", "--random-weights"]) == 2
    said = capsys.readouterr().err
    assert "of host memory and 4.00 GiB are available" in said


def test_a_full_disk_is_told_before_the_run(capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="measuring runs the real model and needs transformers")
    data = tmp_path / "not made yet"
    monkeypatch.setenv("XDG_DATA_HOME", str(data))
    whole = shutil.disk_usage(tmp_path)
    asked: list[Path] = []

    def full_below(place: Path) -> Any:
        asked.append(place)
        return whole._replace(free=1 << 20 if place == tmp_path else 1 << 40)

    monkeypatch.setattr("gpufit.measure.host.shutil.disk_usage", full_below)
    assert main(["measure", "gpt2", "--device", "cpu", "--random-weights"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"the disk of {data / 'gpufit'} has 1.0 MiB free and 16.0 MiB are needed" in said
    assert "XDG_DATA_HOME" in said
    assert asked == [Path(tempfile.gettempdir()), tmp_path]
