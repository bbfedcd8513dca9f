"""gpus.yaml by name: totals worked out by hand, spellings, counts, and a file that is wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gpufit.devices.gpu_file import compile_gpus
from gpufit.devices.table import find_gpu, load_gpus
from gpufit.errors import BadCatalog, UnknownName, UsageError

TABLE = load_gpus()
MIB = 1 << 20


@pytest.mark.parametrize(
    ("name", "total_bytes"),
    [  # MiB as nvidia-smi prints it, times 1,048,576
        ("t4", 16_106_127_360),  # 15360
        ("a10", 24_146_608_128),  # 23028
        ("l4", 24_152_899_584),  # 23034
        ("rtx-4090", 25_757_220_864),  # 24564
        ("a100-40gb", 42_949_672_960),  # 40960
        ("a100-80gb", 85_899_345_920),  # 81920
        ("h100", 85_520_809_984),  # 81559
        ("h200", 150_754_820_096),  # 143771
        ("rtx-5080", 17_094_934_528),  # 16303
        ("a4000", 17_171_480_576),  # 16376
    ],
)
def test_a_card_has_the_drivers_own_total(name: str, total_bytes: int) -> None:
    device = find_gpu(name)
    assert (device.total_bytes, device.total_is_bound, device.source) == (total_bytes, False, "gpus.yaml")


@pytest.mark.parametrize(
    "spelling",
    ["rtx-4090", "RTX 4090", "rtx4090", "RTX_4090", "4090", "NVIDIA GeForce RTX 4090", " rtx-4090 "],
)
def test_every_spelling_is_one_card(spelling: str) -> None:
    assert find_gpu(spelling).name == "GeForce RTX 4090"


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("t4x2", "Tesla T4", 2),
        ("2xt4", "Tesla T4", 2),
        ("2 x T4", "Tesla T4", 2),
        ("t4 x 4", "Tesla T4", 4),
        ("8xh100", "H100 80GB HBM3", 8),
        ("NVIDIA A100-SXM4-80GB x8", "A100-SXM4-80GB", 8),
        ("mi300x", "Instinct MI300X", 1),
        ("mi300xx8", "Instinct MI300X", 8),
        ("mi250x", "Instinct MI250X", 1),
        ("2x4090", "GeForce RTX 4090", 2),
        ("1080 Ti x 4", "GeForce GTX 1080 Ti", 4),
        ("7900 xtx", "Radeon RX 7900 XTX", 1),
    ],
)
def test_a_count_stands_before_or_after_the_name(text: str, name: str, count: int) -> None:
    device = find_gpu(text)
    assert (device.name, device.count) == (name, count)
    assert device.total_bytes == find_gpu(name).total_bytes  # of one card


@pytest.mark.parametrize("text", ["t4x0", "0xt4", "t4x5000"])
def test_a_senseless_count_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a sensible number"):
        find_gpu(text)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("a100", ("a100-40gb", "a100-80gb")),
        ("rtx-4060-ti", ("rtx-4060-ti-8gb", "rtx-4060-ti-16gb")),
        ("apple-m2", ("apple-m2-8gb", "apple-m2-16gb", "apple-m2-24gb")),
    ],
)
def test_a_name_sold_in_several_sizes_is_not_guessed(text: str, nearest: tuple[str, ...]) -> None:
    with pytest.raises(UnknownName) as caught:
        find_gpu(text)
    assert caught.value.nearest == nearest
    assert "several sizes" in caught.value.hint


@pytest.mark.parametrize("text", ["rtx-9090", "", "   ", "x", "x2", "2x", "t4x", "a" * 10_000, "🙂", "../t4", "-1"])
def test_an_unknown_name_is_an_error_with_a_short_message(text: str) -> None:
    with pytest.raises(UnknownName) as caught:
        find_gpu(text)
    assert len(caught.value.message) < 200


def test_a_near_miss_names_the_card_meant() -> None:
    with pytest.raises(UnknownName) as caught:
        find_gpu("rtx 4090 max")
    assert caught.value.nearest[0] == "rtx-4090"


def test_a_t4_offers_what_its_driver_leaves() -> None:
    """15360 MiB in all; older drivers, which leave out their own part, print 15109."""
    device = find_gpu("t4")
    assert (device.free_bytes, device.reserved_bytes) == (15109 * MIB, 251 * MIB)
    assert device.compute_capability == (7, 5)
    assert "the driver keeps 251 MiB" in device.notes[-1]


def test_a_card_without_a_printed_total_is_a_bound_and_says_so() -> None:
    device = find_gpu("mi300x")
    assert device.total_is_bound
    assert device.total_bytes == 182_845 * MIB  # 93 % of 192 GiB
    assert "cautious bound" in device.notes[-1]


def test_unified_memory_is_a_bound_and_says_so() -> None:
    for name, mib in (("gb10", 98_304), ("apple-m2-16gb", 10_922), ("apple-m4-max-128gb", 98_304)):
        device = find_gpu(name)
        assert (device.total_bytes, device.total_is_bound) == (mib * MIB, True)
        assert "CPU" in device.notes[-1]


def test_every_card_is_sound() -> None:
    assert len(TABLE.names()) >= 150
    for key in TABLE.names():
        gpu = TABLE[key]
        assert find_gpu(key).name == gpu.name
        assert gpu.memory_mib <= gpu.box_gb * 1024 * 1.05
        assert gpu.memory_mib >= gpu.box_gb * 1024 * 0.65
        assert gpu.sources
        assert gpu.compute_capability is not None or gpu.vendor != "NVIDIA"


def test_bounds_lie_below_every_share_that_drivers_print() -> None:
    """The file's head says: no card prints less than 93.2 % of its box, no GeForce less than 99.4 %."""
    for key in TABLE.names():
        gpu = TABLE[key]
        percent = 99 if "GeForce" in gpu.name else 93
        if gpu.total_mib is not None:
            assert gpu.total_mib * 1000 >= gpu.box_gb * 1024 * (994 if percent == 99 else 932), key
        if gpu.bound_mib is not None:
            assert gpu.bound_mib == gpu.box_gb * 1024 * percent // 100, key


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("t5", "t4"), ("4t", "t4"), ("tt4", "t4"), ("t5x2", "t4"), ("l5", "l4"), ("h10", "h20"), ("b201", "b200"),
     ("a101", "a10"), ("v10", "v100-pcie-16gb"), ("rtx-4091", "rtx-4090"), ("rx7900", "rx-7900-gre")],
)  # fmt: skip
def test_one_wrong_letter_leads_to_the_card_that_was_meant(typed: str, meant: str) -> None:
    """Short names too, where half of the letters are wrong then."""
    with pytest.raises(UnknownName) as caught:
        find_gpu(typed)
    assert meant in caught.value.nearest[: 1 if len(typed) < 4 else 4]


