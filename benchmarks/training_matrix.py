"""Training's closed forms against replays of a whole step: families x what is trained x checkpointing x attention.

    python benchmarks/training_matrix.py [shrunken] [full] [--only NAME] [--workers N] [--forms]

* ``shrunken``: the configurations of tests/memory/training/shrunken_training.py, with SGD;
* ``full``: models of the catalog as they are, with AdamW.

Rows go into docs/training_matrix.csv, old rows of the same case replaced; ``python docs/accuracy_page.py`` makes the
tables of docs/accuracy.md from it. ``--forms`` works the closed forms out anew beside the replays that lie there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from apart import run_apart

from gpufit.accuracy.matrix import Case, MatrixRow, read_matrix, write_matrix
from gpufit.errors import GpufitError
from gpufit.memory.workload import Workload
from gpufit.records import replace
from gpufit.replay.training_step import TrainingSetup

ROOT = Path(__file__).parents[1]
TRAINING_MATRIX = ROOT / "docs" / "training_matrix.csv"
WORKS = ("full", "full, checkpointed", "lora", "lora, checkpointed")
TOKENS, BATCH = 131, 2
FULL = ("gpt2", "bert-base-uncased", "roberta-large", "deberta-v3-base", "bart-base", "t5-small", "llama-3.2-1b",
        "qwen2.5-0.5b", "llama-2-7b")  # fmt: skip
FULL_TOKENS, FULL_BATCH = 512, 4


@cache
def shrunken() -> Any:
    """The module that the tests share."""
    sys.path.insert(0, str(ROOT / "tests" / "memory" / "training"))
    import shrunken_training

    return shrunken_training


@cache
def configuration(size: str, model: str) -> dict[str, Any]:
    """A configuration of one size, with the head that it trains with."""
    if size == "shrunken":
        return dict(shrunken().FAMILIES[model])
    from gpufit.facts.task_head import with_task_head
    from gpufit.sources.catalog import load_catalog

    entry = load_catalog(None, os.environ).find(model)
    if entry is None:
        raise SystemExit(f"the catalog has no {model}")
    trained = with_task_head(entry.architecture(), entry.config)
    return {**entry.config, "architectures": [trained.model_class]}


def cases(size: str) -> Iterator[Case]:
    """Every cell of one size: (bf16 full tuning, fp32 full tuning, bf16 adapters) x checkpointing x (eager, sdpa).

    fp32 takes the family's default attention alone.
    """
    if size == "full":
        for model in FULL:
            for work in ("full", "lora, checkpointed"):
                yield Case(size=size, model=model, work=work, dtype="bf16", attention="sdpa", batch=FULL_BATCH,
                           prompt=FULL_TOKENS, new=0)  # fmt: skip
        return
    for model in shrunken().FAMILIES:
        kinds = ("eager",) if model in shrunken().EAGER_ONLY else ("sdpa", "eager")
        for attention in kinds:
            for work in WORKS:
                both = work.startswith("full") and attention == kinds[0]
                for dtype in ("bf16", "fp32") if both else ("bf16",):
                    yield Case(size=size, model=model, work=work, dtype=dtype, attention=attention, batch=BATCH,
                               prompt=TOKENS, new=0)  # fmt: skip


def setup_of(case: Case) -> TrainingSetup:
    """What the replay trains, and how."""
    kind: Literal["full", "lora"] = "lora" if case.work.startswith("lora") else "full"
    small = case.size == "shrunken"
    return TrainingSetup(
        kind=kind, optimizer="sgd" if small else "adamw", checkpointing=case.work.endswith("checkpointed"),
        lora_targets=shrunken().targets(case.model) if small else None,
    )  # fmt: skip


def workload_of(case: Case) -> Workload:
    """The sequence as a prompt."""
    return Workload(
        prompt_tokens=case.prompt, new_tokens=0, batch=case.batch, dtype=case.dtype,
        attention=case.attention,  # type: ignore[arg-type]
    )  # fmt: skip


def compare(case: Case) -> tuple[list[MatrixRow], str]:
    """The rows of one case, or why it has none. With SGD the step adds nothing and has no row."""
    from gpufit.facts.read import parse_config
    from gpufit.replay.front import replay_config

    raw = configuration(case.size, case.model)
    try:
        replay = replay_config(raw, workload_of(case), training=setup_of(case))
    except GpufitError as problem:
        return [], str(problem)
    return [
        MatrixRow(
            case=case, form=parse_config(raw).form, phase=phase.peak.phase, replayed_bytes=phase.peak.above_bytes,
            closed_form_bytes=phase.closed_form_bytes, torch=replay.torch_version.partition("+")[0],
            transformers=replay.transformers_version,
        )
        for phase in replay.phases
        if phase.peak.phase != "step" or case.size == "full"
    ], ""  # fmt: skip


def with_todays_forms(rows: list[MatrixRow]) -> list[MatrixRow]:
    """The same replays beside the closed forms of today."""
    from gpufit.facts.read import parse_config
    from gpufit.replay.closed_forms import training_forms

    known: dict[Case, tuple[str, dict[str, int]]] = {}
    for case in {row.case for row in rows}:
        architecture = parse_config(configuration(case.size, case.model))
        known[case] = architecture.form, training_forms(architecture, workload_of(case), setup_of(case))
    return [replace(row, form=known[row.case][0], closed_form_bytes=known[row.case][1].get(row.phase)) for row in rows]


def main() -> None:
    """Fill the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=[], help="shrunken, full (both)")
    parser.add_argument("--only", default="", help="cases whose model's name holds this")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    parser.add_argument("--forms", action="store_true", help="the closed forms alone, no replay")
    options = parser.parse_args()
    if set(options.sizes) - {"shrunken", "full"}:
        parser.error("sizes are shrunken and full")
    if options.forms:
        write_matrix(TRAINING_MATRIX, with_todays_forms(read_matrix(TRAINING_MATRIX)))
        return
    wanted = [
        case for size in options.sizes or ("shrunken", "full") for case in cases(size) if options.only in case.model
    ]
    before = read_matrix(TRAINING_MATRIX) if TRAINING_MATRIX.exists() else []
    rows: list[MatrixRow] = []
    done: set[tuple[Any, ...]] = set()
    for case, (found, reason) in run_apart(compare, wanted, options.workers):
        rows += found
        done.add(case.key)
        cells = [f"{row.phase} {row.difference:+.2%}" for row in found if row.difference is not None]
        print(case.model, case.work, case.dtype, case.attention, *cells, reason, flush=True)
        if not options.dry and (len(done) % 50 == 0 or len(done) == len(wanted)):
            write_matrix(TRAINING_MATRIX, [*(row for row in before if row.case.key not in done), *rows])


if __name__ == "__main__":
    main()
