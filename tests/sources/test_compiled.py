"""The compiled cache: believed while it names this very file, ignored in every other case."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gpufit.errors import BadFile
from gpufit.sources.compiled import load_compiled, user_cache_dir

calls: list[bytes] = []


def shout(content: bytes) -> Any:
    calls.append(content)
    return {"text": (content.decode().upper(), 1)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    calls.clear()
    path = tmp_path / "words.yaml"
    write(path, "hello", age=10)
    return path


def write(path: Path, text: str, *, age: int) -> None:
    path.write_text(text)
    now = path.stat().st_mtime_ns
    os.utime(path, ns=(now - age * 10**9, now - age * 10**9))


def test_the_second_call_does_not_compile_and_gives_an_equal_answer(source: Path, tmp_path: Path) -> None:
    first = load_compiled(source, shout, cache_dir=tmp_path / "cache")
    second = load_compiled(source, shout, cache_dir=tmp_path / "cache")
    assert first == second == {"text": ["HELLO", 1]}
    assert calls == [b"hello"]


def test_only_the_finished_cache_file_stays_behind(source: Path, tmp_path: Path) -> None:
    load_compiled(source, shout, cache_dir=tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".json"]


def test_a_changed_file_is_compiled_again(source: Path, tmp_path: Path) -> None:
    load_compiled(source, shout, cache_dir=tmp_path)
    write(source, "adieu", age=5)
    assert load_compiled(source, shout, cache_dir=tmp_path) == {"text": ["ADIEU", 1]}


def test_a_file_changed_a_moment_ago_is_not_cached_yet(source: Path, tmp_path: Path) -> None:
    write(source, "fresh", age=0)
    load_compiled(source, shout, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"[" * 100_000, b"[]", b'{"key": [], "data": {"text": "EVIL"}}', b"\xff"]
)
def test_a_corrupt_or_foreign_cache_is_ignored_and_replaced(source: Path, tmp_path: Path, garbage: bytes) -> None:
    cache = tmp_path / "cache"
    load_compiled(source, shout, cache_dir=cache)
    (kept,) = cache.iterdir()
    kept.write_bytes(garbage)
    assert load_compiled(source, shout, cache_dir=cache) == {"text": ["HELLO", 1]}
    assert json.loads(kept.read_bytes())["data"] == {"text": ["HELLO", 1]}


def test_a_cache_of_another_version_is_stale(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    load_compiled(source, shout, cache_dir=cache)
    (kept,) = cache.iterdir()
    record = json.loads(kept.read_bytes())
    record["key"][3] = "0.0.0"
    kept.write_text(json.dumps(record))
    load_compiled(source, shout, cache_dir=cache)
    assert len(calls) == 2


def test_a_changed_compiler_makes_the_cache_stale(source: Path, tmp_path: Path) -> None:
    module = tmp_path / "compiler" / "it.py"
    module.parent.mkdir()
    for answer in (1, 2):
        write(module, "# a compiler", age=10 * answer)
        scope: dict[str, Any] = {"__name__": "it"}
        exec(compile(f"def it(content): return {answer}", str(module), "exec"), scope)
        assert load_compiled(source, scope["it"], cache_dir=tmp_path / "cache") == answer


def test_an_unwritable_cache_directory_only_costs_time(source: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    for _ in range(2):
        assert load_compiled(source, shout, cache_dir=blocked / "cache") == {"text": ["HELLO", 1]}
    assert len(calls) == 2


def test_without_a_cache_directory_nothing_is_written(source: Path, tmp_path: Path) -> None:
    load_compiled(source, shout, cache_dir=None)
    assert [path.name for path in tmp_path.iterdir()] == ["words.yaml"]


def test_a_file_over_the_limit_is_refused(source: Path) -> None:
    with pytest.raises(BadFile, match="larger than"):
        load_compiled(source, shout, cache_dir=None, limit_bytes=4)
    assert not calls


def test_missing_files_directories_and_devices_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, Path(os.devnull)):
        with pytest.raises(BadFile):
            load_compiled(path, shout, cache_dir=None)


def test_the_cache_directory_follows_the_environment() -> None:
    assert user_cache_dir({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/gpufit")
    assert user_cache_dir({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/gpufit")
