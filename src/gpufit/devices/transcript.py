"""What the vendors' tools really printed, kept for a report while the probes read it."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.devices.bounded import CommandOutput, Runner, run_command
from gpufit.devices.device import ProbeFailed
from gpufit.records import record

LONGEST_CHARACTERS = 6000


@record
class Said:
    """One command, its exit code (None where it gave none), and what it printed or why it could not."""

    command: str
    code: int | None
    output: str


class Transcript:
    """A runner that remembers. Several probes may use it at once: a list takes appends from any thread."""

    __slots__ = ("_run", "said")

    def __init__(self, run: Runner = run_command) -> None:
        self._run = run
        self.said: list[Said] = []

    def __call__(self, command: Sequence[str], *, limit_seconds: float) -> CommandOutput:
        text = " ".join(command)
        try:
            answer = self._run(command, limit_seconds=limit_seconds)
        except ProbeFailed as failure:
            if not failure.is_absent:
                self.said.append(Said(command=text, code=None, output=failure.message))
            raise
        output = "\n".join(part.rstrip() for part in (answer.stdout, answer.stderr) if part.strip())
        self.said.append(Said(command=text, code=answer.code, output=_shorten(output)))
        return answer


def _shorten(text: str) -> str:
    if len(text) <= LONGEST_CHARACTERS:
        return text
    return text[:LONGEST_CHARACTERS] + f"\n... and {len(text) - LONGEST_CHARACTERS} characters more"
