"""``gpufit catalog``: entries that are written, checked and compared; nothing else in a file changes."""

from __future__ import annotations

import csv
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpufit.cli.main import main
from gpufit.errors import GpufitError
from gpufit.facts.essence import differing_facts, essential_config, from_leaves, leaves
from gpufit.records import replace
from gpufit.sources.catalog import Catalog, load_catalog
from gpufit.sources.catalog_audit import compare_entry
from gpufit.sources.catalog_file import compile_models
from gpufit.sources.catalog_write import make_fields, render_entry
from gpufit.sources.resolve import resolve_path

Run = Callable[..., tuple[int, str, str]]
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "hidden_act": "silu", "hidden_size": 512,
    "initializer_range": 0.02, "intermediate_size": 1376, "max_position_embeddings": 2048, "model_type": "llama",
    "num_attention_heads": 8, "num_hidden_layers": 4, "num_key_value_heads": 2, "rope_theta": 10000.0,
    "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 1000,
}  # fmt: skip
PARAMETERS = 2 * 1000 * 512 + 4 * (2 * 512 * 512 + 2 * 512 * 128 + 3 * 512 * 1376 + 2 * 512) + 512
MINE = """\
# what we serve; ask Ada before changing anything

models:
    tiny:   # four spaces, and a comment
        task: causal-lm
        parameters: 131392
        dtype: fp16
        config: {model_type: llama, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2,
                 num_attention_heads: 4, vocab_size: 384}
    # the end
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command in this process; the user's own catalog lies under ``tmp_path / settings``."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "Small Llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder / "config.json"


def own(tmp_path: Path) -> Path:
    return tmp_path / "settings" / "gpufit" / "models.yaml"


# add


def test_an_added_model_is_a_reviewable_entry_and_is_found_by_name(run: Run, model: Path, tmp_path: Path) -> None:
    code, out, _ = run("catalog", "add", model)
    assert code == 0
    assert out.startswith(f"added small-llama at {own(tmp_path)}:4\n")
    assert own(tmp_path).read_text().split("models:\n", 1)[1] == (
        "  small-llama:\n"
        "    task: causal-lm\n"
        f"    parameters: {PARAMETERS}\n"
        "    dtype: bf16\n"
        "    context: 2048\n"
        "    config: {model_type: llama, hidden_size: 512, intermediate_size: 1376, num_attention_heads: 8,"
        " num_hidden_layers: 4,\n"
        "             num_key_value_heads: 2, vocab_size: 1000}\n"
    )
    code, out, _ = run("check", "small-llama", "--vram", "4", "--json")
    assert (code, json.loads(out)["model"]["parameters"]) == (0, PARAMETERS)
    assert run("catalog", "check", own(tmp_path))[0] == 0
    assert run("catalog", "diff", "small-llama", model)[0] == 0


def test_everything_else_in_the_file_stays_as_it_was(run: Run, model: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(MINE)
    mine.chmod(0o640)
    assert run("catalog", "add", model, "--file", mine, "--name", "ours")[0] == 0
    text = mine.read_text()
    assert text.startswith(MINE)
    assert "\n    ours:\n        task: causal-lm\n" in text  # four spaces, as the file has them
    assert mine.stat().st_mode & 0o777 == 0o640
    assert [entry["name"] for entry in compile_models(mine.read_bytes())["entries"]] == ["tiny", "ours"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Small Llama", "mine.yaml"]


@pytest.mark.parametrize("old", [MINE.encode()[:-15], MINE.encode().rstrip(), MINE.encode() + b"\n\n"])
def test_a_file_may_end_with_or_without_a_newline(run: Run, model: Path, tmp_path: Path, old: bytes) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_bytes(old)
    assert run("catalog", "add", model, "--file", mine)[0] == 0
    assert mine.read_bytes().startswith(old)
    assert compile_models(mine.read_bytes())["entries"][-1]["parameters"] == PARAMETERS


def test_windows_line_ends_are_kept(run: Run, model: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_bytes(MINE.replace("\n", "\r\n").encode())
    assert run("catalog", "add", model, "--file", mine)[0] == 0
    assert mine.read_bytes().count(b"\n") == mine.read_bytes().count(b"\r\n")


def test_a_link_stays_a_link(run: Run, model: Path, tmp_path: Path) -> None:
    mine, link = tmp_path / "dotfiles.yaml", tmp_path / "link.yaml"
    mine.write_text(MINE)
    link.symlink_to(mine)
    assert run("catalog", "add", model, "--file", link)[0] == 0
    assert link.is_symlink()
    assert "small-llama:" in mine.read_text()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("models: {tiny: {task: causal-lm, parameters: 5, dtype: fp16, config: {model_type: llama}}}\n", "appended"),
        (MINE + "...\n", "appended"),
        ("gpus: {}\n", "needs 'models:' at the top level"),
        ("", "needs 'models:' at the top level"),
        ("models:\n  a: &x {task: causal-lm}\n", "anchors and aliases are not allowed"),
        (MINE.replace("131392", "many"), "parameters must be a whole number"),
    ],
)
def test_what_cannot_be_extended_is_refused_and_untouched(
    run: Run, model: Path, tmp_path: Path, text: str, sentence: str
) -> None:
    mine = tmp_path / "settings" / "gpufit" / "models.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(text)
    code, out, err = run("catalog", "add", model)
    assert (code, out, mine.read_text()) == (2, "", text)
    assert sentence in err
    assert os.listdir(mine.parent) == ["models.yaml"]


def test_names_and_hub_ids_that_are_taken_are_refused(run: Run, model: Path, tmp_path: Path) -> None:
    assert run("catalog", "add", model)[0] == 0
    before = own(tmp_path).read_text()
    for arguments, sentence in (
        ([model], f"small-llama is already in the catalog, at {own(tmp_path)}:4"),
        ([model, "--name", "GPT2"], "GPT2 is already in the catalog, at models.yaml:"),
        (["gpt2", "--name", "my-gpt"], "openai-community/gpt2 is already in the catalog, at models.yaml:"),
        ([model, "--name", "two words"], "'two words' is not a name"),
    ):
        code, out, err = run("catalog", "add", *arguments)
        assert (code, out) == (2, "")
        assert sentence in err
        assert own(tmp_path).read_text() == before
    code, out, _ = run("catalog", "add", model, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "usage")


def test_a_dtype_that_nothing_states_is_asked_for(run: Run, model: Path) -> None:
    model.write_text(json.dumps({key: value for key, value in CONFIG.items() if key != "torch_dtype"}))
    code, _, err = run("catalog", "add", model)
    assert (code, "--dtype" in err) == (2, True)
    code, out, _ = run("catalog", "add", model, "--dtype", "float16", "--json")
    assert (code, "dtype: fp16" in json.loads(out)["entry"]) == (0, True)


def test_writers_do_not_lose_each_others_entries(model: Path, tmp_path: Path) -> None:
    """Sixteen at once: each is either in the file or was told that another is writing."""
    from gpufit.api import add_to_catalog

    mine, done, refused = tmp_path / "mine.yaml", [], []
    mine.write_text(MINE)

    def add(name: str) -> None:
        try:
            add_to_catalog(str(model), name=name, file=mine, environ={"XDG_CONFIG_HOME": str(tmp_path)})
            done.append(name)
        except GpufitError as error:
            refused.append(error.message)

    threads = [threading.Thread(target=add, args=(f"m{number}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [entry["name"] for entry in compile_models(mine.read_bytes())["entries"]]
    assert sorted(names) == sorted(["tiny", *done])
    assert done
    assert len(done) + len(refused) == 16
    assert all("another gpufit is writing" in message for message in refused)
    assert not mine.with_name("mine.yaml.part").exists()


def test_a_gguf_is_written_in_the_words_of_a_config(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf", reason="the gguf package writes the file")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "sources"))
    from written import write_gguf

    keys = {
        "block_count": 2, "embedding_length": 256, "feed_forward_length": 512, "attention.head_count": 4,
        "attention.head_count_kv": 2, "context_length": 128,
    }  # fmt: skip
    layer = {
        "attn_norm": (256,), "ffn_norm": (256,), "attn_q": (256, 256), "attn_k": (128, 256), "attn_v": (128, 256),
        "attn_output": (256, 256), "ffn_gate": (512, 256), "ffn_up": (512, 256), "ffn_down": (256, 512),
    }  # fmt: skip
    tensors = [("token_embd.weight", (64, 256), "Q8_0"), ("output_norm.weight", (256,), "F32")]
    for block in range(2):
        tensors += [
            (f"blk.{block}.{name}.weight", shape, "F32" if len(shape) == 1 else "Q8_0") for name, shape in layer.items()
        ]
    path = tmp_path / "Tiny-Q8_0.gguf"
    write_gguf(path, "llama", {f"llama.{key}": value for key, value in keys.items()}, tensors)
    code, out, err = run("catalog", "add", path, "--dtype", "fp16", "--json")
    assert (code, err) == (0, "")
    entry = yaml.safe_load(json.loads(out)["entry"])["tiny-q8_0"]
    assert entry["config"]["num_key_value_heads"] == 2
    assert entry["notes"] == "read from a checkpoint stored in gguf-q8_0, which this entry does not count"


def test_reference_configurations_survive_being_written(shared: Path) -> None:
    """Every configuration that has a reader: the entry makes the same model, in few keys, read back from its text."""
    lengths = []
    for path in sorted((shared / "configs").glob("*.json")):
        try:
            found = resolve_path(path)
        except GpufitError:
            continue
        fields = make_fields(found, None if found.architecture.dtype else "fp32")
        content = b"models:\n" + render_entry("it", fields).encode()
        (entry,) = Catalog([("it.yaml", compile_models(content))]).entries
        truth = replace(found.architecture, dtype=fields["dtype"])
        assert differing_facts(truth, entry.architecture()) == (), path.name
        long = [line for line in content.decode().splitlines() if len(line) > 120]
        assert all(max(map(len, line.split())) > 100 for line in long), (
            path.name
        )  # one value of 118 letters stays whole
        lengths.append(len(content.splitlines()))
    assert len(lengths) > 300
    assert sorted(lengths)[len(lengths) * 95 // 100] <= 20  # what is longer states something layer by layer


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20).filter(str.isprintable),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), inner,
                                                                max_size=4),
    max_leaves=20,
))  # fmt: skip
def test_any_value_reads_back_as_it_was_written(value: Any) -> None:
    text = render_entry("it", {"config": {"model_type": "llama", "value": value}})
    assert yaml.safe_load(text)["it"]["config"]["value"] == value


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(0, 3), max_size=9), st.data())
def test_what_is_kept_of_a_configuration_is_what_decides_and_no_more(raw: dict[str, int], data: st.DataObject) -> None:
    needed = set(data.draw(st.lists(st.sampled_from(sorted(raw))))) if raw else set()
    assert from_leaves(leaves(raw)) == raw
    assert essential_config(raw, lambda config: needed <= set(config)) == {
        key: raw[key] for key in raw if key in needed
    }


# check


def test_check_names_every_problem_with_its_line(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        MINE.replace("131392", "131393")
        + "    odd: {task: cooking, parameters: 5, dtype: fp16, config: {model_type: llama}}\n"
        + "    new: {task: causal-lm, parameters: 5, dtype: fp16, config: {model_type: perpetual_motion}}\n"
        + "    two: {hub: a/b, task: causal-lm, parameters: 5, dtype: fp16, config: {model_type: llama}}\n"
        + "    too: {hub: a/b, task: causal-lm, parameters: 5, dtype: fp16, config: {model_type: llama}}\n"
    )
    code, out, err = run("catalog", "check", mine)
    lines = out.splitlines()
    assert (code, err) == (2, "")
    assert lines[0].startswith(f"{mine}:4: tiny: parameters is 131,393, but its config makes 131,392")
    assert lines[1].startswith(f"{mine}:11: odd: task must be one of")
    assert lines[2].startswith(f"{mine}:12: new: gpufit has no reader for model_type 'perpetual_motion'")
    assert lines[3].startswith(f"{mine}:13: config has no") or lines[3].startswith(f"{mine}:13: two: config has no")
    assert lines[4].startswith(f"{mine}:14: too: 'a/b' already means two")
    assert lines[5] == f"{mine}: 5 entries, 5 problems"
    record = json.loads(run("catalog", "check", mine, "--json")[1])
    assert [problem["line"] for problem in record["problems"]] == [4, 11, 12, 13, 14]


def test_check_passes_what_gpufit_ships(run: Run) -> None:
    code, out, _ = run("catalog", "check", Path(__file__).parents[2] / "models.yaml")
    assert (code, out.count("\n")) == (0, 1)
    assert out.endswith(" entries, no problem\n")


def test_check_of_a_broken_file_names_its_line_and_of_none_is_an_error(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("models:\n  a: [1\n")
    code, out, _ = run("catalog", "check", mine)
    assert (code, out.startswith(f"{mine}:3: is not valid YAML")) == (2, True)
    code, out, err = run("catalog", "check", tmp_path / "no.yaml")
    assert (code, out) == (2, "")
    assert "no.yaml" in err


# diff


def test_diff_names_the_keys_and_the_facts_that_differ(run: Run, model: Path) -> None:
    assert run("catalog", "add", model, "--name", "ours")[0] == 0
    changed = {**CONFIG, "num_key_value_heads": 4, "torch_dtype": "float16", "attention_bias": True, "rope_theta": 5e5}
    model.write_text(json.dumps(changed))
    code, out, _ = run("catalog", "diff", "ours", model, "--json")
    record = json.loads(out)
    assert (code, record["same"], record["cache_agrees"]) == (1, False, False)
    assert {d["key"]: (d["catalog"], d["config"]) for d in record["differences"]} == {
        "num_key_value_heads": ("2", "4"),
        "attention_bias": ("absent", "true"),
        "dtype": ("bf16", "float16"),
    }
    assert record["parameters"]["catalog"] == PARAMETERS != record["parameters"]["config"]
    code, out, _ = run("catalog", "diff", "ours", model)
    assert (code, "cache differs" in out, "num_key_value_heads" in out) == (1, True, True)


def test_a_key_that_equals_its_default_is_no_difference(run: Run, model: Path) -> None:
    assert run("catalog", "add", model, "--name", "ours")[0] == 0
    model.write_text(json.dumps({**CONFIG, "attention_bias": False, "head_dim": 64, "mlp_bias": None}))
    code, out, _ = run("catalog", "diff", "ours", model)
    assert (code, out.splitlines()[-2:]) == (0, [f"parameters agree: {PARAMETERS:,}", "cache agrees"])
    assert json.loads(run("catalog", "diff", "ours", model, "--json")[1])["differences"] == []


def test_a_section_that_only_one_side_has_is_named(run: Run, shared: Path) -> None:
    """The entry has an audio tower; the reference configuration, which states none, is of text and pictures alone."""
    path = shared / "configs" / "google__gemma-4-E2B-it.json"
    code, out, _ = run("catalog", "diff", "google/gemma-4-E2B-it", path, "--json")
    record = json.loads(out)
    assert (code, "parameters" in record["differing_facts"]) == (1, True)
    assert {"key": "audio_config.num_hidden_layers", "catalog": "12", "config": "absent"} in record["differences"]


def test_a_difference_in_the_model_always_comes_with_a_key(shared: Path) -> None:
    """Every entry against its published configuration, those that the catalog corrects among them."""
    catalog, same, different = load_catalog(None, {}), 0, 0
    with (shared / "configs" / "INDEX.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        entry = catalog.find(row["hf_id"])
        try:
            found = resolve_path(shared / "configs" / row["file"])
        except GpufitError:
            continue
        if entry is None or entry.hub_id != row["hf_id"]:
            continue
        comparison = compare_entry(entry, found, catalog.source_of(entry))
        same += comparison.same
        if not comparison.same:
            different += 1
            assert comparison.differences, row["file"]
    assert same > 200
    assert different > 0


def test_json_follows_the_schema(
    run: Run, model: Path, tmp_path: Path, follows_schema: Callable[[object], None]
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("models:\n  a: 1\n")
    for arguments in (
        ["add", model], ["check", own(tmp_path)], ["check", broken], ["diff", "small-llama", model],
        ["diff", "gpt2", model], ["add", model],
    ):  # fmt: skip
        follows_schema(json.loads(run("catalog", *arguments, "--json")[1]))
