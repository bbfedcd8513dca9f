"""``gpufit gpus`` as people and programs see it: the block, the JSON, the stream, and no device at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpufit.cli.main import main
from gpufit.devices.device import Device, DeviceProcess
from gpufit.devices.probe import ProbeResult
from gpufit.render.gpus import render_gpus
from gpufit.render.gpus_json import gpus_to_dict
from gpufit.render.text import Screen

GIB = 1 << 30
T4 = Device(
    name="Tesla T4", source="nvml", index=0, uuid="GPU-5f0a3c1e", total_bytes=15 * GIB, free_bytes=12 * GIB,
    used_bytes=2 * GIB, reserved_bytes=GIB, vendor="NVIDIA", utilization_percent=12, temperature_celsius=41,
    power_watts=27.34, power_limit_watts=70.0, driver="560.35.05", compute_capability=(7, 5), bandwidth_gb_per_s=320.0,
    processes=(
        DeviceProcess(pid=4821, name="python3", used_bytes=2 * GIB), DeviceProcess(pid=7, name=None, used_bytes=None),
    ),
    notes=("a note",),
)  # fmt: skip
BARE = Device(name="NVIDIA GB10", source="nvidia-smi", index=1)

BLOCKS = """\
GPU 0  Tesla T4
  memory     12.00 GiB free of 15.00 GiB, 2.00 GiB used, 1.00 GiB reserved
             ████▊░░░░░░░░░░░░░░░░░░░ 20 % taken
  load       utilization 12 %, temperature 41 °C, power 27 W of 70 W
  driver     560.35.05, asked through nvml
  compute    capability 7.5, 320 GB/s
  runs       fp32 yes  fp16 yes  int8 yes  bf16 no  fp8 no
  id         GPU-5f0a3c1e
  processes  4821  python3  2.00 GiB
                7  unknown   unknown
  note       a note

GPU 1  NVIDIA GB10
  memory     unknown
  load       utilization unknown, temperature unknown, power unknown
  driver     unknown, asked through nvidia-smi
  compute    capability unknown
  runs       unknown
  id         unknown
  processes  unknown
