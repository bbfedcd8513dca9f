"""The closed forms against the replay: families × sizes × dtypes × attention × phases. Run by hand.

    python benchmarks/replay_matrix.py [shrunken] [shallow] [full] [--only NAME] [--workers N]

* ``shrunken``: the configurations of tests/memory/shrunken.py, narrow and of odd sizes;
* ``shallow``: one model for every model_type and class of the catalog at its own widths, with at most 8 layers;
* ``full``: models of the catalog as they are, up to 70B, and a mixture of 235B.

Rows go into docs/replay_matrix.csv, old rows of the same case replaced, and what could not be replayed with its reason
into docs/not_replayed.csv. ``python docs/accuracy_page.py`` makes the tables of docs/accuracy.md from both.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from apart import run_apart

from gpufit.accuracy.matrix import Case, MatrixRow, read_matrix, write_matrix
from gpufit.errors import GpufitError
from gpufit.memory.workload import Workload

ROOT = Path(__file__).parents[1]
MATRIX, MISSING = ROOT / "docs" / "replay_matrix.csv", ROOT / "docs" / "not_replayed.csv"
MOST_LAYERS = 8
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "depth",
          "num_decoder_layers", "num_nextn_predict_layers")  # fmt: skip
INDICES = ("mlp_only_layers", "attn_layer_indices", "full_attn_idxs", "cross_attention_layers",
           "deepstack_visual_indexes", "full_attn_layers", "kda_layers", "fullatt_block_indexes")  # fmt: skip
FULL = (
    "llama-2-7b", "llama-3.1-8b", "llama-2-13b", "llama-3.3-70b", "mistral-7b-v0.3", "mixtral-8x7b", "qwen2.5-0.5b",
    "qwen2.5-7b", "qwen2.5-72b", "qwen3-8b", "qwen3-30b-a3b", "qwen3-235b-a22b", "qwen3-next-80b-a3b", "gemma-2b",
    "gemma-2-9b", "gemma-3-27b", "gemma-4-31b", "phi-2", "phi-4", "deepseek-v2-lite", "gpt-oss-20b", "glm-4.5-air",
    "falcon-7b", "falcon-40b", "olmo-2-7b", "starcoder2-15b", "gpt2-xl", "gpt-j-6b", "pythia-12b", "opt-6.7b",
    "bloomz-7b1", "mamba-2.8b", "jamba-v0.1", "t5-3b", "flan-t5-xxl", "bart-large", "whisper-large-v3",
    "roberta-large", "deberta-v3-large", "modernbert-large", "clip-vit-large-patch14-336", "command-r7b",
)  # fmt: skip


def shallow(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with at most ``MOST_LAYERS`` layers in every stack, at its own widths."""
    depth = next((int(raw[key]) for key in LAYERS if isinstance(raw.get(key), int)), 0)
    cut: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, Mapping):
            value = shallow(value)
        elif key in LAYERS and isinstance(value, int):
            value = min(value, MOST_LAYERS)
        elif key == "attention_types" and isinstance(value, list):  # GPT-Neo: [[kinds, repetitions]]
            value = [[value[0][0], MOST_LAYERS // len(value[0][0])]]
        elif key in INDICES and isinstance(value, list):
            value = [index for index in value if index < MOST_LAYERS]
        elif isinstance(value, (list, str)) and depth > MOST_LAYERS and len(value) == depth:
            value = value[:MOST_LAYERS]  # one entry a layer
        cut[key] = value
    return cut


@cache
def configurations(size: str) -> dict[str, dict[str, Any]]:
    """Name -> configuration of one size of the matrix."""
    if size == "shrunken":
        sys.path.insert(0, str(ROOT / "tests" / "memory"))
        from shrunken import SHRUNKEN  # type: ignore[import-not-found]

        return dict(SHRUNKEN)
    from gpufit.sources.catalog import load_catalog

    catalog = load_catalog(None, os.environ)
    if size == "full":
        return {name: dict(entry.config) for name in FULL if (entry := catalog.find(name)) is not None}
    smallest: dict[tuple[str, str], Any] = {}
    for entry in sorted(catalog.entries, key=lambda entry: entry.parameters):
        architecture = entry.architecture()
        smallest.setdefault((architecture.model_type, architecture.model_class), entry)
    return {entry.name: shallow(entry.config) for entry in smallest.values()}


def cases(size: str, settings: int = 6) -> Iterator[Case]:
    """Every cell of one size of the matrix, in so many settings of dtype and attention."""
    works = {"shrunken": ((331, 6, 2), (64, 4, 1)), "shallow": ((700, 16, 2), (60, 4, 1)), "full": ((2048, 128, 1),)}
    cells = [("bf16", "sdpa"), ("fp16", "eager"), ("fp32", "sdpa"), ("bf16", "eager"), ("fp16", "sdpa"),
             ("fp32", "eager")]  # fmt: skip
    # cell by cell, so that a run that is stopped has seen every model
    for prompt, new, batch in works[size]:
        for dtype, attention in cells[:settings]:
            for name in configurations(size):
                yield Case(size=size, model=name, dtype=dtype, attention=attention, prompt=prompt, new=new, batch=batch)


def compare(case: Case) -> tuple[list[MatrixRow], str]:
    """The rows of one case, or why it has none."""
    from gpufit.facts.read import parse_config
    from gpufit.replay.front import replay_config

    raw = configurations(case.size)[case.model]
    try:
        architecture = parse_config(raw)
        positions = architecture.max_context_tokens or case.prompt + case.new
        tokens = min(case.prompt, max(positions - case.new, 1))
        if architecture.stacks[0].mixer and case.size != "full":
            tokens = min(tokens, 200)  # scans in plain torch go token by token
        work = Workload(
            prompt_tokens=tokens, new_tokens=case.new, batch=case.batch, dtype=case.dtype,
            attention=case.attention,  # type: ignore[arg-type]
        )  # fmt: skip
        if not architecture.is_encoder_decoder and any(layers.kind == "cross" for layers in architecture.cache):
            return [], "its cross-attention keeps a picture, and a replay gives it text alone"
        replay = replay_config(raw, work)
    except GpufitError as problem:
        return [], str(problem)
    return [
        MatrixRow(
            case=case, form=architecture.form, phase=phase.peak.phase, replayed_bytes=phase.peak.above_bytes,
            closed_form_bytes=phase.closed_form_bytes, torch=replay.torch_version.partition("+")[0],
            transformers=replay.transformers_version,
        )
        for phase in replay.phases
    ], ""  # fmt: skip


def main() -> None:
    """Fill the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=["shrunken"], choices=["shrunken", "shallow", "full"])
    parser.add_argument("--only", default="", help="cases whose model's name holds this")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--settings", type=int, default=6, help="how many pairs of dtype and attention (all 6)")
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    options = parser.parse_args()
    wanted = [case for size in options.sizes for case in cases(size, options.settings) if options.only in case.model]
    before = read_matrix(MATRIX) if MATRIX.exists() else []
    rows: list[MatrixRow] = []
    missing: list[tuple[Case, str]] = []
    done: set[tuple[Any, ...]] = set()
    for case, (found, reason) in run_apart(compare, wanted, options.workers):
        rows += found
        missing += [(case, reason)] if reason else []
        done.add(case.key)
        cells = [f"{row.phase} {row.difference:+.2%}" for row in found if row.difference is not None]
        print(case.model, case.size, case.dtype, case.attention, case.prompt, *cells, reason, flush=True)
        if not options.dry and (len(done) % 20 == 0 or len(done) == len(wanted)):
            write_matrix(MATRIX, [*(row for row in before if row.case.key not in done), *rows])
            write_missing(done, missing)


def write_missing(done: set[tuple[Any, ...]], missing: list[tuple[Case, str]]) -> None:
    """Model, size, dtype, attention and reason of what could not be replayed, each reason of a model once."""
    import csv

    kept = []
    if MISSING.exists():
        with MISSING.open(encoding="utf-8", newline="") as file:
            touched = {(key[0], key[1]) for key in done}
            kept = [row for row in csv.reader(file) if row[0] != "size" and (row[0], row[1]) not in touched]
    fresh = sorted({(case.size, case.model, case.dtype, reason) for case, reason in missing})
    with MISSING.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("size", "model", "dtype", "reason"), *sorted(map(tuple, kept)), *fresh]
        )


if __name__ == "__main__":
    main()
