"""The NVML probe over a double of nvidia-ml-py: every answer, every error code, slices and hangs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pynvml
import pytest
from fake_nvml import MIB, Card, FakeNvml, process

from gpufit.devices.device import DeviceProcess, ProbeFailed
from gpufit.devices.nvml import NvmlProbe
from gpufit.devices.nvml_processes import read_process_name
from gpufit.devices.probe import probe_devices

CODES = {name: value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")}
READINGS = {
    "nvmlDeviceGetMemoryInfo": "total_bytes",
    "nvmlDeviceGetUtilizationRates": "utilization_percent",
    "nvmlDeviceGetTemperature": "temperature_celsius",
    "nvmlDeviceGetPowerUsage": "power_watts",
    "nvmlDeviceGetEnforcedPowerLimit": "power_limit_watts",
    "nvmlDeviceGetUUID": "uuid",
    "nvmlSystemGetDriverVersion": "driver",
    "nvmlDeviceGetCudaComputeCapability": "compute_capability",
}


def probe(module: Any, **settings: Any) -> NvmlProbe:
    return NvmlProbe(module=module, process_name=settings.pop("process_name", lambda pid: None), **settings)


def test_a_t4_is_read_whole() -> None:
    (device,) = probe(FakeNvml(Card())).devices()
    assert (device.name, device.source, device.index, device.vendor) == ("Tesla T4", "nvml", 0, "NVIDIA")
    assert (device.total_bytes, device.free_bytes) == (15360 * MIB, 14000 * MIB)
    assert (device.used_bytes, device.reserved_bytes) == (915 * MIB, 445 * MIB)
    assert (device.utilization_percent, device.temperature_celsius) == (12, 41)
    assert (device.power_watts, device.power_limit_watts) == (27.34, 70.0)
    assert (device.driver, device.compute_capability) == ("560.35.05", (7, 5))
    assert device.processes == ()
    assert device.notes == ()


def test_without_the_second_memory_call_the_first_answers_and_reserved_is_unknown() -> None:
    (device,) = probe(FakeNvml(Card(), errors={"v2": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND})).devices()
    assert (device.total_bytes, device.free_bytes, device.reserved_bytes) == (15360 * MIB, 14000 * MIB, None)


@pytest.mark.parametrize("function", READINGS)
@pytest.mark.parametrize("code", CODES)
def test_a_reading_that_fails_is_unknown_and_never_zero(function: str, code: str) -> None:
    (device,) = probe(FakeNvml(Card(), errors={function: CODES[code]})).devices()
    assert getattr(device, READINGS[function]) is None
    assert device.name == "Tesla T4"


@pytest.mark.parametrize("code", CODES)
def test_only_a_reading_the_card_does_not_have_is_silent(code: str) -> None:
    (device,) = probe(FakeNvml(Card(), errors={"nvmlDeviceGetTemperature": CODES[code]})).devices()
    silent = {"NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NOT_FOUND", "NO_DATA", "DEPRECATED", "ARGUMENT_VERSION_MISMATCH"}
    expected = () if code.removeprefix("NVML_ERROR_") in silent else (str(pynvml.NVMLError(CODES[code])),)
    assert tuple(note.removeprefix("temperature unknown: ") for note in device.notes) == expected


@pytest.mark.parametrize("code", CODES)
def test_an_nvml_that_cannot_start_fails_and_only_a_missing_driver_is_absent(code: str) -> None:
    with pytest.raises(ProbeFailed) as caught:
        probe(FakeNvml(errors={"nvmlInit": CODES[code]})).devices()
    assert caught.value.is_absent == (code in ("NVML_ERROR_LIBRARY_NOT_FOUND", "NVML_ERROR_DRIVER_NOT_LOADED"))
    assert str(pynvml.NVMLError(CODES[code])) in caught.value.message


@pytest.mark.parametrize("code", CODES)
def test_a_count_that_fails_is_a_failure(code: str) -> None:
    with pytest.raises(ProbeFailed):
        probe(FakeNvml(Card(), errors={"nvmlDeviceGetCount": CODES[code]})).devices()


@pytest.mark.parametrize("code", CODES)
def test_a_lost_card_is_listed_as_unknown_with_its_reason(code: str) -> None:
    (device,) = probe(FakeNvml(Card(), errors={"nvmlDeviceGetHandleByIndex": CODES[code]})).devices()
    assert (device.name, device.total_bytes, device.free_bytes) == ("NVIDIA GPU 0", None, None)
    assert device.notes == (f"NVML: {pynvml.NVMLError(CODES[code])}",)


def test_a_failing_shutdown_loses_nothing() -> None:
    (device,) = probe(FakeNvml(Card(), errors={"nvmlShutdown": pynvml.NVML_ERROR_UNKNOWN})).devices()
    assert device.total_bytes == 15360 * MIB


def test_an_impossible_memory_is_unknown() -> None:
    for card in (Card(total=0, free=0), Card(free=99999 * MIB)):
        (device,) = probe(FakeNvml(card)).devices()
        assert (device.total_bytes, device.free_bytes) == (None, None)
        assert "impossible" in device.notes[0]


def test_processes_are_merged_named_and_sorted_by_size() -> None:
    card = Card(
        compute=[process(10, 100 * MIB), process(11, 700 * MIB), process(12, None), process(13, 2**64 - 1)],
        graphics=[process(10, 150 * MIB)],
    )
    nvml = FakeNvml(card, names={12: "C:\\bin\\game.exe"})
    (device,) = probe(nvml, process_name={10: "python", 11: "vllm"}.get).devices()
    assert device.processes == (
        DeviceProcess(pid=11, name="vllm", used_bytes=700 * MIB),
        DeviceProcess(pid=10, name="python", used_bytes=150 * MIB),
        DeviceProcess(pid=12, name="game.exe", used_bytes=None),
        DeviceProcess(pid=13, name=None, used_bytes=None),
    )


def test_processes_that_cannot_be_listed_are_unknown_and_not_none() -> None:
    errors = dict.fromkeys(
        ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"),
        pynvml.NVML_ERROR_NOT_SUPPORTED,
    )
    (device,) = probe(FakeNvml(Card(), errors=errors)).devices()
    assert device.processes is None


def test_mig_slices_stand_in_place_of_their_card() -> None:
    name, uuid = "NVIDIA A100-SXM4-80GB MIG 3g.40gb", "MIG-0c757cd7-e942-5726-a0b8-0e8fb7067135"
    part = Card(name=name, uuid=uuid, total=40192 * MIB, free=40000 * MIB, used=37 * MIB, reserved=0)
    card = Card(name="NVIDIA A100-SXM4-80GB", mig=[part], capability=(8, 0), total=81920 * MIB, free=81000 * MIB)
    first, second = probe(FakeNvml(card, Card())).devices()
    assert (first.name, first.uuid, first.index) == (name, uuid, 0)
    assert (first.total_bytes, first.free_bytes) == (40192 * MIB, 40000 * MIB)
    assert (first.compute_capability, first.temperature_celsius, first.utilization_percent) == ((8, 0), 41, None)
    assert first.notes == ("MIG slice of GPU 0 (NVIDIA A100-SXM4-80GB)",)
    assert second.name == "Tesla T4"


def test_a_divided_card_without_slices_has_nothing_to_give() -> None:
    (device,) = probe(FakeNvml(Card(mig=[]))).devices()
    assert device.free_bytes == 0
    assert "MIG is on" in device.notes[-1]


def test_a_hanging_driver_is_left_behind() -> None:
    class Hanging(FakeNvml):
        def _nvmlDeviceGetCount(self) -> int:  # noqa: N802
            time.sleep(30)
            return 0

    start = time.monotonic()
    with pytest.raises(ProbeFailed, match=r"did not answer within 0\.2 s"):
        probe(Hanging(), limit_seconds=0.2).devices()
    assert time.monotonic() - start < 15


def test_the_default_limit_is_two_seconds() -> None:
    assert NvmlProbe().limit_seconds == 2


def test_the_installed_module_answers_on_this_machine_or_says_why_not() -> None:
    (finding,) = probe_devices({}, [[NvmlProbe()]]).findings
    assert finding.outcome in ("found", "absent", "failed", "none")
    assert bool(finding.devices) != bool(finding.message)


def test_process_names_come_from_the_system_where_it_has_them() -> None:
    assert (read_process_name(os.getpid()) is not None) == Path("/proc/self/cmdline").exists()
    assert read_process_name(2**30) is None