note: one thing"""


def result(*devices: Device, notes: tuple[str, ...] = ()) -> ProbeResult:
    return ProbeResult(devices=devices, findings=(), notes=notes)


def test_the_blocks_are_as_agreed() -> None:
    lines = render_gpus(result(T4, BARE, notes=("one thing",)), Screen(width=80))
    assert "\n".join(lines).replace("\n\nnote", "\nnote").splitlines() == BLOCKS.splitlines()
    assert max(map(len, lines)) <= 80


def test_colour_is_drawn_only_when_asked() -> None:
    assert not any("\x1b" in line for line in render_gpus(result(T4), Screen(color=False)))
    assert any("\x1b[31mno\x1b[0m" in line for line in render_gpus(result(T4), Screen(color=True)))


def test_json_holds_bytes_and_nulls() -> None:
    record = gpus_to_dict(result(T4, BARE))
    first, second = record["devices"]  # type: ignore[misc]
    assert (record["schema"], record["ok"]) == (1, True)
    assert (first["total_bytes"], first["free_bytes"], first["compute_capability"]) == (15 * GIB, 12 * GIB, "7.5")
    assert first["dtypes"] == ["fp32", "fp16", "int8"]
    assert first["refused_dtypes"] == ["bf16", "fp8"]
    assert first["processes"][0] == {"pid": 4821, "name": "python3", "used_bytes": 2 * GIB}
    assert [second[key] for key in ("total_bytes", "free_bytes", "utilization_percent", "processes")] == [None] * 4
    assert json.loads(json.dumps(record)) == record


def test_json_leaves_no_field_of_the_record_out() -> None:
    fields = set(Device.__annotations__) - {"others"}  # a choice among devices, which this list does not make
    assert fields <= set(gpus_to_dict(result(T4))["devices"][0])  # type: ignore[index]


FAKE = "Tesla T4:15360MiB:free=14900MiB"


def test_the_command_shows_a_mocked_device(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GPUFIT_FAKE_GPU", FAKE)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert main(["gpus"]) == 0
    assert "14.55 GiB free of 15.00 GiB" in capsys.readouterr().out
    assert main(["gpus", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["devices"][0]["free_bytes"] == 15_623_782_400


def test_hidden_devices_are_exit_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GPUFIT_FAKE_GPU", FAKE)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert main(["gpus", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], "--vram" in error["hint"]) == ("no_device", True)
    assert main(["gpus"]) == 3
    told = capsys.readouterr().err
    assert "none is visible" in told
    assert "gpufit check MODEL --vram" in told  # the option of another command, which is named with it


def test_a_malformed_mock_is_exit_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GPUFIT_FAKE_GPU", "Voodoo")
    assert main(["gpus"]) == 2
    assert "GPUFIT_FAKE_GPU" in capsys.readouterr().err


CODE = "import sys; from gpufit.cli.main import main; sys.exit(main())"


def start(*arguments: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "GPUFIT_FAKE_GPU": FAKE}
    environ.pop("CUDA_VISIBLE_DEVICES", None)
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("as_json", [True, False])
def test_watching_streams_until_ctrl_c_and_then_exits_0(as_json: bool) -> None:
    with start("gpus", "--watch", "--interval", "0.1", *(["--json"] if as_json else [])) as process:
        assert process.stdout is not None
        if as_json:
            ticks = [json.loads(process.stdout.readline()) for _ in range(3)]
            assert all(tick["devices"][0]["name"] == "Tesla T4" for tick in ticks)
        else:
            assert process.stdout.readline() == "GPU 0  Tesla T4\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_watching_on_a_terminal_draws_a_live_screen_and_restores_it() -> None:
    import pty

    leader, follower = pty.openpty()
    environ = {**os.environ, "GPUFIT_FAKE_GPU": FAKE, "TERM": "xterm", "COLUMNS": "80"}
    environ.pop("CUDA_VISIBLE_DEVICES", None)
    command = [sys.executable, "-c", CODE, "gpus", "--watch", "--interval", "0.1"]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environ) as process:
        os.close(follower)
        shown = b""
        while shown.count(b"Tesla T4") < 2:
            shown += os.read(leader, 65536)
        process.send_signal(signal.SIGINT)
        while b"\x1b[?1049l" not in shown:  # back to the screen as it was
            shown += os.read(leader, 65536)
        assert process.wait(10) == 0
    os.close(leader)
    assert b"Traceback" not in shown


def test_one_look_imports_no_rich_and_a_second_one_no_yaml(tmp_path: Path) -> None:
    code = (
        "import sys; from gpufit.cli.main import main; main(['gpus']);"
        "print([name for name in ('rich', 'torch', 'httpx', 'yaml') if name in sys.modules], file=sys.stderr)"
    )
    environ = {**os.environ, "GPUFIT_FAKE_GPU": FAKE, "XDG_CACHE_HOME": str(tmp_path)}
    environ.pop("CUDA_VISIBLE_DEVICES", None)
    looks = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True)
        for _ in range(2)
    ]
    assert [look.stderr.strip() for look in looks] == ["['yaml']", "[]"]


def test_what_json_prints_is_what_the_schema_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], follows_schema: Callable[[object], None]
) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    follows_schema(gpus_to_dict(result(T4, BARE)))
    monkeypatch.setenv("GPUFIT_FAKE_GPU", FAKE)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    main(["gpus", "--select", "--needs", "1GiB", "--json"])
    follows_schema(json.loads(capsys.readouterr().out))
    with pytest.raises(jsonschema.ValidationError):
        follows_schema({"schema": 1, "ok": True, "devices": [{"name": "T4"}]})
