"""A user's own catalog extends the shipped one; a broken or hostile one is one sentence with file and line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpufit.errors import BadCatalog, BadFile, UnknownFamily, UnknownName
from gpufit.sources.catalog import Catalog, load_catalog
from gpufit.sources.catalog_file import compile_models

TINY = """
models:
  tiny:
    hub: ada/tiny-llama
    aliases: [tiny-chat, ada/tiny-llama-chat]
    task: causal-lm
    parameters: 131392
    dtype: fp16
    context: 64
    config: {model_type: llama, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2,
             num_attention_heads: 4, vocab_size: 384}
"""
TINY_PARAMETERS = 2 * 384 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 128 + 2 * 64) + 64


def write(folder: Path, text: str | bytes, *, age_s: int = 60) -> Path:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def load(path: Path | None, **environ: str) -> Catalog:
    return load_catalog(path, {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent", **environ})


def test_a_catalog_file_adds_its_entries(tmp_path: Path) -> None:
    path = write(tmp_path, TINY)
    catalog = load(path)
    entry = catalog.get("tiny")
    assert entry.parameters == TINY_PARAMETERS == 131_392
    assert entry.architecture().parameters == TINY_PARAMETERS
    assert entry.architecture().max_context_tokens == 64
    for name in ("TINY", "ada/tiny-llama", "tiny-llama", "tiny-chat", "ada/Tiny-Llama-Chat", "tiny-llama-chat"):
        assert catalog.find(name) is entry
    assert (entry.family, entry.notes) == ("llama", ())
    assert catalog.source_of(entry) == f"{path}:3"
    assert len(catalog) == len(load(None)) + 1 == len(catalog.entries)
    assert catalog.get("gpt2").file == "models.yaml"


def test_the_users_own_catalog_is_found_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "gpufit").mkdir()
    write(tmp_path / "gpufit", TINY).rename(tmp_path / "gpufit" / "models.yaml")
    assert load(None, XDG_CONFIG_HOME=str(tmp_path)).get("tiny").parameters == TINY_PARAMETERS
    home = tmp_path / "home"
    (home / ".config").mkdir(parents=True)
    (tmp_path / "gpufit").rename(home / ".config" / "gpufit")
    assert load(None, HOME=str(home)).get("tiny").parameters == TINY_PARAMETERS
    assert load(None, HOME=str(home), XDG_CONFIG_HOME="relative/is/ignored").find("tiny")
    assert load(None, XDG_CONFIG_HOME=str(tmp_path)).find("tiny") is None


def test_an_entry_of_the_same_name_replaces_the_shipped_one_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, TINY.replace("  tiny:", "  GPT2:").replace("ada/tiny-llama", "ada/my-gpt"))
    catalog, shipped = load(path), load(None)
    entry = catalog.get("gpt2")
    assert entry.parameters == TINY_PARAMETERS
    assert entry.notes == (f"{path} replaces the entry of models.yaml",)
    assert entry.architecture().notes[-1:] == entry.notes
    assert catalog.get("openai-community/gpt2") is entry
    assert len(catalog) == len(shipped) == len(catalog.entries)
    places = [e.name.lower() for e in catalog]
    assert places == [e.name for e in shipped]


def test_a_shipped_alias_can_be_taken_without_replacing_anything(tmp_path: Path) -> None:
    catalog = load(write(tmp_path, TINY.replace("tiny-chat", "mistral-7b")))
    assert catalog.get("mistral-7b").name == "tiny"
    assert catalog.get("mistral-7b-v0.1").name == "mistral-7b-v0.1"


def test_the_last_part_of_a_hub_id_names_nobody_when_two_share_it(tmp_path: Path) -> None:
    text = TINY + TINY.partition("models:")[2].replace("  tiny:", "  other:").replace("ada/", "bob/").replace(
        "tiny-chat, ", ""
    )
    catalog = load(write(tmp_path, text))
    assert catalog.find("tiny-llama") is None
    assert catalog.get("bob/tiny-llama").name == "other"


def test_an_unknown_name_comes_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownName) as caught:
        load(None).get("lama-2-7b")
    assert caught.value.nearest[0] == "llama-2-7b"
    assert "nearest: llama-2-7b" in caught.value.hint
    with pytest.raises(UnknownName) as far:
        load(None).get("zzzzqqqq" * 100_000)
    assert far.value.nearest == ()
    assert len(str(far.value)) < 200


def without(field: str) -> str:
    lines = TINY.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{field}:"))
    end = start + (2 if field == "config" else 1)
    return "\n".join(lines[:start] + lines[end:])


def deep(levels: int) -> str:
    return TINY.replace("vocab_size: 384", "vocab_size: 384, deep: " + "{a: " * levels + "1" + "}" * levels)


BROKEN: list[tuple[str, str | bytes, int, str]] = [
    ("an empty file", "", 1, "needs 'models:'"),
    ("a list", "- a\n- b\n", 1, "needs 'models:'"),
    ("models is a list", "models: [a]\n", 1, "needs 'models:'"),
    ("another top key", TINY + "model: {}\n", 12, "unknown key 'model'"),
    ("an entry that is text", "models:\n  a: llama\n", 2, "a must be a mapping"),
    ("a name with a blank", "models:\n  'a b': {}\n", 2, "is not a name"),
    ("an unknown field", TINY.replace("    context", "    contxt"), 9, "unknown field 'contxt'"),
    ("no task", without("task"), 3, "lacks 'task'"),
    ("no parameters", without("parameters"), 3, "lacks 'parameters'"),
    ("no dtype", without("dtype"), 3, "lacks 'dtype'"),
    ("no config", without("config"), 3, "lacks 'config'"),
    ("a task nobody knows", TINY.replace("causal-lm", "chat"), 6, "task must be one of"),
    ("parameters as text", TINY.replace("131392", "'7B'"), 7, "parameters must be a whole number"),
    ("parameters true", TINY.replace("131392", "true"), 7, "parameters must be a whole number"),
    ("no parameters at all", TINY.replace("131392", "0"), 7, "parameters must be a whole number above 0"),
    ("a dtype of storage", TINY.replace("fp16", "int4"), 8, "dtype must be one of fp32, fp16, bf16"),
    ("a context of zero", TINY.replace("context: 64", "context: 0"), 9, "context must be a whole number"),
    ("a negative context", TINY.replace("context: 64", "context: -5"), 9, "context must be a whole number"),
    ("an endless context", TINY.replace("context: 64", "context: 99999999999999"), 9, "context must be a whole"),
    ("a context as a list", TINY.replace("context: 64", "context: [64]"), 9, "not a list"),
    ("an odd Hub id", TINY.replace("ada/tiny-llama\n", "ada tiny\n"), 4, "hub must be a Hub id"),
    ("a Hub id with an escape", TINY.replace("ada/tiny-llama\n", '"ada/ti\\x1bny"\n'), 4, "hub must be a Hub id"),
    ("aliases as text", TINY.replace("[tiny-chat, ada/tiny-llama-chat]", "tiny-chat"), 5, "aliases must be a list"),
    ("a config without model_type", TINY.replace("model_type: llama, ", ""), 10, "config must be the keys"),
    ("a key twice", TINY.replace("    dtype: fp16", "    dtype: fp16\n    dtype: bf16"), 9, "'dtype' appears twice"),
    ("an entry twice", TINY + TINY.partition("models:")[2], 13, "'tiny' appears twice"),
    ("a name of two entries", TINY + TINY.partition("models:")[2].replace("tiny:", "tin:"), 14, "already means tiny"),
    ("an anchor", TINY.replace("[tiny", "&a [tiny"), 5, "anchors and aliases"),
    ("an alias bomb", "a: &a [x, x]\nb: &b [*a, *a]\nmodels: *b\n", 1, "anchors and aliases"),
    ("deep nesting", deep(2000), 11, "nested deeper"),
    ("an endless config", TINY.replace("384}", "384, x: [" + "1, " * 20_000 + "1]}"), 10, "config must be the keys"),
    ("a broken bracket", TINY.replace("384}", "384"), 0, "is not valid YAML"),
    ("Latin-1", TINY.encode().replace(b"tiny-chat", b"t\xefny"), 5, "is not UTF-8"),
    ("a NUL", b"models:\n  a\0b: {}\n", 0, "is not valid YAML"),
    ("a Python tag", "models: !!python/object/apply:os.system ['true']\n", 1, "is not allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "says"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_broken_catalog_is_one_sentence_with_file_and_line(
    tmp_path: Path, text: str | bytes, line: int, says: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadCatalog) as caught:
        load(path)
    error = caught.value
    assert error.path == str(path)
    assert says in error.message
    if line:
        assert error.line == line
        assert error.message.startswith(f"{path}:{line}: ")
    assert "\n" not in error.message + error.hint
    assert len(error.message) < 400 + len(str(path))


def test_a_count_that_the_config_does_not_make_is_refused_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, TINY.replace("131392", "131393"))
    entry = load(path).get("tiny")
    with pytest.raises(BadCatalog, match=r"parameters is 131,393, but its config makes 131,392") as caught:
        entry.architecture()
    assert (caught.value.path, caught.value.line) == (str(path), 3)


def test_a_config_that_cannot_be_read_names_the_entry(tmp_path: Path) -> None:
    path = write(tmp_path, TINY.replace("hidden_size: 64", "hidden_size: wide"))
    with pytest.raises(BadCatalog, match=r"mine\.yaml:3: tiny: config key hidden_size"):
        load(path).get("tiny").architecture()


def test_a_family_without_a_reader_stays_undecided(tmp_path: Path) -> None:
    path = write(tmp_path, TINY.replace("model_type: llama", "model_type: crystal_ball"))
    with pytest.raises(UnknownFamily):
        load(path).get("tiny").architecture()


def test_files_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="No such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(BadFile, match="not a regular file"):
        load(tmp_path)
    (tmp_path / "gpufit").mkdir()
    (tmp_path / "gpufit" / "models.yaml").mkdir()
    with pytest.raises(BadFile, match="not a regular file"):
        load(None, XDG_CONFIG_HOME=str(tmp_path))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not stop this user")
def test_a_file_without_permission_is_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, TINY)
    path.chmod(0)
    with pytest.raises(BadFile, match="Permission denied"):
        load(path)


def test_a_file_of_1_gb_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with path.open("wb") as file:
        file.truncate(1_000_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(BadFile, match="larger than 16 MiB"):
            load(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100 << 20


def compiled_or_refused(content: bytes) -> Any:
    try:
        return compile_models(content)
    except BadCatalog as error:
        return error


@given(st.binary(max_size=300))
def test_any_bytes_are_a_catalog_or_a_bad_one(noise: bytes) -> None:
    compiled = compiled_or_refused(noise)
    assert isinstance(compiled, BadCatalog) or compiled.keys() == {"entries", "index"}


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["hub", "aliases", "family", "task", "parameters", "dtype", "context", "notes", "config"]), VALUES
)
def test_any_value_of_a_field_is_taken_or_refused(field: str, value: Any) -> None:
    entry = {"task": "causal-lm", "parameters": 5, "dtype": "fp16", "config": {"model_type": "llama"}, field: value}
    compiled = compiled_or_refused(yaml.safe_dump({"models": {"tiny": entry}}).encode())
    if isinstance(compiled, BadCatalog):
        assert compiled.line > 0
    else:
        assert json.loads(json.dumps(compiled))["entries"][0][field] == value


def test_a_changed_catalog_is_read_anew_and_an_unchanged_one_from_the_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = write(tmp_path, TINY)
    first = load(path, XDG_CACHE_HOME=str(cache)).get("tiny")
    assert len(list((cache / "gpufit").glob("*.json"))) == 2
    assert load(path, XDG_CACHE_HOME=str(cache)).get("tiny").config == first.config
    write(tmp_path, TINY.replace("context: 64", "context: 32"), age_s=30)
    assert load(path, XDG_CACHE_HOME=str(cache)).get("tiny").context_tokens == 32
    write(tmp_path, TINY.replace("131392", "none"), age_s=20)
    with pytest.raises(BadCatalog):
        load(path, XDG_CACHE_HOME=str(cache))


def test_the_quick_path_reads_the_cache_and_imports_no_yaml(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from gpufit.sources.catalog import load_catalog\n"
        f"environ = {{'HOME': '/nonexistent', 'XDG_CACHE_HOME': {str(tmp_path)!r}}}\n"
        "entry = load_catalog(None, environ).get('llama-2-7b')\n"
        "print(entry.architecture().parameters, 'yaml' in sys.modules, 'difflib' in sys.modules)\n"
    )
    shipped = Path(__file__).parents[2] / "models.yaml"
    if time.time() - shipped.stat().st_mtime < 5:
        pytest.skip("models.yaml changed a moment ago and is not cached yet")
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert said == [["6738415616", "True", "False"], ["6738415616", "False", "False"]]


def test_finding_is_a_lookup_and_entries_are_made_once() -> None:
    catalog = load(None)
    assert catalog.get("gpt2") is catalog.get("openai-community/gpt2")
    assert catalog.get("gpt2").architecture() is catalog.get("gpt2").architecture()
    assert catalog.entries[0] is next(iter(catalog))
