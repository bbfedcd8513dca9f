"""``gpufit gpus --select``: ids of devices with enough free memory, or nothing at all."""

from __future__ import annotations

import json

import pytest

from gpufit.cli.main import main
from gpufit.devices.device import Device
from gpufit.devices.select import select_devices
from gpufit.errors import NoDevice

GIB = 1 << 30
FAKES = "Tesla T4:15360MiB:free=4GiB:uuid=GPU-small,NVIDIA L4:23034MiB:free=20GiB:uuid=GPU-large,Tesla T4:uuid=GPU-mid"


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUFIT_FAKE_GPU", FAKES)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def device(index: int, free: int | None, **facts: object) -> Device:
    known = {"vendor": "NVIDIA", "uuid": f"GPU-{index}", **facts}
    return Device(name=f"card {index}", source="nvml", index=index, free_bytes=free, **known)  # type: ignore[arg-type]


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize(
    ("arguments", "out", "code"),
    [
        (["--needs", "12GiB"], "GPU-large,GPU-mid\n", 0),
        (["--needs", "12GiB", "--count", "1"], "GPU-large\n", 0),
        (["--needs", "20GiB"], "GPU-large\n", 0),
        (["--needs", "1GiB"], "GPU-large,GPU-mid,GPU-small\n", 0),
        (["--needs", "21GiB"], "", 1),
    ],
)
def test_ids_are_printed_freest_first_and_nothing_where_none_has_enough(
    capsys: pytest.CaptureFixture[str], arguments: list[str], out: str, code: int
) -> None:
    assert main(["gpus", "--select", *arguments]) == code
    said = capsys.readouterr()
    assert said.out == out
    assert ("no GPU has 21.00 GiB free; the most is 20.00 GiB on NVIDIA L4" in said.err) == (code == 1)


@pytest.mark.usefixtures("cards")
def test_json_holds_the_devices_or_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus", "--select", "--needs", "12GiB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ids"], found["variable"]) == (["GPU-large", "GPU-mid"], "CUDA_VISIBLE_DEVICES")
    assert (found["needs_bytes"], found["selected"][0]["name"]) == (12 * GIB, "NVIDIA L4")
    assert main(["gpus", "--select", "--needs", "99GiB", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ids"] == []


@pytest.mark.usefixtures("cards")
def test_what_is_visible_alone_is_selected(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert main(["gpus", "--select", "--needs", "1GiB"]) == 0
    assert capsys.readouterr().out == "GPU-mid,GPU-small\n"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["gpus", "--select", "--needs", "1GiB"]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize(
    "arguments",
    [["--select"], ["--needs", "1GiB"], ["--count", "1"], ["--select", "--needs", "much"],
     ["--select", "--needs", "1GiB", "--count", "0"], ["--select", "--needs", "1GiB", "--watch"]],
)  # fmt: skip
def test_wrong_use_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus", *arguments]) == 2
    assert capsys.readouterr().out == ""


def test_nobody_can_tell_where_memory_is_unknown_or_a_probe_failed() -> None:
    assert select_devices([device(0, None), device(1, 9)], 5).ids == ("GPU-1",)
    with pytest.raises(NoDevice, match="unknown: card 0"):
        select_devices([device(0, None), device(1, 2)], 5)
    with pytest.raises(NoDevice, match="driver is broken"):
        select_devices([], 5, troubles=["driver is broken"])
    assert select_devices([], 5).ids == ()


def test_a_processors_graphics_are_never_selected() -> None:
    assert select_devices([device(0, 99, integrated=True)], 5).ids == ()


def test_one_slice_at_a_time_and_none_beside_whole_cards() -> None:
    slices = [device(0, 9, uuid="MIG-a"), device(0, 8, uuid="MIG-b")]
    assert select_devices(slices, 5).ids == ("MIG-a",)
    mixed = select_devices([*slices, device(1, 7)], 5)
    assert (mixed.ids, len(mixed.notes)) == (("GPU-1",), 1)


def test_other_vendors_get_indices_and_their_own_variable() -> None:
    amd = [device(index, 9 + index, vendor="AMD", uuid=f"GPU-{index}") for index in range(2)]
    chosen = select_devices([*amd, device(0, 7)], 5)
    assert (chosen.ids, chosen.variable) == (("1", "0"), "ROCR_VISIBLE_DEVICES")
    assert "one vendor's" in chosen.notes[0]
    assert select_devices([device(3, 7, uuid=None), device(4, 8)], 5).ids == ("4", "3")  # never ids and indices mixed
