"""Measures a real model of each kind on the processor, with random weights, and keeps the figures.

    python benchmarks/measure_cpu.py [MODEL ...]

Takes some minutes and 4 GB of memory, and writes docs/measured_cpu.csv; ``python docs/accuracy_page.py`` puts the table
into docs/accuracy.md. With names only these are measured, and the other rows stay.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpufit.api_runs import measure
from gpufit.verdict.plan import Request

TABLE = Path(__file__).parents[1] / "docs" / "measured_cpu.csv"
COLUMNS = (
    "kind",
    "model",
    "format",
    "batch",
    "prompt",
    "new",
    "stage",
    "measured_bytes",
    "estimated_bytes",
    "versions",
)
MODELS = (
    ("decoder", "gpt2", "fp32"), ("decoder", "smollm2-135m", "bf16"), ("decoder", "qwen2.5-0.5b", "bf16"),
    ("decoder", "pythia-160m", "fp32"), ("decoder", "opt-125m", "fp32"), ("decoder", "bloomz-560m", "bf16"),
    ("decoder, 4-bit", "qwen2.5-0.5b", "bnb-nf4"), ("decoder, 4-bit", "smollm2-135m", "bnb-nf4-dq"),
    ("decoder, 8-bit", "qwen2.5-0.5b", "bnb-int8"),
    ("mixture of experts", "small-mixtral", "fp32"),
    ("state space", "mamba-130m", "fp32"),
    ("encoder", "bert-base-uncased", "fp32"), ("encoder", "roberta-base", "fp32"),
    ("encoder", "modernbert-base", "fp32"), ("encoder", "deberta-v3-base", "fp32"),
    ("encoder-decoder", "t5-small", "fp32"), ("encoder-decoder", "bart-base", "fp32"),
    ("vision", "vit-base-patch16-224", "fp32"), ("speech", "whisper-tiny", "fp32"),
)  # fmt: skip
# the catalog's mixtures are too large for a processor: Mixtral's code with a twentieth of its width
SMALL = {
    "small-mixtral": {
        "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "hidden_size": 512,
        "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 4,
        "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000,
    },
}  # fmt: skip


def main(names: list[str]) -> None:
    """Measure, print each, write the table."""
    rows = _kept(names)
    for kind, model, form in MODELS:
        if names and model not in names:
            continue
        quantized = form.startswith("bnb-")
        generates = not kind.startswith(("encoder", "vision")) or kind == "encoder-decoder"
        plain = kind == "vision"
        request = Request(
            prompt=None if plain else 256, new_tokens=8 if generates else None, batch=2,
            dtype="fp32" if quantized else form, quant=form if quantized else None,
        )  # fmt: skip
        result = measure(_named(model), device="cpu", random_weights=True, request=request, record=False)
        found = result.measurement
        print(f"{model} {form}: {found.outcome} {found.message}", flush=True)
        versions = found.versions or {}
        for item in result.compared:
            estimated = item.estimated.likely_bytes if item.estimated else ""
            print(f"    {item.stage:<8} {item.measured_bytes:>14,} {estimated:>14,} {item.error:+.3%}", flush=True)
            rows.append(dict(zip(COLUMNS, (
                kind, model, form, found.job.batch, found.job.prompt_tokens, found.job.new_tokens, item.stage,
                item.measured_bytes, estimated, f"torch {versions['torch']}, transformers {versions['transformers']}",
            ), strict=True)))  # fmt: skip
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        order = {(model, form): place for place, (_, model, form) in enumerate(MODELS)}
        writer.writerows(sorted(rows, key=lambda row: order[row["model"], row["format"]]))


def _kept(names: list[str]) -> list[dict[str, Any]]:
    """The rows of models that are not measured anew."""
    if not names or not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [dict(row) for row in csv.DictReader(file) if row["model"] not in names]


def _named(model: str) -> str:
    """The catalog's name, or a file that holds the configuration."""
    if model not in SMALL:
        return model
    path = Path(tempfile.gettempdir()) / f"gpufit-{model}.json"
    path.write_text(json.dumps(SMALL[model]), encoding="utf-8")
    return str(path)


if __name__ == "__main__":
    main(sys.argv[1:])
