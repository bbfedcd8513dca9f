"""The measured driver context: kept by ``measure``, used by ``check`` and ``list`` on the same device and driver."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import Card, FakeNvml, process

import gpufit.api
from gpufit.api_runs import measure
from gpufit.cli.main import main
from gpufit.devices.contexts import contexts_path, keep_context, with_contexts
from gpufit.devices.device import Device, DriverContext
from gpufit.measure.readings import Measurement, Reading, Stage
from gpufit.training import check_training
from gpufit.verdict.listing import ListFilter
from gpufit.verdict.training_plan import TrainingRequest

MIB = 1 << 20
CARD = Device(name="Tesla T4", source="nvml", uuid=Card.uuid, driver="560.35.05", total_bytes=15360 * MIB)
SEEN = DriverContext(first_bytes=140 * MIB, most_bytes=412 * MIB, measured_on="2026-11-23", torch="2.13.0+cu130")
SAID = "driver context 412.0 MiB, measured on this machine 2026-11-23, torch 2.13.0+cu130, driver 560.35.05"


def known(device: Device, environ: dict[str, str]) -> DriverContext | None:
    return with_contexts([device], environ)[0].driver_context


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """A machine with one T4, asked through nvidia-ml-py's own names, and an empty home."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(Card()))
    for name in ("GPUFIT_FAKE_GPU", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    environ = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return environ


def test_check_takes_what_was_measured_and_says_so(machine: dict[str, str], capsys: Any) -> None:
    before = gpufit.api.check("gpt2", context=512, environ=machine)
    assert before.estimate.context.source.startswith("Tesla T4")
    keep_context(CARD, SEEN, machine)
    after = gpufit.api.check("gpt2", context=512, environ=machine)
    assert after.estimate.context.bytes.to_dict() == {
        "low_bytes": 140 * MIB, "likely_bytes": 412 * MIB, "high_bytes": 412 * MIB,
    }  # fmt: skip
    grown = after.estimate.process.likely_bytes - before.estimate.process.likely_bytes
    assert grown == 412 * MIB - before.estimate.context.bytes.likely_bytes
    assert SAID in after.notes
    assert main(["check", "gpt2", "--context", "512"]) == 0
    assert f"note: {SAID}" in " ".join(capsys.readouterr().out.split())
    assert main(["check", "gpt2", "--context", "512", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["device"]["driver_context"]["most_bytes"] == 412 * MIB
    assert next(row for row in answer["breakdown"] if row["name"] == "runtime")["bytes"] > 412 * MIB


def test_training_takes_it_too(machine: dict[str, str]) -> None:
    keep_context(CARD, SEEN, machine)
    found = check_training("gpt2", TrainingRequest(train="lora", seq=128, micro_batch=1), environ=machine)
    assert found.estimate.context.bytes.likely_bytes == 412 * MIB
    assert SAID in found.notes


def test_a_kept_list_is_not_believed_for_another_context(machine: dict[str, str], capsys: Any) -> None:
    def process_of_gpt2() -> int:
        rows = gpufit.api.list_models(fits=True, context=512, filters=ListFilter(family="GPT-2"), environ=machine)
        return next(row.option.process.likely_bytes for row in rows if row.entry.name == "gpt2" and row.option)

    first = process_of_gpt2()
    assert process_of_gpt2() == first  # from what was kept
    keep_context(CARD, SEEN, machine)
    table = 141 * MIB
    assert process_of_gpt2() == first - table + 412 * MIB
    assert main(["list", "--fits", "--family", "GPT-2"]) == 0
    assert SAID in " ".join(capsys.readouterr().out.split())
    assert main(["list", "--fits", "--family", "GPT-2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["driver_context"]["torch"] == "2.13.0+cu130"
    contexts_path(machine).unlink()
    assert process_of_gpt2() == first


def test_other_runtimes_cards_and_drivers_keep_the_table(machine: dict[str, str]) -> None:
    keep_context(CARD, SEEN, machine)
    assert gpufit.api.check("gpt2", vram="16GB", environ=machine).workload.driver_context is None
    assert gpufit.api.check("gpt2", gpu="t4", environ=machine).workload.driver_context is None
    served = gpufit.api.check("llama-2-7b", runtime="vllm", quant="awq-int4-g128", context=512, environ=machine)
    assert not any("driver context" in note for note in served.notes)
    offered = gpufit.api.check("llama-2-70b", environ=machine).alternatives
    assert [option.device.name for option in offered if option.device.name != CARD.name]
    for option in offered:
        assert (option.workload.driver_context is not None) is (option.device.name == CARD.name)
    for other in ({"driver": "570.00"}, {"uuid": "GPU-other"}, {"driver": None}, {"uuid": None}):
        changed = {"uuid": CARD.uuid, "driver": CARD.driver, **other}
        assert known(Device(name="Tesla T4", source="nvml", **changed), machine) is None


def test_runs_are_joined_and_another_torch_starts_anew(machine: dict[str, str]) -> None:
    def keep(**changes: Any) -> DriverContext | None:
        fields = {"first_bytes": 140, "most_bytes": 400, "measured_on": "2026-11-23", "torch": "2.13.0", **changes}
        return keep_context(CARD, DriverContext(**fields), machine)

    keep()
    keep(first_bytes=150, most_bytes=500, measured_on="2026-11-24")
    kept = known(CARD, machine)
    assert kept == DriverContext(
        first_bytes=140, most_bytes=500, measured_on="2026-11-24", torch="2.13.0", runs=2, by_difference=False
    )
    assert keep(torch="2.14.0", most_bytes=300) == known(CARD, machine)
    assert (known(CARD, machine) or SEEN).runs == 1
    assert keep(first_bytes=0) is None
    assert keep(most_bytes=5 << 30) is None
    for number in range(70):
        other = Device(name="T4", source="nvml", uuid=f"GPU-{number}", driver="560.35.05")
        assert keep_context(other, SEEN, machine) == SEEN
    assert len(json.loads(contexts_path(machine).read_text())["devices"]) == 64


GOOD = {
    "first_bytes": 140 * MIB, "most_bytes": 412 * MIB, "measured_on": "2026-11-23", "torch": "2.13.0", "runs": 1,
    "by_difference": False, "driver": "560.35.05",
}  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"first_bytes": -1}, {"first_bytes": True}, {"first_bytes": 1.5}, {"first_bytes": 500 * MIB},
        {"most_bytes": 1 << 62}, {"most_bytes": 20 << 30}, {"most_bytes": "412"}, {"runs": 0}, {"runs": None},
        {"measured_on": "yesterday"}, {"measured_on": "2026-11-23\x1b[2J"}, {"measured_on": None},
        {"torch": "2.13.0\n" * 99}, {"torch": ""}, {"by_difference": "no"}, {"driver": ["560.35.05"]},
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_that_is_not_ours_is_none(wrong: dict[str, Any], machine: dict[str, str]) -> None:
    path = contexts_path(machine)
    path.parent.mkdir(parents=True)
    for entry, believed in ((GOOD, True), ({**GOOD, **wrong}, False)):
        path.write_text(json.dumps({"schema": 1, "devices": {CARD.uuid: entry}}))
        assert (known(CARD, machine) is not None) is believed


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"[" * 100_000, b'{"schema": 2, "devices": {}}', b'{"schema": 1, "devices": []}', b"\xff\xfe",
     b'{"schema": 1, "devices": {"' + Card.uuid.encode() + b'": 7}}', b" " * (64 << 10) + b"{}"],
    ids=range(9),
)  # fmt: skip
def test_a_broken_record_is_no_record_and_is_written_anew(content: bytes, machine: dict[str, str]) -> None:
    path = contexts_path(machine)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert known(CARD, machine) is None
    assert keep_context(CARD, SEEN, machine) == SEEN
    assert known(CARD, machine) == SEEN


def test_a_record_beyond_its_bound_is_not_believed(machine: dict[str, str]) -> None:
    path = contexts_path(machine)
    path.parent.mkdir(parents=True)
    text = json.dumps({"schema": 1, "devices": {CARD.uuid: GOOD}})
    for size, believed in ((64 << 10, True), ((64 << 10) + 1, False)):
        path.write_text(text.ljust(size))
        assert (known(CARD, machine) is not None) is believed


def test_a_record_that_is_no_file_never_holds_check_up(machine: dict[str, str]) -> None:
    path = contexts_path(machine)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert known(CARD, machine) is None


def test_measure_keeps_what_it_saw(machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on the card: the child's readings are given here, all that follows them is real."""
    pytest.importorskip("torch", reason="measuring runs the real model and needs torch")
    pytest.importorskip("accelerate", reason="measuring runs the real model and needs accelerate")
    asked: list[Any] = []

    def run_child(job: Any, **given: Any) -> Measurement:
        asked.append(given["visible"])
        after = Reading(allocated_bytes=250 * MIB, reserved_bytes=300 * MIB, process_bytes=460 * MIB)
        stage = Stage(name="load", peak=after, after=after, seconds=1.0)
        return Measurement(
            job=job, outcome="ok", stages=(stage,), versions={"torch": "2.13.0"}, device_name="Tesla T4",
            device_uuid=Card.uuid, context_bytes=133 * MIB,
        )  # fmt: skip

    monkeypatch.setattr("gpufit.measure.front.run_child", run_child)
    found = measure("gpt2", random_weights=True, environ=machine)
    assert asked == [{"CUDA_VISIBLE_DEVICES": Card.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}]
    assert [item.meter for item in found.compared] == ["allocated", "reserved", "process"]
    assert "check takes 160.0 MiB for the driver's context on this device from now on" in found.notes
    kept = gpufit.api.find_device(vram=None, gpu=None, environ=machine).driver_context
    assert kept is not None
    assert (kept.first_bytes, kept.most_bytes, kept.torch, kept.runs) == (133 * MIB, 160 * MIB, "2.13.0", 1)
    measure("gpt2", random_weights=True, environ=machine, record=False)
    assert gpufit.api.find_device(vram=None, gpu=None, environ=machine).driver_context == kept


def test_the_driver_is_asked_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpufit.measure.driver import process_memory

    card = Card(compute=[process(1, 5 * MIB), process(os.getpid(), 700 * MIB)], used=900 * MIB)

    class ByUuid(FakeNvml):
        def _nvmlDeviceGetHandleByUUID(self, uuid: str) -> Card:  # noqa: N802
            return next(card for card in self.cards if card.uuid == uuid)

    monkeypatch.setitem(sys.modules, "pynvml", ByUuid(card))
    held = process_memory(Card.uuid)
    assert held is not None
    assert (held.own_bytes, held.used_bytes) == (700 * MIB, 1345 * MIB)
    card.compute = [process(os.getpid(), None)]  # WSL, Windows
    assert (process_memory(Card.uuid) or held).own_bytes is None
    monkeypatch.setitem(sys.modules, "pynvml", ByUuid(card, errors={"nvmlInit": 12}))
    assert process_memory(Card.uuid) is None


def test_a_program_is_shown_one_card_by_its_vendors_variable() -> None:
    from gpufit.devices.visible import alone

    amd = Device(name="Radeon", source="amd-sysfs", index=2, vendor="AMD", uuid="4d2c")
    assert alone(amd) == {"ROCR_VISIBLE_DEVICES": "2", "HIP_VISIBLE_DEVICES": "0"}
    assert alone(Device(name="Arc", source="xpu-smi", index=1, vendor="Intel")) == {"ZE_AFFINITY_MASK": "1"}


def test_measuring_runs_where_torch_has_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate", reason="measuring runs the real model and needs accelerate")
    from gpufit.errors import UsageError

    environ = {"GPUFIT_FAKE_GPU": "Intel Arc A770:16GiB:vendor=intel"}
    with pytest.raises(UsageError, match="not on Intel Arc A770"):
        measure("gpt2", random_weights=True, environ=environ)
