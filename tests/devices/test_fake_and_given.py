"""Devices that nobody probed: mocked through GPUFIT_FAKE_GPU, stated by --vram and --gpu."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufit.devices.fake import parse_fakes
from gpufit.devices.given import given_device
from gpufit.devices.table import load_gpus
from gpufit.errors import UnknownName, UsageError

TABLE = load_gpus()
MIB = 1 << 20


def test_a_mocked_t4_has_its_free_memory_and_its_generation() -> None:
    (device,) = parse_fakes("Tesla T4:15360MiB:free=14900MiB", TABLE)
    assert (device.total_bytes, device.free_bytes, device.used_bytes) == (15360 * MIB, 14900 * MIB, 460 * MIB)
    assert (device.compute_capability, device.vendor, device.source) == ((7, 5), "NVIDIA", "fake")
    assert device.dtypes == ("fp32", "fp16", "int8")


def test_several_mocked_devices_are_numbered_and_told_apart() -> None:
    devices = parse_fakes("Tesla T4:15360MiB:count=2, NVIDIA GeForce RTX 4090:24564MiB:used=1GiB", TABLE)
    assert [device.index for device in devices] == [0, 1, 2]
    assert len({device.uuid for device in devices}) == 3
    assert devices[2].free_bytes == 23540 * MIB


def test_a_known_name_needs_no_size_and_an_unknown_one_can_state_everything() -> None:
    known, own = parse_fakes("L4,Mine:8GB:cc=9.0:uuid=GPU-1:free=0", TABLE)
    assert known.total_bytes == 23034 * MIB
    assert (own.total_bytes, own.free_bytes, own.compute_capability, own.uuid) == (8 * 10**9, 0, (9, 0), "GPU-1")


@pytest.mark.parametrize(
    "text",
    [
        "Voodoo", ":15360MiB", "T4:", "T4:1:2", "T4:abc", "T4:0", "T4:-5", "T4:1GiB:free=2GiB", "T4:1GiB:used=2GiB",
        "T4:1GiB:free=1MiB:used=1MiB", "T4:1GiB:free", "T4:1GiB:free=", "T4:1GiB:colour=red", "T4:1GiB:cc=seven",
        "T4:1GiB:count=0", "T4:1GiB:count=9999", "T4:1GiB:count=²", "T4:1GiB,", ",", "T4:1GiB:free=1MiB:free=2MiB",
    ],
)  # fmt: skip
def test_a_malformed_mock_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_fakes(text, TABLE)


@given(st.text("T4:GiB15=,free usdcotn.x×", max_size=40))
def test_any_text_is_devices_or_a_usage_error(text: str) -> None:
    try:
        devices = parse_fakes(text, TABLE)
    except UsageError:
        return
    assert all(0 <= (device.free_bytes or 0) <= (device.total_bytes or 0) for device in devices)


def test_a_size_given_is_total_and_free() -> None:
    device = given_device(vram="16", gpu=None, environ={})
    assert device is not None
    assert (device.total_bytes, device.free_bytes, device.source) == (16 * 10**9, 16 * 10**9, "given")
    assert device.compute_capability is None


def test_a_card_given_with_a_size_keeps_its_generation() -> None:
    device = given_device(vram="12GiB", gpu="t4", environ={})
    assert device is not None
    assert (device.name, device.total_bytes, device.compute_capability) == ("Tesla T4", 12 << 30, (7, 5))
    assert (device.source, device.reserved_bytes, device.free_bytes) == ("given", None, 12 << 30)


def test_a_size_beside_a_card_is_said_to_win_over_the_cards_own() -> None:
    for gpu, words in (("t4", "12.00 GiB in place of"), ("t4x2", "12.00 GiB on each card in place of")):
        device = given_device(vram="12GiB", gpu=gpu, environ={})
        assert device is not None
        assert device.notes == (f"--vram sets the memory, {words} the 15.00 GiB of Tesla T4; all else is that card's",)


def test_nothing_given_is_no_device() -> None:
    assert given_device(vram=None, gpu=None, environ={}) is None


@pytest.mark.parametrize("vram", ["0", "-5", "abc", "", "1e9", "nan"])
def test_what_is_no_size_is_refused(vram: str) -> None:
    with pytest.raises(UsageError):
        given_device(vram=vram, gpu=None, environ={})


def test_an_unknown_card_is_refused() -> None:
    with pytest.raises(UnknownName):
        given_device(vram=None, gpu="voodoo", environ={})
