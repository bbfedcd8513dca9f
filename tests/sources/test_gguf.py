"""GGUF headers, held against the gguf package on files that it writes."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import write_gguf

from gpufit.errors import BadFile
from gpufit.facts.ggml import CACHE_TYPES, GGML_TYPES, count_device_bytes, count_row_bytes
from gpufit.facts.gguf import GgufHeader, parse_gguf
from gpufit.facts.gguf_model import join_headers, to_stored

KEYS = {"llama.block_count": 2, "general.name": "tiny", "llama.rope.freq_base": 1e4, "x.flag": True}
TENSORS = [(f"blk.{i}.w", (3, 256 * (i + 1)), block.name) for i, block in enumerate(GGML_TYPES.values())
           if block.name not in ("I8", "I16", "I32", "I64", "F64")]  # fmt: skip


def parse_bytes(data: bytes, file_bytes: int | None = None) -> GgufHeader:
    return parse_gguf(lambda start, count: data[start : start + count], file_bytes or len(data), "m.gguf")


def test_block_sizes_are_those_of_gguf_py() -> None:
    gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")
    theirs = {kind.value: (kind.name, *size) for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert {number: tuple(block) for number, block in GGML_TYPES.items()} == theirs


def test_bits_per_weight_are_those_people_know() -> None:
    """Q4_K 4.5, Q5_K 5.5, Q6_K 6.5625, Q8_0 8.5, IQ4_XS 4.25 bits a weight: the figures of llama.cpp's README."""
    bits = {block.name: block.size_bytes * 8 / block.elements for block in GGML_TYPES.values()}
    assert [bits[name] for name in ("Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_XS", "IQ1_S")] == [
        4.5, 4.5, 5.5, 6.5625, 8.5, 4.25, 1.5625,
    ]  # fmt: skip


