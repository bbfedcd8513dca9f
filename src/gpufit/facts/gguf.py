"""The GGUF format: metadata and tensor descriptions at the head of the file, read with bounds and without the data.

Follows ggml/src/gguf.cpp (``gguf_init_from_file_impl``) and docs/gguf.md: little-endian, versions 2 and 3, tensors one
after the other, each padded to the alignment. Vocabularies are walked over, never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct

from gpufit.errors import BadFile
from gpufit.facts.ggml import GGML_TYPES, count_tensor_bytes
from gpufit.facts.stored import StoredTensor
from gpufit.records import record

Scalar = int | float | bool | str
ReadAt = Callable[[int, int], bytes]
"""(start, count) -> that many bytes, fewer only at the end of the file."""

_CHUNK_BYTES = 1 << 20
_LARGEST_HEADER_BYTES = 96 << 20  # a vocabulary of 262,144 tokens with its merges takes 20 MB
_MOST_STRINGS = 2_000_000
_MOST_KEYS = 4096
_MOST_TENSORS = 65_536
_LONGEST_KEY_BYTES = 1024
_LONGEST_NAME_BYTES = 127  # ggml takes 63 (GGML_MAX_NAME); builds for image models take 127
_KEPT_ARRAY = 4096
_KEPT_NUMBERS = 65_536  # over all arrays
_KEPT_TEXT_BYTES = 4096

_U32, _U64 = Struct("<I"), Struct("<Q")
_STRING, _ARRAY = 8, 9
_SCALARS: dict[int, Struct] = {
    0: Struct("<B"), 1: Struct("<b"), 2: Struct("<H"), 3: Struct("<h"), 4: _U32, 5: Struct("<i"),
    6: Struct("<f"), 7: Struct("<?"), 10: _U64, 11: Struct("<q"), 12: Struct("<d"),
}  # fmt: skip
"""``enum gguf_type`` -> layout. Source: ggml/include/gguf.h."""


@record
class GgufHeader:
    """One file's header. ``array_lengths`` has every array; ``metadata`` only the arrays of at most 4,096 values."""

    version: int
    metadata: Mapping[str, Scalar | tuple[Scalar, ...]]
    array_lengths: Mapping[str, int]
    tensors: tuple[StoredTensor, ...]
    data_start: int

    @property
    def architecture(self) -> str:
        """``general.architecture``; an empty text where the file does not say."""
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else ""

    @property
    def split(self) -> tuple[int, int]:
        """(number, count) of this shard, counted from 0; (0, 1) for a whole file."""
        number, count = self.metadata.get("split.no", 0), self.metadata.get("split.count", 1)
        if type(number) is not int or type(count) is not int or not 0 <= number < max(count, 1) <= 10_000:
            raise BadFile("the GGUF's split.no and split.count contradict each other")
        return number, max(count, 1)


class _Cursor:
    """A position in a file that is read in chunks. Every read is held against the file's end."""

    __slots__ = ("_buffer", "_read", "_start", "end", "position", "what")

    def __init__(self, read: ReadAt, file_bytes: int, what: str) -> None:
        self._read = read
        self.end = file_bytes
        self._buffer = b""
        self._start = 0  # of the buffer, in the file
        self.position = 0
        self.what = what

    def bad(self, problem: str) -> BadFile:
        return BadFile(f"{self.what}: {problem}")

    def window(self, count: int) -> tuple[bytes, int]:
        """A buffer and the offset in it from which at least ``count`` bytes can be read."""
        offset = self.position - self._start
        if offset + count > len(self._buffer) or offset < 0:
            if self.position + count > self.end:
                raise self.bad(f"the header claims bytes up to {self.position + count} but the file has {self.end}")
            if self.position + count > _LARGEST_HEADER_BYTES:
                raise self.bad(f"the header is longer than {_LARGEST_HEADER_BYTES} bytes")
            self._buffer = self._read(self.position, max(count, min(_CHUNK_BYTES, self.end - self.position)))
            self._start, offset = self.position, 0
            if len(self._buffer) < count:
                raise self.bad("the file became shorter while it was read")
        return self._buffer, offset

    def scalar(self, layout: Struct) -> Scalar:
        buffer, offset = self.window(layout.size)
        self.position += layout.size
        value: Scalar = layout.unpack_from(buffer, offset)[0]
        return value

    def number(self, layout: Struct) -> int:
        """An unsigned count, size or type."""
        buffer, offset = self.window(layout.size)
        self.position += layout.size
        value: int = layout.unpack_from(buffer, offset)[0]
        return value

    def skip(self, count: int) -> None:
        if self.position + count > self.end:
            raise self.bad(f"the header claims bytes up to {self.position + count} but the file has {self.end}")
        self.position += count

    def text(self, longest: int) -> str:
        """A string of at most ``longest`` bytes; a longer one is an error."""
        length = self.number(_U64)
        if length > longest:
            raise self.bad(f"a name of {length} bytes; gpufit reads at most {longest}")
        buffer, offset = self.window(length)
        self.position += length
        try:
            return buffer[offset : offset + length].decode("utf-8")
        except UnicodeDecodeError:
            raise self.bad("a name is not UTF-8 text") from None

    def skip_strings(self, count: int) -> None:
        """Walk over ``count`` strings. The inner loop stays within one buffer, since a vocabulary has 10⁵ of them."""
        unpack = _U64.unpack_from
        while count:
            buffer, offset = self.window(8)
            end = len(buffer) - 8
            start = offset
            while count and offset <= end:
                offset += 8 + unpack(buffer, offset)[0]
                count -= 1
            self.skip(offset - start)


