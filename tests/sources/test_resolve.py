"""What a user may call a model, in which order it is looked for, and what that costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import LLAMA

import gpufit
from gpufit.errors import BadConfig, BadFile, GpufitError, SourceError, UnknownName, UsageError
from gpufit.sources.catalog import Catalog, load_catalog
from gpufit.sources.http import Answer
from gpufit.sources.resolve import ResolvedModel, resolve_model, resolve_path

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HOME": "/nowhere"}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(None, {})


def resolve(text: str, catalog: Catalog, *, revision: str | None = None) -> ResolvedModel:
    return resolve_model(text, catalog=catalog, environ=OFFLINE, revision=revision)


@pytest.mark.parametrize("name", ["llama-2-7b", "LLAMA-2-7B", "meta-llama/Llama-2-7b-hf"])
def test_a_catalog_name_and_its_hub_id_are_the_catalogs(name: str, catalog: Catalog) -> None:
    found = resolve(name, catalog)
    assert (found.name, found.architecture.parameters) == ("llama-2-7b", 6_738_415_616)
    assert found.origin.startswith("catalog models.yaml:")


def test_the_catalog_comes_before_a_folder_of_the_same_name(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps(LLAMA))
    assert resolve("gpt2", catalog).architecture.model_type == "gpt2"
    assert resolve("./gpt2", catalog).architecture.model_type == "llama"


def test_a_folder_comes_before_the_hub(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ada" / "tiny").mkdir(parents=True)
    (tmp_path / "ada" / "tiny" / "config.json").write_text(json.dumps(LLAMA))
    found = resolve("ada/tiny", catalog)
    assert (found.architecture.model_type, found.origin) == ("llama", str(tmp_path / "ada" / "tiny"))


def test_a_revision_asks_the_hub_even_for_a_model_of_the_catalog(catalog: Catalog) -> None:
    asked = []

    def transport(url: str, headers: object, *, limit_bytes: int, timeout_seconds: float) -> Answer:
        asked.append(url)
        return Answer(status=404, headers={"x-error-code": "RevisionNotFound"}, body=b"")

    with pytest.raises(UsageError, match="no such revision"):
        resolve_model(
            "meta-llama/Llama-2-7b-hf", catalog=catalog, environ={"HF_HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere"},
            transport=transport, revision="v9",
        )  # fmt: skip
    assert asked == ["https://huggingface.co/api/models/meta-llama/Llama-2-7b-hf/revision/v9?blobs=true"]
    with pytest.raises(UsageError, match="belongs to a Hub id"):
        resolve("llama-2-7b", catalog, revision="v9")


def test_a_misspelled_name_gets_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(UnknownName) as error:
        resolve("lama-2-7b", catalog)
    assert error.value.nearest[0] == "llama-2-7b"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("~nobody9", BadFile),
        ("./nowhere", BadFile), ("nowhere.gguf", BadFile), ("a/b/c", BadFile), ("~/nowhere", BadFile), ("/", BadFile),
        ("https://huggingface.co/gpt2", UsageError), ("", UnknownName), ("\0", UnknownName), ("x" * 9999, UnknownName),
        ("a/" + "b" * 300, BadFile), ("../../etc/passwd", BadFile), ("/etc/passwd", BadFile), ("/dev/zero", BadFile),
        ("ada/tiny", SourceError), ("ada/tiny:x.gguf", SourceError), ("-o/x", BadFile), ("ada/..", BadFile),
        ("ada/tiny:..\\x", GpufitError), ("ada/tiny\n", BadFile),
    ],
)  # fmt: skip
def test_what_names_nothing_is_a_clear_error(text: str, problem: type[Exception], catalog: Catalog) -> None:
    with pytest.raises(problem):
        resolve(text, catalog)


@given(st.text(max_size=60) | st.from_regex(r"[\w./:~-]{0,30}", fullmatch=True))
def test_any_text_is_a_model_or_a_typed_error(text: str) -> None:
    with suppress(GpufitError):
        assert resolve(text, load_catalog(None, {})).architecture.parameters > 0


def modules_after(code: str) -> set[str]:
    """Names of all modules that a fresh interpreter holds after running ``code``."""
    source = str(Path(next(iter(gpufit.__path__))).parent)
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    return set(done.stdout.split())


CATALOG_PATH = """
from gpufit.sources.catalog import load_catalog
from gpufit.sources.resolve import resolve_model
resolve_model("llama-2-7b", catalog=load_catalog(None, {}), environ={})
"""
NETWORK = {"ssl", "socket", "http.client", "urllib.request", "urllib.error", "requests", "httpx", "huggingface_hub"}


def test_the_catalog_path_imports_no_network_and_no_file_format() -> None:
    found = modules_after(CATALOG_PATH)
    assert "gpufit.facts.families.llama" in found
    assert not found & {*NETWORK, "torch", "transformers", "safetensors", "gguf", "numpy"}
    ours = {"http", "hub", "hub_cache", "hub_client", "resolve_hub", "checkpoint", "files", "headers"}
    assert not found & {f"gpufit.sources.{name}" for name in ours}
    assert not found & {"gpufit.facts.gguf", "gpufit.facts.safetensors", "gpufit.facts.stored"}


def test_a_local_file_imports_no_network_either(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    call = f"resolve_path(Path({str(tmp_path)!r}))"
    code = f"from pathlib import Path\nfrom gpufit.sources.resolve import resolve_path\n{call}"
    assert not modules_after(code) & NETWORK


SHARED = Path(__file__).parents[3] / "shared" / "configs"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference configurations do not lie beside the repository")
def test_every_published_configuration_comes_through_the_front_door(tmp_path: Path) -> None:
    """As files, read as strangers' files are: one of them holds Infinity."""
    for path in sorted(SHARED.glob("*.json")):
        (tmp_path / "config.json").write_bytes(path.read_bytes())
        assert resolve_path(tmp_path).architecture.parameters > 0, path.stem


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused_where_it_is_read_and_ignored_elsewhere(number: str, tmp_path: Path) -> None:
    keys = {**LLAMA, "rope_theta": 0}
    text = json.dumps(keys).replace('"rope_theta": 0', f'"nobody_reads_this": {number}')
    (tmp_path / "config.json").write_text(text)
    assert resolve_path(tmp_path).architecture.parameters > 0
    size = f'"hidden_size": {LLAMA["hidden_size"]}'
    (tmp_path / "config.json").write_text(text.replace(size, f'"hidden_size": {number}'))
    with pytest.raises(BadConfig, match="hidden_size"):
        resolve_path(tmp_path)