def test_a_driver_name_without_a_size_means_the_nearest_total() -> None:
    found = TABLE.resembling("NVIDIA GeForce RTX 4060 Ti", 16380 * MIB)
    assert found is not None
    assert found.key == "rtx-4060-ti-16gb"
    assert TABLE.resembling("NVIDIA GeForce RTX 4060 Ti", None) is None
    assert TABLE.resembling("Voodoo 2", 12 * MIB) is None


def test_totals_are_among_those_that_public_logs_show(shared: Path) -> None:
    rows = list(csv.DictReader((shared / "gpu-totals.csv").read_text(encoding="utf-8").splitlines()))
    compared = 0
    for row in rows:
        gpu = TABLE.named(row["key"]) or TABLE.named(row["name"])
        if gpu is None or not row["driver_total_mib"]:
            continue
        seen = row["driver_total_mib"] + " " + row["note"]
        assert str(gpu.total_mib) in seen, row["key"]
        assert f"{gpu.bandwidth_gb_per_s or 0:g}" == f"{float(row['memory_bandwidth_gb_s'] or 0):g}", row["key"]
        compared += 1
    assert compared > 130


GROUP = b"""sources: {a: b}
g:
  vendor: NVIDIA
  source: [a]
  gpus:
    ok: {name: OK, gb: 16, mib: 15360, cc: "7.5"}
"""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"    x: {name: X, gb: 16, mib: 15360, colour: red}", "unknown field 'colour'"),
        (b"    x: {name: X, gb: 16}", "exactly one of mib, bound_mib and unified"),
        (b"    x: {name: X, gb: 16, mib: 1, bound_mib: 1}", "exactly one of"),
        (b"    x: {name: X, mib: 1}", "either gb or sizes_gb"),
        (b"    x: {gb: 16, mib: 15360}", "lacks 'name'"),
        (b"    x: {name: X, gb: 16, mib: 163840}", "more than 16 GB hold"),
        (b"    x: {name: X, gb: 16, mib: 15000, usable_mib: 15001}", "usable_mib is more than mib"),
        (b"    x: {name: X, gb: sixteen, mib: 1}", "gb must be a whole number"),
        (b"    x: {name: X, gb: -16, mib: 1}", "gb must be a whole number"),
        (b"    x: {name: X, gb: true, mib: 1}", "gb must be a whole number"),
        (b"    x: {name: X, gb: 16, mib: 15360, cc: 7.5}", "cc must be text"),
        (b"    x: {name: X, gb: 16, mib: 15360, gb_per_s: .inf}", "gb_per_s must be a number"),
        (b"    x: {name: X, gb: 16, mib: 15360, aliases: [ok]}", "'ok' already means ok"),
        (b"    ok: {name: X, gb: 16, mib: 15360}", "'ok' appears twice"),
        (b"    x: 15360", "must be a mapping"),
    ],
)
def test_a_wrong_line_is_named(line: bytes, says: str) -> None:
    with pytest.raises(BadCatalog, match=says) as caught:
        compile_gpus(GROUP + line)
    assert caught.value.line == 7


def test_a_sound_line_passes() -> None:
    assert compile_gpus(GROUP)["index"] == {"ok": "ok"}


@pytest.mark.parametrize("text", [b"", b"[]", b"gpus: {}", b"sources: {}\ng: 3", b"sources: {}\ng: {gpus: []}"])
def test_a_file_of_another_shape_is_refused(text: bytes) -> None:
    with pytest.raises(BadCatalog):
        compile_gpus(text)
