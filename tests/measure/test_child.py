"""The child process and its parent: each way to end is an outcome, and nothing is left behind."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="measuring runs the real model and needs torch")
pytest.importorskip("transformers", reason="measuring runs the real model and needs transformers")

from small_models import LLAMA

from gpufit.measure.compare import compare
from gpufit.measure.job import Job
from gpufit.measure.run import run_child
from gpufit.measure.store import append_measurement

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="signals and limits are Linux's"),
]


def job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "name": "small", "config": LLAMA, "device": "cpu", "dtype": "fp32", "quant": "none", "attention": "sdpa",
        "prompt_tokens": 32, "new_tokens": 2, "batch": 1,
    }  # fmt: skip
    return Job(**{**fields, **changes})


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_tells_its_stages_and_ends() -> None:
    heard: list[str] = []
    pids: list[int] = []
    found = run_child(job(), progress=heard.append, started=pids.append)
    assert (found.outcome, found.stopped_in, found.message) == ("ok", "", "")
    assert [stage.name for stage in found.stages] == ["load", "prefill", "decode"]
    assert heard == ["start", "load", "warm-up", "prefill", "decode"]
    assert "torch" in (found.versions or {})
    assert not lives(pids[0])


def test_out_of_memory_is_an_answer() -> None:
    found = run_child(job(batch=64, prompt_tokens=1000, limit_bytes=250_000_000))
    assert (found.outcome, found.stopped_in) == ("out_of_memory", "prefill")
    assert "memory" in found.message
    assert found.last is not None
    assert (found.last.allocated_bytes or 0) > 20_000_000
    assert [stage.name for stage in found.stages] == ["load"]


def test_memory_that_runs_out_in_a_conversion_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers catches what breaks a conversion off, and raises words that do not say what it was."""
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="weights are converted to bitsandbytes' formats")
    torch = pytest.importorskip("torch")
    from gpufit.measure.child import measure_job

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has a total capacity of 1"
        )

    monkeypatch.setattr(bitsandbytes.functional, "quantize_4bit", full)
    events: list[Any] = []
    measure_job(job(quant="bnb-nf4"), events.append)
    assert events[-1]["outcome"] == "out_of_memory"
    assert events[-1]["message"] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB."


@pytest.mark.parametrize(
    ("words", "is_memory"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("CUDA error: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("expected scalar type Half but found Float", False),
    ],
)
def test_only_a_lack_of_memory_counts_as_one(words: str, is_memory: bool) -> None:
    from gpufit.measure.child import _is_out_of_memory

    assert _is_out_of_memory(RuntimeError(words)) is is_memory


def test_time_runs_out() -> None:
    pids: list[int] = []
    found = run_child(job(new_tokens=100_000), limit_seconds=1.0, started=pids.append)
    assert found.outcome == "timeout"
    assert not lives(pids[0])


def test_what_goes_wrong_is_told_in_one_line() -> None:
    found = run_child(job(config={"model_type": "llama", "hidden_size": 7, "num_attention_heads": 3}))
    assert found.outcome == "failed"
    assert found.message
    assert "\n" not in found.message
    missing = run_child(job(checkpoint="nobody/nothing"))
    assert (missing.outcome, missing.message) == ("failed", "nobody/nothing has no weights on this machine")


@pytest.mark.parametrize("after", [0.05, 5.0])
def test_a_killed_child_leaves_nothing(after: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    pids: list[int] = []

    def kill(pid: int) -> None:
        pids.append(pid)
        threading.Timer(after, lambda: os.killpg(pid, signal.SIGKILL)).start()

    found = run_child(job(new_tokens=100_000), started=kill)
    assert found.outcome == "killed"
    assert "signal 9" in found.message
    assert not lives(pids[0])
    assert list(temporary.iterdir()) == []
    assert append_measurement(tmp_path, found, compare(found, architecture(), workload())) is None
    assert list(tmp_path.iterdir()) == [temporary]


def test_a_child_does_not_outlive_its_parent() -> None:
    code = (
        "import sys; from gpufit.measure.run import run_child; from test_child import job;"
        "run_child(job(new_tokens=100000), started=lambda pid: print(pid, flush=True))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert lives(pid)
        parent.kill()
    for _ in range(200):
        if not lives(pid):
            return
        time.sleep(0.1)
    raise AssertionError("the child still runs")


def test_interrupting_gives_what_was_measured() -> None:
    def interrupt(name: str) -> None:
        if name == "decode":
            raise KeyboardInterrupt

    pids: list[int] = []
    found = run_child(job(new_tokens=100_000), progress=interrupt, started=pids.append)
    assert (found.outcome, found.stopped_in) == ("interrupted", "decode")
    assert [stage.name for stage in found.stages] == ["load", "prefill"]
    assert not lives(pids[0])


def test_the_record_is_what_validate_reads(tmp_path: Path) -> None:
    from gpufit.accuracy.measurements import read_measurements

    found = run_child(job())
    record = tmp_path / "gpufit" / "measurements.csv"
    assert append_measurement(record.parent, found, compare(found, architecture(), workload())) == record
    with record.open("a", encoding="utf-8") as file:
        file.write("half a li")  # a machine that lost power in the middle of a line
    assert append_measurement(record.parent, found, compare(found, architecture(), workload())) == record
    rows = read_measurements(record)
    assert [row.metric for row in rows] == ["cpu_tensors_peak", "", "cpu_tensors_peak"]
    assert rows[0].measured_bytes == max(stage.peak.allocated_bytes or 0 for stage in found.stages)
    assert rows[0].problem == rows[2].problem == ""
    with record.open(encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 4


def architecture() -> Any:
    from gpufit.facts.read import parse_config

    return parse_config(LLAMA)


def workload() -> Any:
    from gpufit.memory.workload import Workload

    return Workload(prompt_tokens=32, new_tokens=2, dtype="fp32")
