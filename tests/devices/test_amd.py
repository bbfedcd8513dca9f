"""AMD cards: the kernel's files, rocm-smi and amd-smi say the same of the same machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from told import Answers, recorded
from trees import plant

from gpufit.devices.amd_smi import AmdSmiProbe
from gpufit.devices.amd_sysfs import AmdSysfsProbe
from gpufit.devices.bounded import CommandOutput
from gpufit.devices.device import Device, DeviceProcess, ProbeFailed
from gpufit.devices.probe import choose_device, probe_devices
from gpufit.devices.rocm_smi import RocmSmiProbe
from gpufit.devices.system_files import SystemFiles
from gpufit.errors import NoDevice

MIB = 1 << 20
AMD_SMI = {word: recorded(f"amd_smi_6.3_{word}.json") for word in ("static", "metric", "process")}


@pytest.fixture
def desktop(tmp_path: Path) -> tuple[Device, ...]:
    return AmdSysfsProbe(files=plant("amd_desktop", tmp_path)).devices()


def test_the_kernel_tells_all_of_a_radeon(desktop: tuple[Device, ...]) -> None:
    card = desktop[0]
    assert (card.name, card.index, card.uuid) == ("AMD Radeon RX 7900 XTX", 0, "GPU-8d1f2a3b4c5d6e7f")
    assert (card.total_bytes, card.used_bytes) == (25_753_026_560, 1_528_004_608)
    assert card.free_bytes == 25_753_026_560 - 1_528_004_608
    assert (card.shared_bytes, card.shared_used_bytes) == (33_289_314_304, 89_128_960)
    assert (card.utilization_percent, card.temperature_celsius) == (7, 44)
    assert (card.power_watts, card.power_limit_watts) == (31.0, 339.0)
    assert (card.architecture, card.vendor, card.integrated) == ("gfx1100", "AMD", False)
    assert card.driver == "amdgpu of Linux 6.8.0-41-generic"
    assert card.processes == (DeviceProcess(pid=4211, name="python3", used_bytes=1_240_530_944),)
    assert card.unseen_bytes == 1_528_004_608 - 1_240_530_944


def test_a_processors_graphics_are_listed_and_never_chosen(desktop: tuple[Device, ...]) -> None:
    card, graphics = desktop
    assert (graphics.name, graphics.integrated, graphics.architecture) == ("Raphael", True, "gfx1036")
    assert (graphics.total_bytes, graphics.shared_bytes) == (512 * MIB, 33_289_314_304)
    assert choose_device(desktop) is card
    with pytest.raises(NoDevice, match=r"part of the processor \(Raphael\)"):
        choose_device([graphics])


def test_cards_are_counted_as_rocm_counts_them(tmp_path: Path) -> None:
    first, second = AmdSysfsProbe(files=plant("mi210x2", tmp_path)).devices()
    assert (first.index, first.uuid) == (0, "GPU-1b2c3d4e5f607182")  # the compute driver's first node is card2
    assert (second.index, second.uuid, second.name) == (1, "GPU-5a1f3c2e9b7d4410", "AMD Instinct MI210")
    assert {first.architecture, second.architecture} == {"gfx90a"}
    assert (second.power_watts, second.temperature_celsius, second.driver) == (42.0, None, "amdgpu 6.7.0")
    assert (second.processes, second.unseen_bytes) == ((), 21_486_370_816)


def test_a_card_without_the_compute_driver_says_so(tmp_path: Path) -> None:
    files = plant("amd_desktop", tmp_path)
    for node in (tmp_path / "sys/class/kfd/kfd/topology/nodes").iterdir():
        (node / "properties").unlink()
    first = AmdSysfsProbe(files=files).devices()[0]
    assert (first.name, first.architecture, first.processes) == ("Raphael", None, None)  # by card number
    assert "amdkfd" in first.notes[0]


def test_sizes_that_cannot_be_read_are_unknown(tmp_path: Path) -> None:
    files = plant("mi210x2", tmp_path)
    (tmp_path / "sys/class/drm/card2/device/mem_info_vram_used").unlink()
    (tmp_path / "sys/class/drm/card1/device/mem_info_vram_total").write_text("broken\n")
    first, second = AmdSysfsProbe(files=files).devices()
    assert (first.total_bytes, first.free_bytes, first.used_bytes) == (68_702_699_520, None, None)
    assert (second.total_bytes, second.free_bytes, second.used_bytes) == (None, None, None)


def test_a_machine_without_drm_is_absent_and_one_without_amd_is_empty(tmp_path: Path) -> None:
    with pytest.raises(ProbeFailed) as caught:
        AmdSysfsProbe(files=SystemFiles(root=str(tmp_path))).devices()
    assert caught.value.is_absent
    assert AmdSysfsProbe(files=plant("intel", tmp_path)).devices() == ()


def test_rocm_smi_is_read_although_it_ends_with_an_error() -> None:
    first, second = RocmSmiProbe(run=Answers({"rocm-smi": recorded("rocm_smi_5.2.3.json", code=2)})).devices()
    assert (first.name, first.uuid) == ("Radeon RX 7900 XT/7900 XTX/7900M", "GPU-8d1f2a3b4c5d6e7f")
    assert (first.total_bytes, first.used_bytes) == (25_753_026_560, 1_528_004_608)
    assert (first.utilization_percent, first.temperature_celsius, first.power_watts) == (7, 44, 31.0)
    assert (second.name, second.temperature_celsius) == ("Instinct MI210", 39)  # no sensor at the edge
    assert (second.power_limit_watts, second.driver) == (300.0, "amdgpu 6.1.0-17-amd64")


def test_rocm_smi_without_a_driver_is_absent() -> None:
    with pytest.raises(ProbeFailed, match="not loaded") as caught:
        RocmSmiProbe(run=Answers({"rocm-smi": recorded("rocm_smi_no_driver.txt")})).devices()
    assert caught.value.is_absent


def test_amd_smi_is_read_from_its_three_answers() -> None:
    first, second = AmdSmiProbe(run=Answers(AMD_SMI)).devices()
    assert (first.name, first.uuid, first.architecture) == ("AMD Radeon RX 7900 XTX", "GPU-8d1f2a3b4c5d6e7f", "gfx1100")
    assert (first.total_bytes, first.used_bytes) == (24560 * MIB, 1457 * MIB)
    assert (first.shared_bytes, first.shared_used_bytes) == (31747 * MIB, 85 * MIB)
    assert (first.utilization_percent, first.temperature_celsius) == (7, 44)
    assert (first.power_watts, first.power_limit_watts, first.driver) == (31.0, 339.0, "amdgpu 6.10.5")
    assert first.processes == (
        DeviceProcess(pid=4211, name="python3", used_bytes=1_240_530_944),
        DeviceProcess(pid=977, name=None, used_bytes=60 * MIB),
    )
    assert (first.integrated, second.integrated) == (False, True)
    assert (second.uuid, second.utilization_percent, second.power_watts, second.processes) == (None, None, None, ())


def test_the_list_of_rocm_7_lies_under_a_key() -> None:
    wrapped = {
        word: CommandOutput(code=0, stdout=f'{{"gpu_data": {answer.stdout}}}') for word, answer in AMD_SMI.items()
    }
    assert AmdSmiProbe(run=Answers(wrapped)).devices() == AmdSmiProbe(run=Answers(AMD_SMI)).devices()


def test_without_its_list_of_processes_amd_smi_still_answers() -> None:
    for failing in (ProbeFailed("slow"), CommandOutput(code=1, stdout="no"), CommandOutput(code=0, stdout="{}")):
        first, _ = AmdSmiProbe(run=Answers({**AMD_SMI, "process": failing})).devices()
        assert (first.processes, first.total_bytes) == (None, 24560 * MIB)


@pytest.mark.parametrize("word", ["static", "metric"])
@pytest.mark.parametrize(
    "broken",
    [
        ProbeFailed("amd-smi did not answer within 2 s"),
        CommandOutput(code=255, stdout="", stderr="AMD-SMI failed to initialize"),
        CommandOutput(code=0, stdout="[1, 2]"),
        CommandOutput(code=0, stdout='{"error": "no", "code": -1}'),
        CommandOutput(code=0, stdout="[{"),
        CommandOutput(code=0, stdout=""),
    ],
)
def test_a_broken_amd_smi_fails(word: str, broken: CommandOutput | ProbeFailed) -> None:
    with pytest.raises(ProbeFailed) as caught:
        AmdSmiProbe(run=Answers({**AMD_SMI, word: broken})).devices()
    assert not caught.value.is_absent


@pytest.mark.parametrize("text", ["", "{", "7", '{"card0": 3}', "WARNING: only words"])
def test_a_broken_rocm_smi_fails(text: str) -> None:
    with pytest.raises(ProbeFailed):
        RocmSmiProbe(run=Answers({"rocm-smi": CommandOutput(code=0, stdout=text)})).devices()


def test_warnings_before_the_answer_do_no_harm() -> None:
    noisy = CommandOutput(code=0, stdout="WARNING: low power\n" + recorded("rocm_smi_5.2.3.json").stdout)
    assert len(RocmSmiProbe(run=Answers({"rocm-smi": noisy})).devices()) == 2


def test_tools_that_are_missing_are_absent() -> None:
    for probe in (RocmSmiProbe(run=Answers({})), AmdSmiProbe(run=Answers({}))):
        with pytest.raises(ProbeFailed) as caught:
            probe.devices()
        assert caught.value.is_absent


def test_the_three_ways_to_ask_agree(tmp_path: Path) -> None:
    rounds = [
        [AmdSysfsProbe(files=plant("amd_desktop", tmp_path)), AmdSmiProbe(run=Answers(AMD_SMI))],
        [RocmSmiProbe(run=Answers({"rocm-smi": recorded("rocm_smi_5.2.3.json", code=2)}))],
    ]
    result = probe_devices({}, rounds, ask_all=True)
    assert [device.source for device in result.devices] == ["amd-sysfs", "amd-sysfs"]
    assert [note for note in result.notes if "disagree" in note] == [  # the recorded machine is another one
        "probes disagree on GPU 1: amd-sysfs says 0.50 GiB, rocm-smi 63.98 GiB"
    ]
    assert result.devices[0].bandwidth_gb_per_s == 960  # from the table, by name
