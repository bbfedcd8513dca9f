"""nvidia-smi's CSV, from recorded outputs: unknown cells, older drivers, broken and hanging tools."""

from __future__ import annotations

import stat
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from gpufit.devices.bounded import CommandOutput, run_command
from gpufit.devices.device import DeviceProcess, ProbeFailed
from gpufit.devices.nvidia_smi import NvidiaSmiProbe

FIXTURES = Path(__file__).parent / "fixtures"
MIB = 1 << 20


class Tool:
    """Answers one prepared output after the other, and remembers the questions."""

    def __init__(self, *answers: CommandOutput | ProbeFailed) -> None:
        self.answers = list(answers)
        self.commands: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str], *, limit_seconds: float) -> CommandOutput:
        self.commands.append(command)
        answer = self.answers.pop(0)
        if isinstance(answer, ProbeFailed):
            raise answer
        return answer


def recorded(name: str, code: int = 0) -> CommandOutput:
    return CommandOutput(code=code, stdout=(FIXTURES / name).read_text(errors="replace"))


def test_a_t4_is_read_whole() -> None:
    (device,) = NvidiaSmiProbe(run=Tool(recorded("t4.csv"), recorded("t4.processes.csv"))).devices()
    assert (device.name, device.source, device.driver) == ("Tesla T4", "nvidia-smi", "560.35.05")
    assert (device.total_bytes, device.free_bytes) == (15360 * MIB, 14913 * MIB)
    assert (device.used_bytes, device.reserved_bytes) == (3 * MIB, 445 * MIB)
    assert (device.utilization_percent, device.temperature_celsius) == (0, 41)
    assert (device.power_watts, device.power_limit_watts) == (9.34, 70.0)
    assert device.compute_capability == (7, 5)
    assert device.processes == ()


def test_processes_go_to_the_card_they_run_on() -> None:
    busy, idle = NvidiaSmiProbe(run=Tool(recorded("h100x2.csv"), recorded("h100x2.processes.csv"))).devices()
    assert busy.processes == (
        DeviceProcess(pid=48213, name="python3", used_bytes=66520 * MIB),
        DeviceProcess(pid=48377, name="server.exe", used_bytes=508 * MIB),
        DeviceProcess(pid=48400, name=None, used_bytes=None),
    )
    assert (idle.index, idle.processes, idle.free_bytes) == (1, (), 81068 * MIB)


def test_unified_memory_is_unknown_and_never_zero() -> None:
    (device,) = NvidiaSmiProbe(run=Tool(recorded("gb10.csv"), CommandOutput(code=0, stdout=""))).devices()
    assert (device.total_bytes, device.free_bytes, device.used_bytes, device.power_limit_watts) == (None,) * 4
    assert (device.name, device.compute_capability, device.power_watts) == ("NVIDIA GB10", (12, 1), 4.21)


def test_a_total_of_0_mib_is_unknown() -> None:
    cells = CommandOutput(code=0, stdout="0, GRID, GPU-1, 0, 0, 0, 0, 40, 9.3, 70.0, 535.54, [N/A], 7.5, 0\n")
    (device,) = NvidiaSmiProbe(run=Tool(cells, CommandOutput(code=0, stdout=""))).devices()
    assert (device.total_bytes, device.free_bytes, device.used_bytes, device.reserved_bytes) == (None,) * 4


def test_an_older_driver_is_asked_again_with_fewer_fields() -> None:
    tool = Tool(recorded("old_field.txt", code=2), recorded("k80.csv"), CommandOutput(code=0, stdout=""))
    (device,) = NvidiaSmiProbe(run=tool).devices()
    assert (device.total_bytes, device.compute_capability, device.reserved_bytes) == (11441 * MIB, None, None)
    assert "compute_cap" not in tool.commands[1][1]


