"""Probes and tools that answer what a test tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpufit.devices.bounded import CommandOutput
from gpufit.devices.device import Device, ProbeFailed

FIXTURES = Path(__file__).parent / "fixtures"


def recorded(name: str, code: int = 0) -> CommandOutput:
    return CommandOutput(code=code, stdout=(FIXTURES / name).read_text(encoding="utf-8", errors="replace"))


@dataclass(frozen=True)
class Said:
    """A probe that answers what it was told to."""

    answer: tuple[Device, ...] | ProbeFailed
    name: str = "said"

    def devices(self) -> tuple[Device, ...]:
        if isinstance(self.answer, ProbeFailed):
            raise self.answer
        return self.answer


class Answers:
    """A runner that answers by the words of a command: the first key that is one of them."""

    def __init__(self, answers: Mapping[str, CommandOutput | ProbeFailed]) -> None:
        self.answers = answers
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, command: Sequence[str], *, limit_seconds: float) -> CommandOutput:
        self.commands.append(tuple(command))
        for word, answer in self.answers.items():
            if word in command:
                if isinstance(answer, ProbeFailed):
                    raise answer
                return answer
        raise ProbeFailed(f"{command[0]} is not installed", is_absent=True)
