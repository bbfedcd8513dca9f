"""Every published configuration held against transformers: a table of families. Run by hand.

    python tests/facts/config_table.py ../shared/configs [table.md]

A configuration is *exact* where each tensor that transformers builds on the meta device (name, shape, what it is tied
to, which modules are linear, buffers) is what the reader says. It is *explained* where transformers cannot build it or
builds something else for a reason that is known, and the published count is met instead; *unproved* where transformers
has no class and no count was published; *refused* where gpufit says that it does not know the family. Whatever remains
*differs* and is listed; the exit code is then 1.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare import differences
from oracle import build

from gpufit.errors import Undecided
from gpufit.facts.read import parse_config

KINDS = ("exact", "explained", "unproved", "refused", "differs")
EXPLAINED = {
    "t5": "transformers 5 ties the output matrix of every T5; checkpoints that store one of their own keep it",
    "mt5": "as T5", "umt5": "as T5",
}  # fmt: skip
BUILT_AS = {"minimax_m3": ("minimax_m3_vl_text", "MiniMaxM3VLForCausalLM")}  # what the reader says it mirrors
CARD_TOTALS = {  # of the model cards' safetensors, where the index has none
    "microsoft__Phi-3.5-vision-instruct.json": 4_146_621_440,
    "nvidia__Llama-3_3-Nemotron-Super-49B-v1.json": 49_867_145_216,
}
OWN_CODE = "its class lies beside the checkpoint; the published count is met"


def main(folder: Path, target: Path | None) -> int:
    """Print the table, or write it to ``target``."""
    with (folder / "INDEX.csv").open(newline="", encoding="utf-8") as index:
        rows = list(csv.DictReader(index))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    wrong = []
    for row in rows:
        raw = json.loads((folder / row["file"]).read_text(encoding="utf-8"))
        kind, reason = judge(raw, row)
        counts[row["model_type"]][kind] += 1
        if reason:
            reasons[row["model_type"]][reason] += 1
        if kind == "differs":
            wrong.append(f"{row['file']}: {reason}")
        print(f"{row['file']}: {kind} {reason}", file=sys.stderr)
    text = "\n".join([*table(counts, reasons), "", *wrong])
    if target is None:
        print(text)
    else:
        target.write_text(text + "\n", encoding="utf-8")
    return int(bool(wrong))


def judge(raw: Mapping[str, Any], row: Mapping[str, str]) -> tuple[str, str]:
    """One of ``KINDS`` and why, where that is not plain."""
    try:
        ours = parse_config(_in_one_dtype(raw))
    except Undecided as error:
        return "refused", error.message
    try:
        model_type, model_class = BUILT_AS.get(row["model_type"], (row["model_type"], ours.model_class))
        truth = build({**_in_one_dtype(raw), "model_type": model_type}, model_class)
    except (ValueError, AttributeError, TypeError, ImportError, KeyError) as problem:
        published = published_count(row)
        if not published:
            return "unproved", f"transformers has no {ours.model_class}, and no count is published"
        met = published == ours.parameters
        return ("explained", OWN_CODE) if met else ("differs", f"not built ({problem!s:.80}), count not met")
    found = differences(ours, truth)
    if not found:
        return "exact", ""
    reason = EXPLAINED.get(row["model_type"], "")
    if reason and published_count(row) == ours.parameters:
        return "explained", reason
    return "differs", f"{len(found)}: {'; '.join(found[:3])}"[:300]


def published_count(row: Mapping[str, str]) -> int:
    """The count that the index gives: recomputed, else published; 0 where it gives none."""
    published = re.match(r"\d+(?![\dM])", row["published_param_count"])
    return int(row["computed_param_count"] or (published[0] if published else CARD_TOTALS.get(row["file"], 0)))


def _in_one_dtype(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without number formats: parts that state their own would be built in it, unlike the rest."""
    return {
        key: _in_one_dtype(value) if isinstance(value, Mapping) else value
        for key, value in raw.items()
        if key not in ("dtype", "torch_dtype")
    }


def table(counts: Mapping[str, Counter[str]], reasons: Mapping[str, Counter[str]]) -> list[str]:
    """Markdown: a line a family, the totals last."""
    lines = [f"| family | configurations | {' | '.join(KINDS)} | why |", "|---|---:|---:|---:|---:|---:|---:|---|"]
    for family in sorted(counts):
        found = counts[family]
        cells = " | ".join(str(found[kind] or "") for kind in KINDS)
        lines.append(f"| {family} | {found.total()} | {cells} | {'; '.join(reasons[family])} |")
    total: Counter[str] = sum(counts.values(), Counter())
    cells = " | ".join(str(total[kind]) for kind in KINDS)
    return [*lines, f"| **{len(counts)} families** | {total.total()} | {cells} | |"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
