"""Files made to hurt: whatever they claim, gpufit answers within a second, within 100 MiB, and with a typed error.

Each case runs in a process of its own, since only so the memory that one file costs can be told; all are forked from
one that has done the imports.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from written import LLAMA, safetensors_header

MIB = 1 << 20
HANG_SECONDS = 10.0  # tells a hang on any machine; `benchmarks/hostile.py` holds each case to its second
ACCEPTED = ("accepted",)  # large, but true
NURSERY = """
import os, re, sys, time
from pathlib import Path
from gpufit.errors import GpufitError
from gpufit.sources import checkpoint, files, headers, resolve
from gpufit.facts import gguf, gguf_config, gguf_model, safetensors, stored_quant
from gpufit.facts.families import llama
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
for line in sys.stdin:
    child = os.fork()
    if child:
        print("", os.waitpid(child, 0)[1], flush=True)
        continue
    before, start = peak(), time.process_time()
    try:
        resolve.resolve_path(Path(line[:-1]))
        told = "accepted"
    except GpufitError as error:
        told = f"{type(error).__name__} {error.exit_code} {error.message[:200]}"
    print((peak() - before) // 1024, time.process_time() - start, told, end="", flush=True)
    os._exit(0)
"""


def text(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value


def config(raw: bytes) -> dict[str, bytes]:
    return {"config.json": raw}


def weights(header: bytes) -> dict[str, bytes]:
    return {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": len(header).to_bytes(8, "little") + header}


def index(raw: bytes) -> dict[str, bytes]:
    return {"config.json": json.dumps(LLAMA).encode(), "model.safetensors.index.json": raw}


def gguf(tensors: int, keys: int, rest: bytes) -> dict[str, bytes]:
    return {"m.gguf": b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + rest}


def gguf_tensors(count: int) -> bytes:
    return b"".join(text(b"%0127d" % i) + struct.pack("<IQQQQIQ", 4, 1, 1, 1, 8, 0, 32 * i) for i in range(count))


NESTED = {
    "open": b"[" * 10_000,
    "closed": b"[" * 10_000 + b"]" * 10_000,
    "objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
}
CASES: dict[str, Callable[[], dict[str, bytes]]] = {
    "config of 4 MiB of empty lists": lambda: config(b'{"a":[' + b"[]," * (4 * MIB // 3 - 9) + b"[]]}"),
    "config of as many values as are taken": lambda: config(b'{"a":[' + b"[]," * 120_000 + b"[]]}"),
    "config of as many keys as are taken": lambda: config(
        b"{" + b",".join(b'"%d":1' % i for i in range(120_000)) + b"}"
    ),
    "config of one text of 4 MiB": lambda: config(b'{"model_type":"' + "\U0001f600".encode() * (MIB - 9) + b'"}'),
    "config of 10 MiB": lambda: config(b" " * (10 * MIB)),
    "config of numbers of 4,000 digits": lambda: config(b'{"a":[' + b",".join([b"9" * 4000] * 1000) + b"]}"),
    "config of a number of 4 million digits": lambda: config(b'{"hidden_size":' + b"9" * (4 * MIB - 99) + b"}"),
    **{f"config nested 10,000 deep, {n}": lambda raw=raw: config(b'{"a":' + raw + b"}") for n, raw in NESTED.items()},
    "config of 2 million brackets": lambda: config(b'{"a":"' + b"[" * (2 * MIB) + b'"}'),
    "header of 8 MiB of empty lists": lambda: weights(b'{"__metadata__":[' + b"[]," * (8 * MIB // 3 - 20) + b"[]]}"),
    "header of as many values as are taken": lambda: weights(b'{"__metadata__":[' + b"[]," * 295_000 + b"[]]}"),
    "header of as many keys as are taken": lambda: weights(
        b'{"__metadata__":{' + b",".join(b'"%d":1' % i for i in range(295_000)) + b"}}"
    ),
    "header of 8 MiB of wide text": lambda: weights(
        b'{"__metadata__":"' + "\U0001f600".encode() * (2 * MIB - 20) + b'"}'
    ),
    "header of 49,000 tensors": lambda: weights(
        safetensors_header({f"{i:090d}": ("U8", (0,)) for i in range(49_000)})[0][8:]
    ),
    **{f"header nested 10,000 deep, {n}": lambda raw=raw: weights(b'{"a":' + raw + b"}") for n, raw in NESTED.items()},
    "index of 16 MiB in one shard": lambda: index(
        b'{"weight_map":{' + b",".join(b'"%0110d":"m.safetensors"' % i for i in range(128_000)) + b"}}"
    ),
    "index of as many shards as are taken": lambda: index(
        b'{"weight_map":{' + b",".join(b'"%d":"%d.safetensors"' % (i, i) for i in range(155_000)) + b"}}"
    ),
    "index of 30 MiB": lambda: index(b" " * (30 * MIB)),
    "two million empty strings": lambda: gguf(
        0, 1, text(b"k") + struct.pack("<IIQ", 9, 8, 2_000_000) + bytes(16_000_000)
    ),
    "two million strings of 40 bytes": lambda: gguf(
        0, 1, text(b"k") + struct.pack("<IIQ", 9, 8, 1_900_000) + text(b"x" * 40) * 1_900_000
    ),
    "4,096 keys of 4 KiB": lambda: gguf(
        0, 4096, b"".join(text(b"%01024d" % i) + struct.pack("<I", 8) + text(b"x" * 4096) for i in range(4096))
    ),
    "4,096 arrays of 4,096 numbers": lambda: gguf(
        0, 4096, b"".join(text(b"%d" % i) + struct.pack("<IIQ", 9, 0, 4096) + bytes(4096) for i in range(4096))
    ),
    "65,536 tensors": lambda: gguf(65_536, 0, gguf_tensors(65_536) + bytes(32 * 65_536)),
    "a key of 1 GB": lambda: gguf(0, 1, struct.pack("<Q", 1 << 30)),
    "a vocabulary of 1 GB": lambda: gguf(0, 1, text(b"k") + struct.pack("<IIQQ", 9, 8, 1, 1 << 30)),
}  # fmt: skip


@cache
def nursery() -> subprocess.Popen[str]:
    """A process that has imported gpufit and reads each file that it is told of in a child of its own."""
    import gpufit

    source = str(Path(next(iter(gpufit.__path__))).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    atexit.register(process.communicate)  # the end of its input is its end
    return process


def run(path: Path) -> tuple[int, float, str]:
    """(MiB of growth, seconds of processor time, what was told)."""
    asked, answered = nursery().stdin, nursery().stdout
    assert asked is not None
    assert answered is not None
    print(path, file=asked, flush=True)
    assert select.select([answered], [], [], 60)[0], f"no answer for {path}"
    answer, status = answered.readline().rsplit(" ", 1)
    assert status == "0\n", f"the process ended with {status.strip()}: {answer}"
    mib, seconds, told = answer.split(" ", 2)
    return int(mib), float(seconds), told.strip()


def judge(path: Path) -> None:
    mib, seconds, told = run(path)
    assert mib < 100, f"{mib} MiB"
    assert seconds < HANG_SECONDS, f"{seconds} s"
    assert told.startswith(("BadFile 2", "BadConfig 2", "UnknownFamily 3")) or told in ACCEPTED, told


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read in Linux's unit")
@pytest.mark.parametrize("case", CASES)
def test_a_hostile_file_costs_little_and_is_refused(case: str, tmp_path: Path) -> None:
    files = CASES[case]()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    judge(tmp_path)


SPARSE = [
    ("model.safetensors", (1 << 30).to_bytes(8, "little") + b"{"),
    ("model.safetensors", (8 << 20).to_bytes(8, "little") + b'{"a":'),
    ("m.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 10, 1 << 36)),
    ("m.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 8, 2_000_000)),
    ("m.gguf", b"GGUF" + struct.pack("<IQQ", 3, 60_000, 4000)),
]


def write_sparse(folder: Path, name: str, head: bytes) -> Path:
    """A file of a terabyte that begins with ``head`` and takes no space."""
    path = folder / name
    path.write_bytes(head)
    os.truncate(path, 1 << 40)
    if name.endswith(".safetensors"):
        (folder / "config.json").write_text(json.dumps(LLAMA))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read in Linux's unit")
@pytest.mark.parametrize(("name", "head"), SPARSE)
def test_a_file_of_a_terabyte_costs_no_more(name: str, head: bytes, tmp_path: Path) -> None:
    judge(write_sparse(tmp_path, name, head))