def test_not_supported_cells_are_unknown() -> None:
    tool = Tool(recorded("old_field.txt", code=2), recorded("gt710.csv"), CommandOutput(code=0, stdout=""))
    (device,) = NvidiaSmiProbe(run=tool).devices()
    assert (device.utilization_percent, device.power_watts, device.power_limit_watts) == (None, None, None)
    assert device.temperature_celsius == 40


def test_devices_are_kept_when_their_processes_cannot_be_listed() -> None:
    for failing in (ProbeFailed("slow"), CommandOutput(code=1, stdout="")):
        (device,) = NvidiaSmiProbe(run=Tool(recorded("t4.csv"), failing)).devices()
        assert device.processes is None


@pytest.mark.parametrize(
    ("answer", "says", "absent"),
    [
        (recorded("truncated.csv"), "cannot read", False),
        (recorded("garbage.txt"), "cannot read", False),
        (recorded("no_driver.txt", code=9), "couldn't communicate", True),
        (CommandOutput(code=12, stdout="NVIDIA-SMI couldn't find libnvidia-ml.so library"), "libnvidia-ml", True),
        (CommandOutput(code=255, stdout="", stderr=""), "it said nothing", False),
    ],
)
def test_a_broken_tool_fails_with_its_own_words(answer: CommandOutput, says: str, absent: bool) -> None:
    with pytest.raises(ProbeFailed, match=says) as caught:
        NvidiaSmiProbe(run=Tool(answer)).devices()
    assert caught.value.is_absent == absent


def test_no_devices_were_found_is_an_empty_answer() -> None:
    assert NvidiaSmiProbe(run=Tool(CommandOutput(code=6, stdout="No devices were found\n"))).devices() == ()


def test_a_missing_tool_is_absent() -> None:
    with pytest.raises(ProbeFailed, match="not installed") as caught:
        run_command(("gpufit-no-such-tool",), limit_seconds=1)
    assert caught.value.is_absent


def test_a_hanging_tool_is_killed_at_its_limit(tmp_path: Path) -> None:
    tool = tmp_path / "hang"
    tool.write_text("#!/bin/sh\nsleep 30\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    start = time.monotonic()
    with pytest.raises(ProbeFailed, match=r"did not answer within 0\.3 s"):
        run_command((str(tool),), limit_seconds=0.3)
    assert time.monotonic() - start < 15  # half of the tool's own sleep


def test_a_divided_card_is_listed_as_its_slices_with_their_own_memory() -> None:
    tool = Tool(
        recorded("nvidia_smi_mig.csv"), CommandOutput(code=0, stdout=""),
        recorded("nvidia_smi_mig_list.txt"), recorded("nvidia_smi_mig.xml"),
    )  # fmt: skip
    large, small, whole = NvidiaSmiProbe(run=tool).devices()
    assert (large.name, large.uuid) == (
        "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
        "MIG-c7384736-a75d-5afc-978f-d2f1294409fd",
    )
    assert (large.total_bytes, large.free_bytes, large.used_bytes) == (19968 * MIB, 19930 * MIB, 37 * MIB)
    assert (small.total_bytes, small.free_bytes) == (4864 * MIB, 4851 * MIB)
    assert (large.utilization_percent, large.processes, large.compute_capability) == (None, None, (8, 0))
    assert (whole.index, whole.total_bytes, whole.processes) == (1, 40960 * MIB, ())
    assert tool.commands[-1] == ("nvidia-smi", "-q", "-x")


@pytest.mark.parametrize(("listed", "xml"), [("", "<broken"), ("GPU 0: A100 (UUID: GPU-1)\n", "")])
def test_a_divided_card_without_known_slices_has_nothing_to_give(listed: str, xml: str) -> None:
    answers = (CommandOutput(code=0, stdout=text) for text in ("", listed, xml))
    card, whole = NvidiaSmiProbe(run=Tool(recorded("nvidia_smi_mig.csv"), *answers)).devices()
    assert (card.free_bytes, whole.free_bytes) == (0, 40012 * MIB)
    assert "MIG is on" in card.notes[-1]
