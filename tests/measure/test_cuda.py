"""The way to a card, as far as it can be walked without one: doubles of torch.cuda and NVML under the real code."""

from __future__ import annotations

import inspect
import os
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="the double is held to the signatures of torch.cuda")

from fake_cuda import UUID, FakeCuda

from gpufit.errors import UsageError
from gpufit.measure.child import _open_cuda
from gpufit.measure.compare import compare
from gpufit.measure.job import Job, make_job
from gpufit.measure.meters import Meter
from gpufit.measure.readings import Measurement, Stage
from gpufit.memory.estimate import estimate
from gpufit.memory.training.estimate import estimate_training
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.workload import Workload

torch = import_module("torch")
pytestmark = pytest.mark.real
MIB = 1 << 20
NAMES = [name for name in vars(FakeCuda) if not name.startswith("_") and not name.endswith("_")]


@pytest.mark.parametrize("name", NAMES)
def test_the_double_takes_what_torch_takes(name: str) -> None:
    """Names, order, kinds and defaults of the arguments; whether a call suits one then says whether it suits both."""

    def shape(function: Any) -> list[tuple[str, Any, Any]]:
        return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]

    assert shape(getattr(FakeCuda(), name)) == shape(getattr(torch.cuda, name))


class FakeNvml(SimpleNamespace):
    """NVML with one card on which this process holds a context of 133 MiB and what torch keeps, others 900 MiB."""

    def __init__(self, cuda: FakeCuda, *, tells: bool = True, uuid: str = f"GPU-{UUID}") -> None:
        import pynvml

        super().__init__(NVMLError=pynvml.NVMLError)
        self.cuda, self.tells, self.uuid, self.asked = cuda, tells, uuid, list[str]()

    def nvmlInit(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked.append(uuid)
        if uuid != self.uuid:
            raise self.NVMLError(6)
        return uuid

    def own(self) -> int:
        return 133 * MIB + self.cuda.reserved if "synchronize" in self.cuda.calls else 0

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(used=900 * MIB + self.own())

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        size = self.own()
        ours = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=size)] if self.tells and size else []
        return [SimpleNamespace(pid=1, usedGpuMemory=900 * MIB), *ours]


def job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "name": "small", "config": {}, "device": "cuda:0", "dtype": "fp16", "quant": "none", "attention": "sdpa",
        "prompt_tokens": 8, "new_tokens": 2, "batch": 1,
    }  # fmt: skip
    return Job(**{**fields, **changes})


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("named", [f"GPU-{UUID}", "MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "0"])
def test_the_context_is_what_the_first_touch_takes(tells: bool, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the process's own figure; where the driver keeps that to itself, by the growth of the whole device."""
    cuda = FakeCuda()
    nvml = FakeNvml(cuda, tells=tells, uuid=named if named != "0" else f"GPU-{UUID}")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    gauge, where = _open_cuda(job(), SimpleNamespace(cuda=cuda, device=torch.device))
    assert where == {
        "device_name": "Tesla T4", "device_uuid": nvml.uuid, "context_bytes": 133 * MIB,
        "context_by_difference": not tells,
    }  # fmt: skip
    cuda.take_(50 * MIB)
    assert gauge.now().process_bytes == 183 * MIB


def test_a_driver_that_does_not_answer_leaves_the_context_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(cuda, uuid="GPU-another"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gauge, where = _open_cuda(job(), SimpleNamespace(cuda=cuda, device=torch.device))
    assert where["context_bytes"] is None
    assert gauge.peak().process_bytes is None


def test_a_limit_makes_the_card_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(total=16 << 30)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(cuda))
    _open_cuda(job(limit_bytes=4 << 30), SimpleNamespace(cuda=cuda, device=torch.device))
    assert cuda.fraction == 0.25


def test_without_a_card_the_child_says_so() -> None:
    with pytest.raises(UsageError, match="torch sees no CUDA device"):
        _open_cuda(job(), SimpleNamespace(cuda=FakeCuda(available=False), device=torch.device))


def stages(*names: str) -> tuple[Stage, ...]:
    """A run of three readings a stage, on a card that held 300 MiB."""
    cuda, found = FakeCuda(), list[Stage]()
    from gpufit.measure.meters import CudaGauge

    meter = Meter(CudaGauge(cuda, "cuda:0", lambda: cuda.reserved + 133 * MIB), lambda name: None, found.append)
    cuda.take_(300 * MIB)
    for name in names:
        with meter.phase(name):
            cuda.take_(10 * MIB)
            cuda.give_(10 * MIB)
    return tuple(found)


def test_a_card_has_three_meters_beside_three_estimates() -> None:
    from small_models import LLAMA

    from gpufit.facts.read import parse_config

    architecture, work = parse_config(LLAMA), Workload(prompt_tokens=512, new_tokens=16, compute_capability=(7, 5))
    run = Measurement(
        job=make_job(work, LLAMA, name="small", device="cuda:0"), outcome="ok",
        stages=stages("load", "prefill", "decode"), context_bytes=133 * MIB,
    )  # fmt: skip
    found = {(item.stage, item.meter): item for item in compare(run, architecture, work)}
    assert len(found) == 9
    whole = estimate(architecture, work)
    widest = {meter: found[whole.phase.name, meter].estimated for meter in ("allocated", "reserved", "process")}
    assert widest == {"allocated": whole.allocated, "reserved": whole.reserved, "process": whole.process}
    load = found["load", "process"].estimated
    assert load is not None
    assert load.likely_bytes >= whole.resident.likely_bytes + whole.context.bytes.likely_bytes


def test_so_it_has_in_training() -> None:
    from small_models import LLAMA

    from gpufit.facts.read import parse_config

    architecture = parse_config(LLAMA)
    plan = TrainingPlan(micro_batch=2, seq=128, compute_capability=(7, 5))
    run = Measurement(
        job=make_job(plan, LLAMA, name="small", device="cuda:0"), outcome="ok",
        stages=stages("load", "forward", "backward", "step"), context_bytes=133 * MIB,
    )  # fmt: skip
    found = {(item.stage, item.meter): item.estimated for item in compare(run, architecture, plan)}
    assert len(found) == 12
    whole = estimate_training(architecture, plan)
    peak = whole.phase.name
    assert found[peak, "allocated"] == whole.allocated
    assert found[peak, "reserved"] == whole.reserved
    assert found[peak, "process"] == whole.process
