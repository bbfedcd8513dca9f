"""Folders: which files make up the model, and what is never added together."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from written import LLAMA, safetensors_bytes, safetensors_header, write_gguf, write_sparse

from gpufit.errors import BadFile, UsageError
from gpufit.facts.read import parse_config
from gpufit.sources.files import read_range
from gpufit.sources.resolve import ResolvedModel, resolve_path

SHAPES = {name: ("BF16", shape) for name, shape in parse_config(LLAMA).tensors.shapes().items()}
TOTAL = 2 * parse_config(LLAMA).parameters


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    return tmp_path


def write_shards(folder: Path, stem: str = "model", index: bool = True) -> None:
    names = list(SHAPES)
    halves = [names[:8], names[8:]]
    weight_map = {}
    for number, half in enumerate(halves, 1):
        file = f"{stem}-{number:05d}-of-00002.safetensors"
        (folder / file).write_bytes(safetensors_bytes({name: SHAPES[name] for name in half}))
        weight_map |= dict.fromkeys(half, file)
    if index:
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def gguf_at(path: Path) -> None:
    pytest.importorskip("gguf", reason="the gguf package is not installed")
    keys = {"llama.block_count": 2, "llama.embedding_length": 64, "llama.feed_forward_length": 96,
            "llama.attention.head_count": 4, "llama.context_length": 128}  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    write_gguf(path, "llama", keys, [("token_embd.weight", (100, 64), "Q8_0")])


def total(found: ResolvedModel) -> int | None:
    return None if found.stored is None else found.stored.total_bytes


def test_one_file_its_folder_and_its_path_say_the_same(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(safetensors_bytes(SHAPES))
    for path in (folder, folder / "model.safetensors"):
        found = resolve_path(path)
        assert (total(found), found.architecture.parameters * 2) == (TOTAL, TOTAL)
        assert found.stored is not None
        assert found.stored.method is None


def test_shards_are_joined_by_index_folder_or_any_of_them(folder: Path) -> None:
    write_shards(folder)
    for path in (
        "",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ):
        assert total(resolve_path(folder / path)) == TOTAL, path


def test_shards_without_an_index_are_joined_by_their_names(folder: Path) -> None:
    write_shards(folder, index=False)
    assert total(resolve_path(folder)) == TOTAL


def test_a_missing_shard_is_named(folder: Path) -> None:
    write_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BadFile, match="lacks 1 of 2 weight files, the first model-00002-of-00002"):
        resolve_path(folder)


def test_the_same_tensor_in_two_shards_is_refused(folder: Path) -> None:
    for number in (1, 2):
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(safetensors_bytes({"w": ("F32", (1,))}))
    with pytest.raises(BadFile, match="same name"):
        resolve_path(folder)


def test_several_whole_files_ask_for_a_choice(folder: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (folder / name).write_bytes(safetensors_bytes(SHAPES))
    with pytest.raises(UsageError, match=r"2 safetensors models: a\.safetensors .*b\.safetensors") as error:
        resolve_path(folder)
    assert str(folder / "a.safetensors") in error.value.hint
    assert total(resolve_path(folder / "a.safetensors")) == TOTAL


def test_both_formats_are_told_and_never_summed(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(safetensors_bytes(SHAPES))
    gguf_at(folder / "tiny-Q8_0.gguf")
    found = resolve_path(folder)
    assert total(found) == TOTAL
    assert "tiny-Q8_0.gguf" in found.notes[-1]
    assert "not counted" in found.notes[-1]


def test_many_ggufs_ask_for_a_choice_and_projectors_are_no_models(tmp_path: Path) -> None:
    gguf_at(tmp_path / "tiny-Q8_0.gguf")
    gguf_at(tmp_path / "mmproj-tiny.gguf")
    assert total(resolve_path(tmp_path)) == 100 * 64 // 32 * 34
    gguf_at(tmp_path / "Q4" / "tiny-Q4-00001-of-00002.gguf")
    gguf_at(tmp_path / "Q4" / "tiny-Q4-00002-of-00002.gguf")
    with pytest.raises(UsageError, match=r"2 GGUF models: Q4/tiny-Q4-00001-of-00002\.gguf .*tiny-Q8_0\.gguf"):
        resolve_path(tmp_path)


def test_a_checkpoint_that_is_not_what_its_configuration_says_is_told(folder: Path) -> None:
    fewer = {name: shape for name, shape in SHAPES.items() if "layers.1" not in name}
    more = {**SHAPES, "mtp.head.weight": ("BF16", (100, 64))}
    for shapes, told in ((SHAPES, ()), (fewer, ("files are missing",)), (more, ("stays on disk",))):
        (folder / "model.safetensors").write_bytes(safetensors_bytes(shapes))
        notes = resolve_path(folder).notes
        assert len(notes) == len(told)
        assert all(part in note for part, note in zip(told, notes, strict=True))


def test_a_tied_matrix_may_be_saved_twice(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({**LLAMA, "tie_word_embeddings": True}))
    once = {name: shape for name, shape in SHAPES.items() if name != "lm_head.weight"}
    for shapes in (once, SHAPES):
        (folder / "model.safetensors").write_bytes(safetensors_bytes(shapes))
        assert resolve_path(folder).notes == ()


def test_a_configuration_alone_is_enough(folder: Path) -> None:
    for path in (folder, folder / "config.json"):
        found = resolve_path(path)
        assert (found.stored, found.architecture.parameters * 2) == (None, TOTAL)
    (folder / "pytorch_model.bin").write_bytes(b"PK\3\4")  # never opened: a pickle runs code
    assert resolve_path(folder).stored is None


def test_weights_without_a_configuration_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(SHAPES))
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(BadFile, match=r"no config\.json"):
            resolve_path(path)


def test_an_adapter_is_told_from_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="adapter"):
        resolve_path(tmp_path)


def test_loops_of_links_pipes_devices_and_folders_are_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").symlink_to(folder / "model.safetensors")
    assert resolve_path(folder).stored is None
    with pytest.raises(BadFile):
        resolve_path(folder / "model.safetensors")
    os.mkfifo(folder / "pipe.gguf")
    (folder / "null.safetensors").symlink_to("/dev/zero")
    (folder / "folder.gguf").mkdir()
    assert resolve_path(folder).stored is None
    for name in ("pipe.gguf", "null.safetensors"):
        with pytest.raises(BadFile):
            resolve_path(folder / name)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev", "/proc/self", "nowhere", "a\0b"])
def test_what_is_no_regular_file_is_never_read_even_if_it_became_so_after_listing(path: str) -> None:
    with pytest.raises(BadFile):
        read_range(Path(path), 0, 8)


def test_a_config_that_is_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("config.json")
    for path in (tmp_path, tmp_path / "config.json"):
        with pytest.raises(BadFile):
            resolve_path(path)


def test_links_to_regular_files_are_followed_as_the_hubs_cache_needs(folder: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(safetensors_bytes(SHAPES))
    (folder / "model.safetensors").symlink_to(blob)
    assert total(resolve_path(folder)) == TOTAL


def test_a_checkpoint_of_70_billion_parameters_is_read_by_its_header_alone(tmp_path: Path) -> None:
    """Llama-2-70B, 68,976,648,192 parameters in bf16: 128 GiB that are never read."""
    config = {**LLAMA, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
              "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 32000}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    shapes = parse_config(config).tensors.shapes()
    head, data_bytes = safetensors_header({name: ("BF16", shape) for name, shape in shapes.items()})
    write_sparse(tmp_path / "model.safetensors", head, data_bytes)
    assert total(resolve_path(tmp_path)) == 2 * 68_976_648_192
