"""safetensors headers: read as the reference library reads them, and refused where it refuses them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import raw_header, safetensors_bytes

from gpufit.errors import BadFile
from gpufit.facts.safetensors import DTYPE_BITS, parse_header, parse_header_length, parse_index
from gpufit.sources.files import Folder
from gpufit.sources.headers import read_safetensors_header

NUMPY = {"F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32", "I16": "int16",
         "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool"}  # fmt: skip


def test_a_file_of_the_reference_library_is_read_tensor_by_tensor(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    library = pytest.importorskip("safetensors.numpy", reason="the reference library is not installed")
    tensors = {f"t.{name}": numpy.zeros((3, i + 1), dtype) for i, (name, dtype) in enumerate(NUMPY.items())}
    tensors["scalar"] = numpy.zeros((), "float32")
    tensors["empty"] = numpy.zeros((0, 7), "float32")
    library.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "np", "note": "ünïcode"})
    found = {t.name: t for t in read_safetensors_header(Folder(tmp_path), "model.safetensors")}
    assert {n: (t.shape, t.size_bytes) for n, t in found.items()} == {
        n: (a.shape, a.nbytes) for n, a in tensors.items()
    }
    assert all(found[f"t.{name}"].dtype == name for name in NUMPY)


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_the_reference_library_takes_every_dtype_that_we_take_and_agrees_on_its_size(dtype: str) -> None:
    library = pytest.importorskip("safetensors", minversion="0.8", reason="the reference library is not installed")
    ((name, found),) = library.deserialize(safetensors_bytes({"w": (dtype, (2, 8))}))
    assert (name, tuple(found["shape"]), len(found["data"]) * 8) == ("w", (2, 8), 16 * DTYPE_BITS[dtype])


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


WRONG = {
    "overlap": ({"a": entry(), "b": entry(offsets=[4, 12])}, 12),
    "hole": ({"a": entry(), "b": entry(offsets=[12, 20])}, 20),
    "starts late": ({"a": entry(offsets=[4, 12])}, 12),
    "data beyond the file": ({"a": entry()}, 4),
    "file beyond the data": ({"a": entry()}, 9),
    "size is not shape times dtype": ({"a": entry(shape=[3])}, 8),
    "end before start": ({"a": entry(offsets=[8, 0])}, 0),
    "negative shape": ({"a": entry(shape=[-1, -2])}, 8),
    "negative offset": ({"a": entry(offsets=[-8, 0])}, 0),
    "shape overflows 64 bits": ({"a": entry(shape=[1 << 62, 1 << 62])}, 8),
    "a shape that wraps to the right size": ({"a": entry(dtype="U8", shape=[1 << 33, (1 << 31) + 1])}, 1 << 33),
    "shape of floats": ({"a": entry(shape=[2.0])}, 8),
    "shape of booleans": ({"a": entry(shape=[True, 2])}, 8),
    "shape is a number": ({"a": entry(shape=2)}, 8),
    "shape is nested": ({"a": entry(shape=[[2]])}, 8),
    "a hundred dimensions": ({"a": entry(shape=[1] * 100, offsets=[0, 4])}, 4),
    "three offsets": ({"a": entry(offsets=[0, 8, 8])}, 8),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, 8),
    "unknown dtype": ({"a": entry(dtype="Q4_K")}, 8),
    "dtype is a list": ({"a": entry(dtype=["F32"])}, 8),
    "entry is a number": ({"a": 8}, 8),
    "four-bit elements that fill no byte": ({"a": entry(dtype="F4", shape=[3], offsets=[0, 1])}, 1),
}


@pytest.mark.parametrize(("entries", "data_bytes"), WRONG.values(), ids=WRONG)
def test_a_header_that_lies_is_refused(entries: dict[str, Any], data_bytes: int) -> None:
    with pytest.raises(BadFile):
        parse_header(json.dumps(entries).encode(), data_bytes, "w.safetensors")


@pytest.mark.parametrize(("entries", "data_bytes"), WRONG.values(), ids=WRONG)
def test_the_reference_library_refuses_it_too(entries: dict[str, Any], data_bytes: int) -> None:
    library = pytest.importorskip("safetensors", reason="the reference library is not installed")
    if entries == {"a": entry(shape=[1] * 100, offsets=[0, 4])}:
        pytest.skip("the library sets no limit on dimensions; torch's is 64, and no checkpoint has more than 5")
    if data_bytes > 1 << 20:
        pytest.skip("the library wants the data in memory")
    with pytest.raises(library.SafetensorError):
        library.deserialize(raw_header(entries) + bytes(data_bytes))


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}',
        b'{"__metadata__":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"__metadata__":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
        b'{"__metadata__":' + b"[" * 500 + b"]" * 500 + b"}",
        b"[]", b"", b" {}", b"{", b"\xff\xfe{}", b"null", b'{"a":1}garbage',
    ],
    ids=lambda text: repr(text[:40]),
)  # fmt: skip
def test_json_that_is_no_header_is_refused(text: bytes) -> None:
    with pytest.raises(BadFile):
        parse_header(text, 8, "w.safetensors")


@pytest.mark.parametrize("claim", [1 << 30, (1 << 64) - 1, (1 << 63) - 8, 100, 93])
def test_a_header_length_beyond_the_file_is_refused_before_anything_is_read(claim: int) -> None:
    with pytest.raises(BadFile, match="claims a header"):
        parse_header_length(claim.to_bytes(8, "little"), 100, "w.safetensors")


def test_a_header_above_the_limit_is_refused_even_if_the_file_is_large_enough() -> None:
    with pytest.raises(BadFile, match="at most 8388608"):
        parse_header_length((99 << 20).to_bytes(8, "little"), 1 << 40, "w.safetensors")


@pytest.mark.parametrize("size", range(8))
def test_a_file_shorter_than_its_own_length_field_is_refused(size: int) -> None:
    with pytest.raises(BadFile, match="too short"):
        parse_header_length(bytes(size), size, "w.safetensors")


@pytest.mark.parametrize(
    "shard",
    ["../m.safetensors", "/etc/m.safetensors", "a/b.safetensors", "a\\b.safetensors", "c:m.safetensors", "", "m.bin",
     "\x00.safetensors", "m\n.safetensors", "x" * 300 + ".safetensors"],
)  # fmt: skip
def test_an_index_cannot_name_a_file_outside_its_folder(shard: str) -> None:
    with pytest.raises(BadFile):
        parse_index(json.dumps({"weight_map": {"w": shard}}).encode(), "index")


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"w": 3}}])
def test_an_index_without_a_weight_map_is_refused(index: object) -> None:
    with pytest.raises(BadFile):
        parse_index(json.dumps(index).encode(), "index")


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda b: b'{"a":{"dtype":"F32",' + b))
def test_any_bytes_are_a_header_or_a_typed_error(data: bytes) -> None:
    with suppress(BadFile):
        assert sum(tensor.size_bytes for tensor in parse_header(data, 64, "w.safetensors")) == 64


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(sorted(DTYPE_BITS)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.text(max_size=6) | st.just("__metadata__"),
        st.fixed_dictionaries({"dtype": JSON, "shape": JSON, "data_offsets": JSON}) | JSON,
        max_size=4,
    ),
    st.integers(0, 1 << 40),
)
def test_any_json_is_tensors_that_fill_the_file_or_a_typed_error(entries: dict[str, Any], data_bytes: int) -> None:
    try:
        tensors = parse_header(json.dumps(entries).encode(), data_bytes, "w.safetensors")
    except BadFile:
        return
    assert sum(tensor.size_bytes for tensor in tensors) == data_bytes


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from([d for d, bits in DTYPE_BITS.items() if bits % 8 == 0]),
                  st.lists(st.integers(0, 9), max_size=4).map(tuple)),
        max_size=8,
    )
)  # fmt: skip
def test_every_valid_file_is_read_back_whole(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    data = safetensors_bytes(tensors)
    length = parse_header_length(data[:8], len(data), "w")
    found = parse_header(data[8 : 8 + length], len(data) - 8 - length, "w")
    assert {t.name: (t.dtype, t.shape) for t in found} == tensors
