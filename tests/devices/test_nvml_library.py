"""The NVML probe through nvidia-ml-py's own code, over a small shared library compiled here from fake_nvml.c."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from gpufit.devices.device import DeviceProcess, ProbeFailed
from gpufit.devices.nvml import NvmlProbe

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C compiler to build the fake libnvidia-ml with"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nvidia-ml-py loads libnvidia-ml.so.1 on Linux"),
]
MIB = 1 << 20
CODES = {name: value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")}
SILENT = {"NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NOT_FOUND", "NO_DATA", "DEPRECATED", "ARGUMENT_VERSION_MISMATCH"}
READINGS = {
    "nvmlDeviceGetUtilizationRates": "utilization_percent",
    "nvmlDeviceGetTemperature": "temperature_celsius",
    "nvmlDeviceGetPowerUsage": "power_watts",
    "nvmlDeviceGetEnforcedPowerLimit": "power_limit_watts",
    "nvmlDeviceGetUUID": "uuid",
    "nvmlSystemGetDriverVersion": "driver",
    "nvmlDeviceGetCudaComputeCapability": "compute_capability",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).parent / "fake_nvml.c"
    command = [str(COMPILER), "-shared", "-fPIC", "-o", str(place / "libnvidia-ml.so.1"), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return place


@pytest.fixture
def library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """nvidia-ml-py with the fake library loaded, in its own place and through its own function table."""
    loaded = ctypes.CDLL(str(folder / "libnvidia-ml.so.1"))
    monkeypatch.setattr(pynvml, "nvmlLib", loaded)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    yield loaded
    loaded.fake_fail(b"", 0)
    loaded.fake_process_size(ctypes.c_ulonglong(800 * MIB))


def probe() -> NvmlProbe:
    return NvmlProbe(process_name=lambda pid: None)


def test_a_t4_and_two_slices_are_read_through_the_real_adapter(library: Any) -> None:
    card, large, small = probe().devices()
    assert (card.name, card.uuid) == ("Tesla T4", "GPU-5f0a3c1e-8d5b-6f62-4d1c-0f5f0b6d7a11")
    assert (card.total_bytes, card.free_bytes) == (15360 * MIB, 14000 * MIB)
    assert (card.used_bytes, card.reserved_bytes) == (915 * MIB, 445 * MIB)
    assert (card.utilization_percent, card.temperature_celsius) == (12, 41)
    assert (card.power_watts, card.power_limit_watts) == (27.34, 70.0)
    assert (card.driver, card.compute_capability) == ("560.35.05", (7, 5))
    assert card.processes == (DeviceProcess(pid=4821, name="python3", used_bytes=800 * MIB),)
    assert card.unseen_bytes == 115 * MIB
    assert (large.name, large.uuid) == (
        "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
        "MIG-c7384736-a75d-5afc-978f-d2f1294409fd",
    )
    assert (large.index, large.total_bytes, large.free_bytes) == (1, 19968 * MIB, 19930 * MIB)
    assert (small.total_bytes, small.utilization_percent, small.processes) == (4864 * MIB, None, ())


def test_the_size_that_windows_does_not_tell_is_unknown(library: Any) -> None:
    library.fake_process_size(ctypes.c_ulonglong(2**64 - 1))
    card = probe().devices()[0]
    assert card.processes == (DeviceProcess(pid=4821, name="python3", used_bytes=None),)
    assert card.unseen_bytes is None


@pytest.mark.parametrize("function", READINGS)
@pytest.mark.parametrize("code", CODES)
def test_a_reading_that_fails_is_unknown_with_its_reason(library: Any, function: str, code: str) -> None:
    library.fake_fail(function.encode(), CODES[code])
    card = probe().devices()[0]
    assert getattr(card, READINGS[function]) is None
    assert (card.name, card.total_bytes) == ("Tesla T4", 15360 * MIB)
    told = code.removeprefix("NVML_ERROR_") not in SILENT and function != "nvmlSystemGetDriverVersion"
    assert [str(pynvml.NVMLError(CODES[code])) in note for note in card.notes] == [True] * told


@pytest.mark.parametrize("code", CODES)
def test_without_the_newer_memory_call_the_older_answers(library: Any, code: str) -> None:
    library.fake_fail(b"nvmlDeviceGetMemoryInfo_v2", CODES[code])
    card = probe().devices()[0]
    assert (card.total_bytes, card.free_bytes, card.reserved_bytes) == (15360 * MIB, 14000 * MIB, None)
    assert card.used_bytes == (915 + 445) * MIB  # the older call counts what is reserved as used


@pytest.mark.parametrize("code", CODES)
def test_an_nvml_that_cannot_start_fails(library: Any, code: str) -> None:
    library.fake_fail(b"nvmlInitWithFlags", CODES[code])
    with pytest.raises(ProbeFailed) as caught:
        probe().devices()
    assert caught.value.is_absent == (code in ("NVML_ERROR_LIBRARY_NOT_FOUND", "NVML_ERROR_DRIVER_NOT_LOADED"))


@pytest.mark.parametrize("code", CODES)
def test_cards_that_cannot_be_counted_are_a_failure_and_lost_ones_are_unknown(library: Any, code: str) -> None:
    library.fake_fail(b"nvmlDeviceGetCount_v2", CODES[code])
    with pytest.raises(ProbeFailed):
        probe().devices()
    library.fake_fail(b"nvmlDeviceGetHandleByIndex_v2", CODES[code])
    lost = probe().devices()
    assert [(card.name, card.total_bytes) for card in lost] == [("NVIDIA GPU 0", None), ("NVIDIA GPU 1", None)]
    assert lost[0].notes == (f"NVML: {pynvml.NVMLError(CODES[code])}",)


@pytest.mark.parametrize("code", CODES)
def test_a_divided_card_whose_slices_cannot_be_read_gives_nothing(library: Any, code: str) -> None:
    for function in (b"nvmlDeviceGetMaxMigDeviceCount", b"nvmlDeviceGetMigDeviceHandleByIndex"):
        library.fake_fail(function, CODES[code])
        _, divided = probe().devices()
        assert (divided.name, divided.free_bytes) == ("NVIDIA A100-SXM4-40GB", 0)


@pytest.mark.parametrize("code", CODES)
def test_processes_that_cannot_be_listed(library: Any, code: str) -> None:
    function = "nvmlDeviceGetComputeRunningProcesses"
    library.fake_fail(f"{function}_v2,{function}_v3".encode(), CODES[code])
    card = probe().devices()[0]
    assert card.processes is None  # nobody draws, and that alone does not mean none
    assert card.total_bytes == 15360 * MIB


def run_command(folder: Path, *arguments: str, fail: str = "") -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "LD_LIBRARY_PATH": str(folder), "GPUFIT_NVML_FAIL": fail}
    for name in ("GPUFIT_FAKE_GPU", "CUDA_VISIBLE_DEVICES"):
        environ.pop(name, None)
    program = "import sys; from gpufit.cli.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environ, timeout=60
    )


def test_the_whole_command_loads_the_library_by_its_name(folder: Path) -> None:
    done = run_command(folder, "gpus", "--json")
    assert done.returncode == 0, done.stderr
    devices = json.loads(done.stdout)["devices"]
    assert (devices[0]["name"], devices[0]["source"]) == ("Tesla T4", "nvml")
    assert devices[0]["unseen_bytes"] == 115 * MIB
    assert "held by processes not visible here" in run_command(folder, "gpus").stdout


def test_check_judges_the_freest_of_unlike_devices(folder: Path) -> None:
    done = run_command(folder, "check", "gpt2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["device"]["name"] == "NVIDIA A100-SXM4-40GB MIG 3g.20gb"


def test_a_hanging_driver_costs_two_seconds_and_is_told(folder: Path) -> None:
    done = run_command(folder, "gpus", "--json", fail="nvmlInitWithFlags=-1")
    assert done.returncode == 3
    assert "NVML did not answer within 2 s" in json.loads(done.stdout)["error"]["message"]


def test_a_driver_older_than_the_adapter_is_asked_by_its_older_call(library: Any) -> None:
    """nvidia-ml-py then raises NVMLLibraryMismatchError, which is no NVMLError."""
    library.fake_fail(b"nvmlDeviceGetComputeRunningProcesses_v3", pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    assert issubclass(pynvml.NVMLLibraryMismatchError, Exception)
    assert not issubclass(pynvml.NVMLLibraryMismatchError, pynvml.NVMLError)
    (held,) = probe().devices()[0].processes or ()
    assert (held.pid, held.used_bytes) == (4821, 800 * MIB)


def test_doctor_tells_the_cuda_of_the_driver(folder: Path) -> None:
    done = run_command(folder, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["versions"]["CUDA of the driver"] == "12.6"
