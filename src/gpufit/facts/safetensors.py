"""The safetensors format: 8 bytes of length, a JSON header, the data. The header alone says everything.

Follows the reference reader (safetensors 0.8.0, src/tensor.rs, ``read_metadata`` and ``Metadata::validate``): offsets
leave no hole and no overlap, each range has the size that shape and dtype ask for, and data and file end together.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from gpufit.errors import BadFile
from gpufit.facts.json_text import MIB, parse_json
from gpufit.facts.stored import StoredTensor

if TYPE_CHECKING:
    from typing import TypeGuard

LENGTH_BYTES = 8
LARGEST_HEADER_BYTES = 8 * MIB
"""The format allows 100 MB. 8 MiB is 50,000 tensors in one file, and keeps memory within 100 MiB."""
LARGEST_INDEX_BYTES = 16 * MIB  # 60 layers of 384 experts with scales take 13.4 MB
_MOST_HEADER_VALUES = 600_000  # twelve for each tensor, as ``parse_json`` counts them
_MOST_INDEX_VALUES = 320_000  # two for each tensor

DTYPE_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "C64": 64,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8, "F8_E8M0": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of one element. Source: safetensors 0.8.0, src/tensor.rs, ``Dtype::bitsize``."""


def parse_header_length(first: bytes, file_bytes: int, what: str) -> int:
    """The header's length out of the first 8 bytes, held against the file's own size.

    >>> parse_header_length((64).to_bytes(8, "little"), 4096, "model.safetensors")
    64
    """
    if len(first) < LENGTH_BYTES:
        raise BadFile(f"{what} is too short for a safetensors file ({file_bytes} bytes)")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if length > file_bytes - LENGTH_BYTES:
        raise BadFile(f"{what} claims a header of {length} bytes but the file has {file_bytes}")
    if length > LARGEST_HEADER_BYTES:
        raise BadFile(f"{what} claims a header of {length} bytes; gpufit reads at most {LARGEST_HEADER_BYTES}")
    return length


def parse_header(header: bytes, data_bytes: int, what: str) -> tuple[StoredTensor, ...]:
    """All tensors of one file, in the order of their data. ``data_bytes`` is what follows the header.

    >>> parse_header(b'{"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}', 12, "w.safetensors")
    (StoredTensor(name='w', shape=(2, 3), dtype='BF16', size_bytes=12),)

    Raises BadFile where the header is not what the format asks for.
    """
    if not header.startswith(b"{"):
        raise BadFile(f"{what} is not a safetensors file: its header does not start with '{{'")
    entries = parse_json(
        header, f"the header of {what}", largest_bytes=LARGEST_HEADER_BYTES, most_values=_MOST_HEADER_VALUES,
        condense=_condense,
    )  # fmt: skip
    metadata = entries.pop("__metadata__", {})
    if type(metadata) is not dict or any(type(value) is not str for value in metadata.values()):
        raise BadFile(f"{what}: __metadata__ is not a map from text to text")
    found = sorted((_parse_entry(name, entry, what) for name, entry in entries.items()), key=lambda item: item[:2])
    end = 0
    for start, stop, tensor in found:
        if start != end:
            problem = "overlap" if start < end else "leave a hole"
            raise BadFile(f"{what}: the data of tensors {problem} before {tensor.name[:80]!r}")
        end = stop
    if end != data_bytes:
        raise BadFile(f"{what} holds {data_bytes} bytes of data but its header describes {end}")
    return tuple(tensor for _, _, tensor in found)


class _Entry(NamedTuple):
    """What a header says of one tensor, in a form that costs a quarter of its JSON objects: a shard may hold 50,000."""

    start: int
    end: int
    shape: tuple[int, ...]
    dtype: str


def _condense(entry: dict[str, Any]) -> dict[str, Any] | _Entry:
    """A sound entry as an ``_Entry``; anything else as it is, for ``_refuse`` to say what is wrong with it."""
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    bits = _bits(entry.get("dtype"))
    if not bits or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2 or len(shape) > 16:
        return entry
    size_bits = prod(shape) * bits
    if size_bits >= 1 << 64 or size_bits != (offsets[1] - offsets[0]) * 8:
        return entry
    return _Entry(offsets[0], offsets[1], tuple(shape), entry["dtype"])


def _parse_entry(name: str, entry: Any, what: str) -> tuple[int, int, StoredTensor]:
    """(start, end, tensor) of one header entry."""
    if type(entry) is not _Entry:
        raise _refuse(f"{what}: tensor {name[:80]!r}", entry)
    start, end, shape, dtype = entry
    return start, end, StoredTensor(name, shape, dtype, end - start)


def _refuse(where: str, entry: Any) -> BadFile:
    """What is wrong with an entry that was not taken."""
    if type(entry) is not dict:
        return BadFile(f"{where} is not described by an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    bits = _bits(dtype)
    if not bits:
        return BadFile(f"{where} has an unknown dtype {str(dtype)[:40]!r}")
    if not _are_sizes(shape) or len(shape) > 16:
        return BadFile(f"{where} has no valid shape")
    if not _are_sizes(offsets) or len(offsets) != 2:
        return BadFile(f"{where} has no valid data_offsets")
    if prod(shape) * bits >= 1 << 64:
        return BadFile(f"{where} is larger than 64 bits can count")
    return BadFile(f"{where} of shape {list(shape)} in {dtype} does not fill its {offsets[1] - offsets[0]} bytes")


def _bits(dtype: object) -> int:
    """Bits of one element; 0 for what is no dtype."""
    return DTYPE_BITS.get(dtype, 0) if type(dtype) is str else 0


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    """A list of ints from 0 to 2⁶³; True is not 1 here."""
    if type(values) is not list:
        return False
    for value in values:
        if type(value) is int and 0 <= value < 1 << 63:  # a generator inside all() costs three times as much
            continue
        return False
    return True


def parse_index(data: bytes, what: str) -> tuple[str, ...]:
    """The shard names of a ``model.safetensors.index.json``, sorted. Only plain names in the same folder are taken.

    >>> parse_index(b'{"weight_map": {"a": "m-1.safetensors", "b": "m-1.safetensors"}}', "index")
    ('m-1.safetensors',)
    """
    if not data.isascii():  # writers escape; text of wider characters would take four times the memory
        raise BadFile(f"{what} is not ASCII text")
    index = parse_json(data, what, largest_bytes=LARGEST_INDEX_BYTES, most_values=_MOST_INDEX_VALUES)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BadFile(f"{what} has no weight_map")
    shards: set[str] = set()
    for shard in weight_map.values():
        if type(shard) is not str:
            raise BadFile(f"{what} names a shard that is not text")
        shards.add(shard)
    if len(shards) > 2048:
        raise BadFile(f"{what} names {len(shards)} shards; gpufit reads at most 2048")
    for shard in shards:
        if not is_plain_name(shard) or not shard.endswith(".safetensors"):
            raise BadFile(f"{what} names {shard[:80]!r}, which is no .safetensors file of the same folder")
    return tuple(sorted(shards))


def is_plain_name(name: str) -> bool:
    """Whether a name from a file stays in its folder: no separator, no drive, no parent, nothing unprintable.

    >>> is_plain_name("model-00001-of-00002.safetensors"), is_plain_name("../../etc/passwd")
    (True, False)
    """
    return 0 < len(name) <= 200 and name.isprintable() and name not in (".", "..") and not set(name) & set('/\\:*?"<>|')
