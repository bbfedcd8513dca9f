"""The process that does the work: a job in on standard input, one JSON object a line out on standard output.

It ends itself when its standard input closes, so that it never outlives the process that asked.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from gpufit.errors import GpufitError
from gpufit.measure.job import Job, job_from_json
from gpufit.measure.meters import CpuGauge, CudaGauge, Meter
from gpufit.measure.readings import Reading, Stage
from gpufit.records import as_dict

Say = Callable[[Mapping[str, Any]], None]
LARGEST_JOB_BYTES = 16 << 20
_NO_MEMORY = (
    "out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory",
    "STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN, which make their own handles beside torch's allocator
)  # fmt: skip


def main() -> None:
    """Read the job, run it, say what was seen."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with what is said here

    def say(event: Mapping[str, Any]) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    job = job_from_json(_read_line())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        measure_job(job, say)
    except GpufitError as problem:
        say({"event": "end", "outcome": "failed", "message": problem.message, "hint": problem.hint or ""})
    os._exit(0)  # the answer is out; taking billions of numbers apart in good order would only cost time


def _read_line() -> str:
    """The first line of standard input, and no byte of what follows."""
    pieces: list[bytes] = []
    while not pieces or not pieces[-1].endswith(b"\n"):
        if not (piece := os.read(0, 65536)) or sum(map(len, pieces)) > LARGEST_JOB_BYTES:
            raise SystemExit("no job came in on standard input")
        pieces.append(piece)
    return b"".join(pieces).decode()


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock would hold up the interpreter's end
        pass
    os._exit(3)


def measure_job(job: Job, say: Say) -> None:
    """Load, run, and say each stage as it ends; running out of memory is an answer like any other."""
    if job.limit_bytes is not None and job.device == "cpu":
        _limit_host(job.limit_bytes)
    import torch

    say({"event": "begin", "stage": "start"})
    gauge, where = _open_cpu() if job.device == "cpu" else _open_cuda(job, torch)
    say({"event": "device", "versions": _versions(), **where})

    def report(stage: Stage) -> None:
        say({"event": "stage", "stage": as_dict(stage)})

    meter = Meter(gauge, lambda name: say({"event": "begin", "stage": name}), report)
    try:
        _run(job, meter)
    except (RuntimeError, MemoryError) as problem:
        if not _is_out_of_memory(problem):
            raise
        say({"event": "end", "outcome": "out_of_memory", "message": _first_line(problem), "last": _last(gauge)})
        return
    say({"event": "end", "outcome": "ok"})


def _run(job: Job, meter: Meter) -> None:
    from transformers.utils import logging

    from gpufit.measure.loading import load_model
    from gpufit.measure.steps import run_job

    logging.set_verbosity(40)  # logging.ERROR
    logging.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    with meter.phase("load"):
        model = load_model(job)
        meter.count(model)
    run_job(model, job, meter)


def _open_cpu() -> tuple[CpuGauge, dict[str, Any]]:
    import platform

    return CpuGauge(), {"device_name": platform.processor() or platform.machine(), "device_uuid": ""}


def _open_cuda(job: Job, torch: Any) -> tuple[CudaGauge, dict[str, Any]]:
    from gpufit.measure.driver import named_uuid, process_memory

    uuid = named_uuid(os.environ)
    before = process_memory(uuid) if uuid else None  # nothing may have touched the device yet
    if not torch.cuda.is_available():
        from gpufit.errors import UsageError

        raise UsageError("torch sees no CUDA device", hint="use --device cpu, or install torch's CUDA build")
    device = torch.device(job.device)
    properties = torch.cuda.get_device_properties(device)
    if not uuid:
        uuid = f"GPU-{properties.uuid}"
        before = process_memory(uuid)
    torch.cuda.set_device(device)
    torch.cuda.init()
    torch.cuda.synchronize(device)
    if job.limit_bytes is not None:
        torch.cuda.set_per_process_memory_fraction(min(1.0, job.limit_bytes / properties.total_memory), device)

    def held() -> int | None:
        now = process_memory(uuid)
        if now is None or before is None:
            return None
        return now.own_bytes if now.own_bytes is not None else now.used_bytes - before.used_bytes

    first, context = process_memory(uuid), held()
    where = {
        "device_name": properties.name, "device_uuid": uuid,
        "context_bytes": None if context is None else context - torch.cuda.memory_reserved(device),
        "context_by_difference": first is not None and first.own_bytes is None,
    }  # fmt: skip
    return CudaGauge(torch.cuda, device, held), where


def _limit_host(limit_bytes: int) -> None:
    """Let only the limit be mapped beyond what is mapped now: libraries map much that they never touch."""
    import resource

    import torch
    import transformers  # noqa: F401

    torch.zeros(1)
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + limit_bytes, resource.RLIM_INFINITY))


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("gpufit", "torch", "transformers", "accelerate", "bitsandbytes", "peft"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _is_out_of_memory(problem: BaseException) -> bool:
    return isinstance(problem, MemoryError) or any(words in str(problem) for words in _NO_MEMORY)


def _first_line(problem: BaseException) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0][:300]


def _last(gauge: CpuGauge | CudaGauge) -> dict[str, Any]:
    reading: Reading = gauge.now()
    peak = gauge.peak()
    return {**as_dict(reading), "allocated_bytes": peak.allocated_bytes, "reserved_bytes": peak.reserved_bytes}


if __name__ == "__main__":
    main()
