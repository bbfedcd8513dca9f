"""Probing as a whole: the order of probes, visibility, what each said, and the choice of one device."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest
from fake_nvml import MIB, Card, FakeNvml
from told import Said

from gpufit.devices.bounded import CommandOutput, call_bounded
from gpufit.devices.device import Device, ProbeFailed
from gpufit.devices.nvml import NvmlProbe
from gpufit.devices.probe import choose_device, default_rounds, probe_devices
from gpufit.devices.torch_probe import TorchProbe, parse_torch
from gpufit.devices.visible import select_visible
from gpufit.errors import NoDevice, UsageError


def card(index: int, name: str = "Tesla T4", **facts: int | str | None) -> Device:
    facts = {"vendor": "NVIDIA", **facts}
    return Device(name=name, source="nvml", index=index, uuid=f"GPU-{index}a-{index}b", **facts)  # type: ignore[arg-type]


CARDS = (card(0), card(1), card(2, "NVIDIA L4"))
MIG = Device(name="A100 MIG 3g.40gb", source="nvml", index=3, uuid="MIG-0c757cd7-e942", vendor="NVIDIA")


@pytest.mark.parametrize(
    ("variable", "indices"),
    [
        ("0,1,2", [0, 1, 2]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("", []),
        ("-1", []),
        ("1,-1,2", [1]),
        ("0,7,1", [0]),
        ("7,0", []),
        ("GPU-1a-1b", [1]),
        ("GPU-1", [1]),
        ("gpu-2A", [2]),
        ("GPU-", []),  # the beginning of all of them
        ("GPU-2a-2b,GPU-0", [2, 0]),
        ("MIG-0c757", [3]),
        ("0,0", []),
        ("abc", []),
        ("0;1", []),
        ("0,", [0]),
        ("99999999999999999999", []),
    ],
)
def test_cuda_visible_devices_selects_and_orders(variable: str, indices: list[int]) -> None:
    chosen, _ = select_visible((*CARDS, MIG), {"CUDA_VISIBLE_DEVICES": variable})
    assert [device.index for device in chosen] == indices


def test_a_whole_uuid_wins_over_a_longer_one_that_begins_alike() -> None:
    short, long = (Device(name="A", source="nvml", index=i, uuid=uuid) for i, uuid in enumerate(("GPU-1", "GPU-12")))
    assert select_visible((short, long), {"CUDA_VISIBLE_DEVICES": "GPU-1"})[0] == (short,)


def test_without_the_variable_every_device_is_visible() -> None:
    assert select_visible(CARDS, {}) == (CARDS, ())


@pytest.mark.parametrize(
    ("variable", "says"),
    [("-1", "hides every device"), ("0,9", "'9' names no device"), ("GPU-", "several"), ("0,0", "twice")],
)
def test_what_visibility_drops_is_noted(variable: str, says: str) -> None:
    _, notes = select_visible(CARDS, {"CUDA_VISIBLE_DEVICES": variable, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert says in " ".join(notes)


def test_indices_among_unlike_cards_are_noted_as_cuda_orders_them_otherwise() -> None:
    _, notes = select_visible(CARDS, {"CUDA_VISIBLE_DEVICES": "0"})
    assert "CUDA_DEVICE_ORDER" in notes[0]
    assert select_visible(CARDS[:2], {"CUDA_VISIBLE_DEVICES": "0"})[1] == ()
    assert select_visible(CARDS, {"CUDA_VISIBLE_DEVICES": "GPU-1"})[1] == ()


def test_the_first_probe_that_finds_devices_is_believed() -> None:
    smi = Said((card(0, "Tesla T4", total_bytes=1),), "smi")
    result = probe_devices(
        {}, [[Said(ProbeFailed("no driver", is_absent=True), "nvml")], [Said((), "none")], [smi], [Said(())]]
    )
    assert [(finding.probe, finding.outcome) for finding in result.findings] == [
        ("nvml", "absent"),
        ("none", "none"),
        ("smi", "found"),
    ]
    assert result.devices[0].total_bytes == 1
    assert result.notes == ()


def test_a_failing_probe_is_noted_and_the_next_one_asked() -> None:
    broken = FakeNvml(errors={"nvmlInit": pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH})
    result = probe_devices({}, [[NvmlProbe(module=broken)], [Said(CARDS)]])
    assert len(result.devices) == 3
    assert result.notes == (f"NVML: {pynvml.NVMLError(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)}",)


def test_missing_facts_are_filled_by_name() -> None:
    (device,) = probe_devices({}, [[Said((card(0, "NVIDIA GeForce RTX 4060 Ti", total_bytes=16380 * MIB),))]]).devices
    assert (device.compute_capability, device.bandwidth_gb_per_s) == ((8, 9), 288.0)


def test_a_mock_replaces_every_probe_and_obeys_visibility() -> None:
    environ = {"GPUFIT_FAKE_GPU": "Tesla T4:15360MiB:count=3", "CUDA_VISIBLE_DEVICES": "2"}
    result = probe_devices(environ, [[Said(CARDS)]])
    assert [(device.source, device.index) for device in result.devices] == [("fake", 2)]
    with pytest.raises(UsageError):
        probe_devices({"GPUFIT_FAKE_GPU": "Voodoo"}, [])


def test_disagreement_between_probes_is_noted_when_all_are_asked() -> None:
    small, large = card(0, total_bytes=8 << 30), card(0, total_bytes=16 << 30)

    def notes(one: tuple[Device, ...], two: tuple[Device, ...]) -> tuple[str, ...]:
        return probe_devices({}, [[Said(one, "a")], [Said(two, "b")]], ask_all=True).notes

    assert notes((large,), (large,)) == ()
    assert notes((large,), (small,)) == ("probes disagree on GPU 0: a says 16.00 GiB, b 8.00 GiB",)
    assert notes(CARDS, (small,)) == ("probes disagree: a sees 3 devices, b 1",)
    other = Device(name="Arc", source="x", vendor="Intel", total_bytes=1)
    assert notes((large,), (other,)) == ()  # of another vendor


def test_the_freest_device_is_chosen_and_unknown_memory_comes_last() -> None:
    unknown, small, large = card(0), card(1, free_bytes=5), card(2, free_bytes=9)
    assert choose_device([unknown, small, large]) is large
    assert choose_device([unknown, small]) is small
    assert choose_device([unknown]) is unknown
    twin = card(3, free_bytes=9)
    assert choose_device([large, twin]) is large


def test_no_device_is_exit_3_with_a_hint() -> None:
    with pytest.raises(NoDevice, match="no GPU found") as caught:
        choose_device([])
    assert (caught.value.exit_code, "--vram" in caught.value.hint, "--gpu" in caught.value.hint) == (3, True, True)
    hidden = probe_devices({"CUDA_VISIBLE_DEVICES": ""}, [[Said(CARDS)]])
    with pytest.raises(NoDevice, match="3 GPUs are here, and none is visible"):
        choose_device(hidden.devices, hidden.findings)
    with pytest.raises(NoDevice, match="no free memory"):
        choose_device([card(0, free_bytes=0)])


def test_everything_hanging_at_once_is_bounded() -> None:
    def hang() -> None:
        time.sleep(30)

    class Hanging(FakeNvml):
        def _nvmlInit(self) -> None:  # noqa: N802
            hang()

    start = time.monotonic()
    result = probe_devices({}, [[NvmlProbe(module=Hanging(Card()))]])
    assert 1.5 < time.monotonic() - start < 15
    assert [finding.outcome for finding in result.findings] == ["failed"]
    assert result.notes == ("NVML did not answer within 2 s",)


def test_a_bounded_call_hands_its_own_errors_on() -> None:
    def fail() -> None:
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        call_bounded(fail, 1, "it")
    assert call_bounded(lambda: 7, 1, "it") == 7


def test_the_real_probes_are_asked_in_rounds_with_two_seconds_each() -> None:
    rounds = default_rounds()
    assert [[probe.name for probe in members] for members in rounds] == [
        ["nvml", "amd-sysfs", "intel-sysfs", "apple"],
        ["nvidia-smi", "amd-smi", "rocm-smi", "xpu-smi"],
        ["torch"],
    ]
    assert {getattr(probe, "limit_seconds", None) for members in rounds for probe in members} == {2}


def torch_folder(tmp_path: Path, cuda: str) -> Callable[[], Path]:
    (tmp_path / "version.py").write_text(f"debug = False\ncuda: Optional[str] = {cuda}\nhip: Optional[str] = None\n")
    return lambda: tmp_path


def said(output: CommandOutput) -> Callable[..., CommandOutput]:
    return lambda command, *, limit_seconds: output


TORCH = '[{"name": "Tesla T4", "free": 15000, "total": 15800, "cc": [7, 5], "uuid": "ab-cd", "vendor": "NVIDIA"}]'


def test_torch_answers_from_a_child_process(tmp_path: Path) -> None:
    probe = TorchProbe(run=said(CommandOutput(code=0, stdout=TORCH)), find=torch_folder(tmp_path, "'12.8'"))
    (device,) = probe.devices()
    assert (device.total_bytes, device.free_bytes, device.used_bytes) == (15800, 15000, 800)
    assert (device.compute_capability, device.uuid, device.vendor) == ((7, 5), "GPU-ab-cd", "NVIDIA")


def test_an_amd_card_has_no_cuda_capability() -> None:
    (device,) = parse_torch(TORCH.replace("NVIDIA", "AMD").replace('"cc"', '"gfx": "gfx90a:sramecc+:xnack-", "cc"'))
    assert (device.vendor, device.compute_capability, device.architecture) == ("AMD", None, "gfx90a")


def test_torch_knows_metal_and_intel() -> None:
    (mac,) = parse_torch('[{"name": "Apple GPU", "free": null, "total": 22906503168, "vendor": "Apple"}]')
    assert (mac.vendor, mac.total_bytes, mac.free_bytes, mac.used_bytes) == ("Apple", 22906503168, None, None)
    (arc,) = parse_torch('[{"name": "Arc", "free": 5, "total": 9, "vendor": "Intel", "integrated": true}]')
    assert (arc.vendor, arc.used_bytes, arc.integrated) == ("Intel", 4, True)


def test_a_torch_that_is_missing_or_built_for_the_cpu_is_never_started(tmp_path: Path) -> None:
    def never(command: object, *, limit_seconds: float) -> CommandOutput:
        raise AssertionError("started")

    for find in (lambda: None, torch_folder(tmp_path, "None")):
        with pytest.raises(ProbeFailed) as caught:
            TorchProbe(run=never, find=find).devices()
        assert caught.value.is_absent


@pytest.mark.parametrize(
    "output",
    [
        CommandOutput(code=1, stdout="", stderr="Traceback\nRuntimeError: CUDA error: out of memory"),
        CommandOutput(code=-11, stdout=""),
        CommandOutput(code=0, stdout="no json"),
        CommandOutput(code=0, stdout='[{"name": "T4"}]'),
        CommandOutput(code=0, stdout="7"),
    ],
)
def test_a_torch_that_breaks_is_a_failure(tmp_path: Path, output: CommandOutput) -> None:
    with pytest.raises(ProbeFailed) as caught:
        TorchProbe(run=said(output), find=torch_folder(tmp_path, "'12.8'")).devices()
    assert not caught.value.is_absent


AMD = tuple(
    Device(name="Instinct MI210", source="amd-sysfs", index=i, uuid=f"GPU-{i}{i}", vendor="AMD") for i in range(3)
)


@pytest.mark.parametrize(
    ("environ", "indices"),
    [
        ({}, [0, 1, 2]),
        ({"ROCR_VISIBLE_DEVICES": "2,0"}, [2, 0]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-11"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": "2,0", "HIP_VISIBLE_DEVICES": "1"}, [0]),  # HIP counts what ROCR has left
        ({"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "1"}, []),
        ({"HIP_VISIBLE_DEVICES": "2"}, [2]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [1]),
        ({"CUDA_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0"}, [0]),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
        ({"ZE_AFFINITY_MASK": "5"}, [0, 1, 2]),
    ],
)
def test_amd_devices_obey_rocr_then_hip(environ: dict[str, str], indices: list[int]) -> None:
    assert [device.index for device in select_visible(AMD, environ)[0]] == indices


def test_each_vendor_obeys_its_own_variable() -> None:
    both = (*CARDS, *AMD, Device(name="Apple M2", source="apple", vendor="Apple"))
    chosen, _ = select_visible(both, {"CUDA_VISIBLE_DEVICES": "2", "HIP_VISIBLE_DEVICES": "0,1"})
    assert [device.name for device in chosen] == ["NVIDIA L4", "Instinct MI210", "Instinct MI210", "Apple M2"]


def test_graphics_of_a_processor_do_not_end_the_search() -> None:
    graphics = Device(name="Raphael", source="amd-sysfs", vendor="AMD", total_bytes=1, integrated=True)
    unsized = Device(name="Arc", source="intel-sysfs", vendor="Intel")
    result = probe_devices({}, [[Said((graphics,), "a"), Said((unsized,), "b")], [Said(CARDS, "c")], [Said((), "d")]])
    assert [finding.probe for finding in result.findings] == ["a", "b", "c", "d"]
    assert choose_device(result.devices).name == "Arc"  # of unknown size, as the others, and the first


def test_the_probes_of_a_round_are_asked_at_once_and_one_that_hangs_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from threading import Barrier, Event

    from gpufit.devices import probe

    together, never = Barrier(2, timeout=10), Event()

    class Meets(Said):
        def devices(self) -> tuple[Device, ...]:
            together.wait()  # broken unless the other probe is asked meanwhile
            return super().devices()

    class Hangs(Said):
        def devices(self) -> tuple[Device, ...]:
            never.wait(30)
            return ()

    monkeypatch.setattr(probe, "_ROUND_SECONDS", 0.5)
    members = [Meets((card(0),), "a"), Meets((), "b"), Hangs((), "c")]
    result = probe_devices({}, [members], ask_all=True)
    assert [finding.outcome for finding in result.findings] == ["found", "none", "failed"]
    assert result.notes == ("c did not answer within 0.5 s",)
    never.set()
