"""Read just the head of a weight file, wherever it lies."""

from __future__ import annotations

from gpufit.errors import BadFile
from gpufit.facts.gguf import GgufHeader, parse_gguf
from gpufit.facts.safetensors import LENGTH_BYTES, parse_header, parse_header_length
from gpufit.facts.stored import StoredTensor
from gpufit.sources.files import Files, file_size

_FIRST_READ_BYTES = 64 << 10  # holds the whole header of most files, so that one request does


def read_safetensors_header(files: Files, name: str) -> tuple[StoredTensor, ...]:
    """All tensors of one safetensors file, reading its header alone."""
    size = file_size(files, name)
    first = files.read(name, 0, _FIRST_READ_BYTES)
    length = parse_header_length(first, size, name)
    end = LENGTH_BYTES + length
    header = first[LENGTH_BYTES:end]
    if end > len(first):
        header += files.read(name, len(first), end - len(first))
    if len(header) < length:
        raise BadFile(f"{name} became shorter while it was read")
    return parse_header(header, size - end, name)


def read_gguf_header(files: Files, name: str) -> GgufHeader:
    """Metadata and tensors of one GGUF file, reading its header alone."""
    return parse_gguf(lambda start, count: files.read(name, start, count), file_size(files, name), name)
