"""The dashboard of ``gpufit gpus --watch``: one frame, its history, and the log beside it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from test_gpus_command import FAKE, T4, start

from gpufit.cli.main import main
from gpufit.devices.device import Device, DeviceProcess
from gpufit.devices.gpu_log import COLUMNS, GpuLog
from gpufit.devices.history import LONGEST, History
from gpufit.devices.probe import ProbeResult
from gpufit.errors import UsageError
from gpufit.records import replace
from gpufit.render.dashboard import render_dashboard, sparkline
from gpufit.render.text import Screen

GIB = 1 << 30
BUSY = replace(T4, free_bytes=GIB, used_bytes=13 * GIB, utilization_percent=98, notes=())
FRAME = """\
gpufit gpus  12:34:56  every 2 s, Ctrl-C ends

GPU 0  Tesla T4                                             41 °C   27 W of 70 W
  memory  ██████████████████████▎░  93 %   1.00 GiB free of 15.00 GiB
          ▂█
  load    ███████████████████████▌  98 %
          ▁█
          4821  python3  2.00 GiB
             7  unknown   unknown

note: one thing"""


def frame(*looks: tuple[Device, ...], screen: Screen | None = None) -> list[str]:
    history = History()
    for devices in looks:
        history.add(devices)
    result = ProbeResult(devices=looks[-1], findings=(), notes=("one thing",))
    return render_dashboard(result, history, screen or Screen(width=80), time="12:34:56", interval_seconds=2.0)


def test_a_frame_is_as_agreed() -> None:
    assert frame((replace(T4, notes=()),), (BUSY,)) == FRAME.splitlines()


def test_no_line_is_wider_than_the_screen() -> None:
    crowd = tuple(DeviceProcess(pid=n, name="a-long-name-of-a-program" * 4, used_bytes=n) for n in range(9))
    lines = frame(*[(replace(BUSY, name="NVIDIA RTX PRO 6000 Blackwell Max-Q", processes=crowd),)] * 300)
    assert max(map(len, lines)) <= 80
    assert any("and 4 more" in line for line in lines)  # nine, and what nobody visible holds


def test_plain_terminals_get_plain_marks() -> None:
    assert all(ord(sign) < 128 for line in frame((BUSY,), screen=Screen(width=80, glyphs=False)) for sign in line[:60]
               if sign != "°")  # fmt: skip
    assert any("\x1b[33m" in line for line in frame((BUSY,), screen=Screen(width=80, color=True)))  # 93 %: yellow


def test_unknown_readings_are_said_and_never_drawn() -> None:
    lines = frame((Device(name="NVIDIA GB10", source="nvml"),))
    assert [line.split() for line in lines[3:5]] == [["memory", "unknown"], ["load", "unknown"]]


def test_a_device_that_goes_and_comes_back_has_a_gap() -> None:
    history = History()
    for devices in ((T4,), (), (T4,)):
        history.add(devices)
    assert history.of(T4).load == (12, None, 12)
    assert "no GPU is visible now" in "\n".join(frame((T4,), ()))
    for _ in range(LONGEST + 5):
        history.add((T4,))
    assert len(history.of(T4).memory) == LONGEST
    assert history.of(BUSY).memory == history.of(T4).memory  # the same card by its id


def test_a_curve_keeps_to_its_cells() -> None:
    assert sparkline([0, 13, 99, 100, None], 4) == "▂██ "
    assert sparkline([0, 100], 4, glyphs=False) == "_#"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_log_appends_rows_under_one_header(tmp_path: Path) -> None:
    path = tmp_path / "gpus.csv"
    GpuLog(path).write((T4, Device(name='a, "b"', source="nvml")), "2026-11-23T06:58:45.639+00:00")
    GpuLog(path).write((T4,), "2026-11-23T06:58:47.639+00:00")
    first, second, third = rows(path)
    assert tuple(first) == COLUMNS
    assert (first["free_bytes"], first["utilization_percent"]) == (str(12 * GIB), "12")
    assert (second["name"], second["free_bytes"]) == ('a, "b"', "")  # unknown is empty, never 0
    assert third["time"].endswith("47.639+00:00")


def test_a_log_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "thesis.txt"
    other.write_text("precious\n")
    for path in (other, tmp_path, tmp_path / "no" / "such.csv"):
        with pytest.raises(UsageError):
            GpuLog(path)
    assert other.read_text() == "precious\n"


def test_one_look_is_logged_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("GPUFIT_FAKE_GPU", FAKE)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert main(["gpus", "--log", str(tmp_path / "a.csv")]) == 0
    assert [row["name"] for row in rows(tmp_path / "a.csv")] == ["Tesla T4"]
    capsys.readouterr()
    assert main(["gpus", "--log", str(tmp_path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


def test_each_tick_has_its_time_and_its_row(tmp_path: Path) -> None:
    path = tmp_path / "watch.csv"
    with start("gpus", "--watch", "--json", "--interval", "0.1", "--log", str(path)) as process:
        assert process.stdout is not None
        ticks = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.kill()
        process.communicate(timeout=10)
    times = [tick["time"] for tick in ticks]
    assert sorted(set(times)) == times
    assert [row["time"] for row in rows(path)][:3] == times
