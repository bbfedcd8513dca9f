"""The parent: starts the child, listens, keeps the time, and leaves nothing behind however it ends."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import IO, Any

from gpufit.measure.job import Job
from gpufit.measure.readings import Measurement, Outcome, Reading, Stage, stage_from

DEFAULT_LIMIT_SECONDS = 1800.0
LARGEST_LINE = 1 << 20
_GRACE_SECONDS = 5.0
Progress = Callable[[str], None]


class _Heard:
    """What the child said so far."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.stages: list[Stage] = []
        self.running = "start"
        self.facts: dict[str, Any] = {}
        self.end: Mapping[str, Any] | None = None

    def hear(self, line: bytes) -> None:
        event = json.loads(line)
        kind = event.pop("event")
        if kind == "begin":
            self.running = event["stage"]
            self.progress(self.running)
        elif kind == "stage":
            self.stages.append(stage_from(event["stage"]))
        elif kind == "device":
            self.facts = event
        else:
            self.end = event


def run_child(
    job: Job,
    *,
    limit_seconds: float = DEFAULT_LIMIT_SECONDS,
    progress: Progress | None = None,
    visible: Mapping[str, str] | None = None,
    started: Callable[[int], None] | None = None,
) -> Measurement:
    """Run the job in a process of its own and say how it went. ``visible`` are the variables that show it one card
    alone; ``started`` hears the child's process number.

    Running out of memory, of time, or being killed are outcomes, not errors. Ctrl-C ends the child, and gives what
    was measured until then with the outcome ``interrupted``.
    """
    heard = _Heard(progress or (lambda text: None))
    with _child(visible) as (process, complaints):
        if started is not None:
            started(process.pid)
        outcome: Outcome | None = None
        try:
            _ask(process, job)
            if not _listen(process, heard, time.monotonic() + limit_seconds):
                outcome = "timeout"
        except KeyboardInterrupt:
            outcome = "interrupted"
        if outcome is None and heard.end is None:
            process.wait()  # its output is closed: it has ended, and how is in its exit code
    return _conclude(job, heard, outcome, process.returncode, "".join(complaints))


@contextmanager
def _child(visible: Mapping[str, str] | None) -> Iterator[tuple[subprocess.Popen[bytes], deque[str]]]:
    """The process and the end of what it complains of; gone, with all that it started, when the block is left."""
    environ = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        **(visible or {}),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "gpufit.measure.child"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, start_new_session=True,
    )  # fmt: skip
    complaints: deque[str] = deque(maxlen=40)
    assert process.stderr is not None
    reader = Thread(target=_keep_last, args=(process.stderr, complaints), daemon=True)
    reader.start()
    try:
        yield process, complaints
    finally:
        _end(process)
        reader.join(_GRACE_SECONDS)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                _close(stream)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
    process.wait()


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except BrokenPipeError:  # what was still to be written has no reader any more
        return


def _keep_last(stream: IO[bytes], into: deque[str]) -> None:
    for line in stream:
        into.append(line.decode("utf-8", "replace")[:500])


def _ask(process: subprocess.Popen[bytes], job: Job) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(job.to_json().encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:  # it ended before it was asked; what it said decides
        return


def _listen(process: subprocess.Popen[bytes], heard: _Heard, deadline: float) -> bool:
    """Hear the child to its end. False where the deadline passed first."""
    assert process.stdout is not None
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while heard.end is None:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return False
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            *lines, pending = (pending + chunk)[-LARGEST_LINE:].split(b"\n")
            for line in lines:
                heard.hear(line)
    return True


def _conclude(job: Job, heard: _Heard, outcome: Outcome | None, code: int, complaints: str) -> Measurement:
    end = heard.end or {}
    message = str(end.get("message", ""))
    if outcome is None and heard.end is not None:
        outcome = end["outcome"]
    elif outcome is None and code < 0:
        outcome = "killed"
        message = f"the process was ended by signal {-code}" + (
            ", as systems do when memory runs out" if code == -signal.SIGKILL else ""
        )
    elif outcome is None:
        outcome = "failed"
        message = next(
            (line.strip() for line in reversed(complaints.splitlines()) if line.strip()), f"exit code {code}"
        )
    last = end.get("last")
    return Measurement(
        job=job, outcome=outcome, stages=tuple(heard.stages), versions=heard.facts.get("versions"),
        device_name=heard.facts.get("device_name", ""), device_uuid=heard.facts.get("device_uuid", ""),
        context_bytes=heard.facts.get("context_bytes"),
        context_by_difference=heard.facts.get("context_by_difference", False),
        stopped_in="" if outcome == "ok" else heard.running,
        last=Reading(**last) if last else None, message=message, notes=(end["hint"],) if end.get("hint") else (),
    )  # fmt: skip
