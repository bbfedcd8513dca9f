"""Time limits: whatever a driver does, gpufit answers. One way for calls, one for commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from gpufit.devices.device import ProbeFailed
from gpufit.records import record

Answer = TypeVar("Answer")
LIMIT_SECONDS = 2.0
_LONGEST_OUTPUT_BYTES = 1 << 20


@record
class CommandOutput:
    """What a finished command left behind."""

    code: int
    stdout: str
    stderr: str = ""


class Runner(Protocol):
    """Runs a command within a time limit. Raises ProbeFailed when it is missing, cannot start or runs out of time."""

    def __call__(self, command: Sequence[str], *, limit_seconds: float) -> CommandOutput: ...


def call_bounded(call: Callable[[], Answer], limit_seconds: float, what: str) -> Answer:
    """The answer of ``call``, or ProbeFailed once the limit has passed; the call's own exceptions pass through.

    A daemon thread does the waiting: it starts in microseconds, and one that is stuck in a driver keeps nothing alive.
    """
    from threading import Thread

    answers: list[Answer] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001  handed to the caller's thread below
            failures.append(error)

    thread = Thread(target=work, name=what, daemon=True)
    thread.start()
    thread.join(limit_seconds)
    if failures:
        raise failures[0]
    if not answers:
        raise ProbeFailed(f"{what} did not answer within {limit_seconds:g} s")
    return answers[0]


def call_together(
    calls: Sequence[Callable[[], Answer]], limit_seconds: float | None = None
) -> list[Answer | BaseException | None]:
    """Each call's answer or its own exception, all made at once; None for one that is not back within the limit.

    >>> call_together([lambda: 1, lambda: 2])
    [1, 2]
    """
    from threading import Thread
    from time import monotonic

    answers: list[Answer | BaseException | None] = [None] * len(calls)

    def work(place: int) -> None:
        try:
            answers[place] = calls[place]()
        except BaseException as error:  # noqa: BLE001  it is this call's answer
            answers[place] = error

    threads = [Thread(target=work, args=(place,), daemon=True) for place in range(len(calls))]
    end = None if limit_seconds is None else monotonic() + limit_seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(None if end is None else max(0.0, end - monotonic()))
    return list(answers)


def run_command(
    command: Sequence[str], *, limit_seconds: float, environ: Mapping[str, str] | None = None
) -> CommandOutput:
    """Run a command with no input; kill it at the limit, and do not wait for one that even then stays in the kernel."""
    import subprocess

    name = command[0]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
        )
    except FileNotFoundError:
        raise ProbeFailed(f"{name} is not installed", is_absent=True) from None
    except OSError as error:
        raise ProbeFailed(f"{name} cannot be started: {error.strerror or error}") from None
    try:
        stdout, stderr = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            process.returncode = -9  # stuck in the kernel; it ends when the driver lets it go
        raise ProbeFailed(f"{name} did not answer within {limit_seconds:g} s") from None
    return CommandOutput(
        code=process.returncode,
        stdout=stdout[:_LONGEST_OUTPUT_BYTES].decode("utf-8", "replace"),
        stderr=stderr[:_LONGEST_OUTPUT_BYTES].decode("utf-8", "replace"),
    )