def test_cache_types_are_those_of_llama_cpp() -> None:
    assert set(CACHE_TYPES) == {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"}
    assert [count_row_bytes(CACHE_TYPES[name], 128) for name in ("f16", "q8_0", "q4_0", "q5_1")] == [256, 136, 72, 96]


def test_a_row_that_is_no_whole_number_of_blocks_is_refused() -> None:
    with pytest.raises(BadFile, match="whole number"):
        count_row_bytes(CACHE_TYPES["q8_0"], 80)


@pytest.mark.parametrize("alignment", [None, 64])
def test_names_shapes_types_and_bytes_equal_the_packages_reader(tmp_path: Path, alignment: int | None) -> None:
    gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")
    path = tmp_path / "m.gguf"
    vocabulary = {"tokenizer.ggml.tokens": [f"t{i}" for i in range(500)], "tokenizer.ggml.scores": [0.5] * 500}
    write_gguf(path, "llama", {**KEYS, **vocabulary}, TENSORS, alignment=alignment)
    ours, theirs = parse_bytes(path.read_bytes()), gguf.GGUFReader(path)
    assert [(t.name, t.shape, t.dtype, t.size_bytes) for t in ours.tensors] == [
        (t.name, tuple(int(n) for n in reversed(t.shape)), t.tensor_type.name, int(t.n_bytes)) for t in theirs.tensors
    ]
    assert ours.data_start == theirs.data_offset
    assert ours.array_lengths == {"tokenizer.ggml.tokens": 500, "tokenizer.ggml.scores": 500}
    assert [ours.metadata[key] for key in KEYS] == list(KEYS.values())


def test_shards_are_joined_and_hold_what_the_whole_file_holds(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the gguf package is not installed")
    write_gguf(tmp_path / "whole.gguf", "llama", KEYS, TENSORS)
    write_gguf(tmp_path / "split.gguf", "llama", KEYS, TENSORS, split_max_tensors=10)
    shards = sorted(tmp_path.glob("split-*.gguf"))
    assert [path.name for path in shards] == [f"split-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    headers = [parse_bytes(path.read_bytes()) for path in shards]
    whole = parse_bytes((tmp_path / "whole.gguf").read_bytes())
    assert join_headers(headers, "split").tensors == whole.tensors
    for wrong in (headers[:2], headers[::-1], [headers[0], headers[0], headers[2]], [headers[1]]):
        with pytest.raises(BadFile):
            join_headers(wrong, "split")


def test_the_input_embedding_stays_in_main_memory_unless_it_is_the_output_too() -> None:
    """llama.cpp keeps token_embd on the CPU; without output.weight the device gets a copy of it."""

    def stored(*names: str) -> int:
        tensors = b"".join(
            len(n).to_bytes(8, "little") + n.encode() + struct.pack("<IQQIQ", 2, 256, 4, 8, i * 1088)
            for i, n in enumerate(names)
        )
        head = b"GGUF" + struct.pack("<IQQ", 3, len(names), 0) + tensors
        return to_stored(parse_bytes(head + bytes(10_000)), ("m.gguf",)).device_bytes

    one = count_device_bytes(GGML_TYPES[8], (4, 256))
    assert one == 1408  # 4 rows of 272 bytes, 272 of padding to 512 elements, up to a multiple of 128
    assert stored("token_embd.weight", "output.weight") == one
    assert stored("token_embd.weight", "blk.0.ffn_up.weight") == 2 * one


def text(value: str) -> bytes:
    return len(value).to_bytes(8, "little") + value.encode()


def tensor(name: str = "w", dims: tuple[int, ...] = (32,), kind: int = 8, offset: int = 0) -> bytes:
    return (
        text(name)
        + struct.pack("<I", len(dims))
        + struct.pack(f"<{len(dims)}Q", *dims)
        + struct.pack("<IQ", kind, offset)
    )


def gguf_file(*tensors: bytes, keys: tuple[bytes, ...] = (), version: int = 3, magic: bytes = b"GGUF",
              counts: tuple[int, int] | None = None, data: int = 4096) -> bytes:  # fmt: skip
    n_tensors, n_keys = counts or (len(tensors), len(keys))
    return magic + struct.pack("<IQQ", version, n_tensors, n_keys) + b"".join(keys) + b"".join(tensors) + bytes(data)


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


WRONG = {
    "another magic": gguf_file(magic=b"GGML"),
    "version 1": gguf_file(version=1),
    "version 4": gguf_file(version=4),
    "big-endian": gguf_file(version=3 << 24),
    "2^64 tensors": gguf_file(counts=((1 << 64) - 1, 0)),
    "2^64 keys": gguf_file(counts=(0, (1 << 64) - 1)),
    "a million tensors": gguf_file(counts=(1_000_000, 0)),
    "more tensors than there are": gguf_file(tensor(), counts=(9, 0), data=0),
    "a name beyond the file": gguf_file(struct.pack("<Q", 1 << 62), counts=(1, 0)),
    "a name of 2 KB": gguf_file(tensor(name="x" * 2048)),
    "a name that is not UTF-8": gguf_file(struct.pack("<Q", 2) + b"\xff\xff" + struct.pack("<IQIQ", 1, 32, 8, 0)),
    "the same name twice": gguf_file(tensor(), tensor(offset=64)),
    "the same key twice": gguf_file(keys=(key("k", 4, bytes(4)),) * 2),
    "five dimensions": gguf_file(tensor(dims=(32, 1, 1, 1, 1))),
    "an unknown type": gguf_file(tensor(kind=999)),
    "a removed type": gguf_file(tensor(kind=4)),
    "a row of half a block": gguf_file(tensor(dims=(16,))),
    "a shape that overflows": gguf_file(tensor(dims=(1 << 40, 1 << 40), kind=0)),
    "a shape that wraps to 0": gguf_file(tensor(dims=(1 << 32, 1 << 32), kind=0)),
    "data beyond the file": gguf_file(tensor(dims=(1 << 30,))),
    "data that starts late": gguf_file(tensor(offset=64)),
    "data that overlaps": gguf_file(tensor(), tensor(name="v", offset=32)),
    "data in another order": gguf_file(tensor(offset=64), tensor(name="v", offset=0)),
    "an unknown value type": gguf_file(keys=(key("k", 77, bytes(8)),)),
    "an array of arrays": gguf_file(keys=(key("k", 9, struct.pack("<IQ", 9, 1)),)),
    "an array of 2^61 numbers": gguf_file(keys=(key("k", 9, struct.pack("<IQ", 10, 1 << 61)),)),
    "an array of 2^64 strings": gguf_file(keys=(key("k", 9, struct.pack("<IQ", 8, (1 << 64) - 1)),)),
    "a string beyond the file": gguf_file(keys=(key("k", 8, struct.pack("<Q", 1 << 63)),)),
    "strings beyond the file": gguf_file(keys=(key("k", 9, struct.pack("<IQQ", 8, 3, 1 << 60)),)),
    "an alignment of 0": gguf_file(keys=(key("general.alignment", 4, struct.pack("<I", 0)),)),
    "an alignment of 24": gguf_file(keys=(key("general.alignment", 4, struct.pack("<I", 24)),)),
    "an alignment of text": gguf_file(keys=(key("general.alignment", 8, text("32")),)),
    "nothing": b"",
    "a magic alone": b"GGUF",
}  # fmt: skip


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_a_header_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(BadFile):
        parse_bytes(data)


def test_the_samples_above_are_wrong_in_one_place_only() -> None:
    assert (
        len(parse_bytes(gguf_file(tensor(), tensor(name="v", offset=64), keys=(key("k", 4, bytes(4)),))).tensors) == 2
    )


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    data = gguf_file(tensor())
    with pytest.raises(BadFile, match="shorter"):
        parse_gguf(lambda start, count: data[:30][start : start + count], len(data), "m.gguf")


def test_every_cut_of_a_valid_file_is_refused(tmp_path: Path) -> None:
    data = gguf_file(tensor(), keys=(key("a", 9, struct.pack("<IQ", 8, 2) + text("x") + text("y")),), data=0)
    end = -(-len(data) // 32) * 32 + 34
    whole = data + bytes(end - len(data))
    assert parse_bytes(whole).tensors
    for cut in range(1, end):
        with pytest.raises(BadFile):
            parse_bytes(whole[:cut])


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda b: b"GGUF\3\0\0\0" + b))
def test_any_bytes_are_a_header_or_a_typed_error(data: bytes) -> None:
    with suppress(BadFile):
        header = parse_bytes(data, len(data) or 1)
        assert sum(tensor.size_bytes for tensor in header.tensors) <= len(data)


@given(st.data())
def test_any_change_of_one_byte_is_a_header_or_a_typed_error(data: st.DataObject) -> None:
    whole = bytearray(gguf_file(tensor(), tensor(name="v", offset=64), keys=(key("general.name", 8, text("tiny")),)))
    whole[data.draw(st.integers(0, 160))] = data.draw(st.integers(0, 255))
    try:
        header = parse_bytes(bytes(whole))
    except BadFile:
        return
    assert header.data_start + sum(t.size_bytes for t in header.tensors) <= len(whole)