def parse_gguf(read: ReadAt, file_bytes: int, what: str) -> GgufHeader:
    """Parse a header through ``read``; ``file_bytes`` bounds every claim that it makes.

    Raises BadFile for anything that ggml itself would refuse, and for sizes no real file has.

    >>> empty = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
    >>> parse_gguf(lambda start, count: empty[start : start + count], len(empty), "empty.gguf").tensors
    ()
    """
    cursor = _Cursor(read, file_bytes, what)
    if file_bytes < 24:
        raise cursor.bad(f"too short for a GGUF file ({file_bytes} bytes)")
    if cursor.number(_U32) != 0x46554747:  # "GGUF"
        raise cursor.bad("not a GGUF file")
    version = cursor.number(_U32)
    if version not in (2, 3):
        big_endian = int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3)
        raise cursor.bad("a big-endian GGUF" if big_endian else f"GGUF version {version}; gpufit reads 2 and 3")
    tensor_count, key_count = cursor.number(_U64), cursor.number(_U64)
    if tensor_count > _MOST_TENSORS or key_count > _MOST_KEYS:
        raise cursor.bad(f"claims {tensor_count} tensors and {key_count} keys; no real file has so many")
    metadata, lengths = _parse_metadata(cursor, key_count)
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise cursor.bad(f"general.alignment = {str(alignment)[:40]} is no power of two")
    tensors = _parse_tensors(cursor, tensor_count, alignment)
    return GgufHeader(
        version=version, metadata=metadata, array_lengths=lengths, tensors=tensors,
        data_start=-(-cursor.position // alignment) * alignment,
    )  # fmt: skip


def _parse_metadata(cursor: _Cursor, count: int) -> tuple[dict[str, Scalar | tuple[Scalar, ...]], dict[str, int]]:
    values: dict[str, Scalar | tuple[Scalar, ...]] = {}
    lengths: dict[str, int] = {}
    seen: set[str] = set()
    strings = 0
    room = _KEPT_NUMBERS
    for _ in range(count):
        key = cursor.text(_LONGEST_KEY_BYTES)
        if key in seen:
            raise cursor.bad(f"the key {key[:60]!r} stands there twice")
        seen.add(key)
        kind = cursor.number(_U32)
        if kind != _ARRAY:
            value = _parse_value(cursor, kind)
            if value is not None:
                values[key] = value
            continue
        kind, length = cursor.number(_U32), cursor.number(_U64)
        lengths[key] = length
        if kind == _STRING:
            strings += length
            if strings > _MOST_STRINGS:
                raise cursor.bad(f"{key[:60]!r} brings the strings above {_MOST_STRINGS}")
            cursor.skip_strings(length)
        elif kind not in _SCALARS:
            raise cursor.bad(f"{key[:60]!r} is an array of unknown type {kind}")
        elif length <= min(_KEPT_ARRAY, room):
            room -= length
            values[key] = tuple(cursor.scalar(_SCALARS[kind]) for _ in range(length))
        else:
            cursor.skip(length * _SCALARS[kind].size)
    return values, lengths


def _parse_value(cursor: _Cursor, kind: int) -> Scalar | None:
    """A scalar, or None for a text too long to be a fact (chat templates)."""
    if kind == _STRING:
        buffer, offset = cursor.window(8)
        length = _U64.unpack_from(buffer, offset)[0]
        if length > _KEPT_TEXT_BYTES:
            cursor.skip(8 + length)
            return None
        return cursor.text(_KEPT_TEXT_BYTES)
    layout = _SCALARS.get(kind)
    if layout is None:
        raise cursor.bad(f"a value of unknown type {kind}")
    return cursor.scalar(layout)


def _parse_tensors(cursor: _Cursor, count: int, alignment: int) -> tuple[StoredTensor, ...]:
    """Every tensor, with the offsets that the format prescribes: each at the padded end of the one before."""
    tensors: list[StoredTensor] = []
    seen: set[str] = set()
    expected = end = 0
    for _ in range(count):
        name = cursor.text(_LONGEST_NAME_BYTES)
        where = f"tensor {name[:80]!r}"
        if name in seen:
            raise cursor.bad(f"{where} stands there twice")
        seen.add(name)
        dimensions = cursor.number(_U32)
        if dimensions > 4:  # GGML_MAX_DIMS
            raise cursor.bad(f"{where} has {dimensions} dimensions")
        shape = tuple(cursor.number(_U64) for _ in range(dimensions))[::-1]  # ggml writes the row length first
        kind, offset = cursor.number(_U32), cursor.number(_U64)
        block = GGML_TYPES.get(kind)
        if block is None:
            raise cursor.bad(f"{where} has the unknown type {kind}")
        elements = 1
        for size in shape:
            elements *= size
        if elements >= 1 << 60:
            raise cursor.bad(f"{where} is larger than 64 bits can count")
        try:
            size_bytes = count_tensor_bytes(block, shape)
        except BadFile as error:
            raise cursor.bad(f"{where}: {error.message}") from None
        if offset != expected:
            raise cursor.bad(f"the data of {where} starts at {offset}, not at {expected}")
        end = offset + size_bytes
        expected = -(-end // alignment) * alignment
        tensors.append(StoredTensor(name, shape, block.name, size_bytes))
    data_start = -(-cursor.position // alignment) * alignment
    if tensors and data_start + end > cursor.end:
        raise cursor.bad(f"the tensors need {data_start + end} bytes but the file has {cursor.end}")
    return tuple(tensors)
