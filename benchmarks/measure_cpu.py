"""Measures a real model of each kind on the processor, with random weights, and keeps the figures.

    python benchmarks/measure_cpu.py [MODEL ...]

Takes some minutes and 8 GB of memory, and writes docs/measured_cpu.csv; ``python docs/accuracy_page.py`` puts its
tables into docs/accuracy.md. With names only these are measured, and the other rows stay.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpufit.api_runs import measure
from gpufit.measure.front import Measured
from gpufit.verdict.plan import Request
from gpufit.verdict.training_plan import TrainingRequest

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
# kind, model, how it is trained: two sequences of 256 tokens, fp32 arithmetic, eager attention
TRAINED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("decoder", "gpt2", {"train": "full"}),
    ("decoder", "smollm2-135m", {"train": "full", "optimizer": "adamw-8bit", "checkpointing": "full"}),
    ("decoder", "pythia-160m", {"train": "lora", "lora_targets": "all-linear"}),
    ("decoder, 4-bit", "smollm2-135m", {"train": "qlora", "quant": "bnb-nf4"}),
    ("decoder, 4-bit", "qwen2.5-0.5b", {"train": "qlora", "quant": "bnb-nf4-dq"}),
    ("decoder, 8-bit", "smollm2-135m", {"train": "qlora", "quant": "bnb-int8"}),
    ("mixture of experts", "small-mixtral", {"train": "full", "optimizer": "adafactor"}),
    ("mixture of experts, 4-bit", "small-mixtral", {"train": "qlora", "quant": "bnb-nf4"}),
    ("encoder", "bert-base-uncased", {"train": "full", "checkpointing": "full"}),
    ("encoder", "roberta-base", {"train": "lora"}),
    ("encoder, 4-bit", "bert-base-uncased", {"train": "qlora", "quant": "bnb-nf4"}),
    ("encoder-decoder", "t5-small", {"train": "full", "grad_accum": 2}),
    ("encoder-decoder", "bart-base", {"train": "lora", "optimizer": "sgd-momentum"}),
    ("encoder-decoder, 4-bit", "t5-small", {"train": "qlora", "quant": "bnb-nf4"}),
)
_WORDS = {"checkpointing": "checkpointing", "grad_accum": "{} micro-batches", "lora_targets": "adapters on {}"}
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
        request = Request(
            prompt=None if kind == "vision" else 256, new_tokens=8 if generates else None, batch=2,
            dtype="fp32" if quantized else form, quant=form if quantized else None,
        )  # fmt: skip
        result = measure(_named(model), device="cpu", random_weights=True, request=request, record=False)
        rows += _rows(result, kind, model, form)
    for kind, model, how in TRAINED:
        if names and model not in names:
            continue
        asked = TrainingRequest(micro_batch=2, seq=256, precision="fp32", **how)
        result = measure(_named(model), device="cpu", random_weights=True, training=asked, record=False)
        rows += _rows(result, kind, model, _in_words(how))
    order = [(kind, model, form) for kind, model, form in MODELS]
    order += [(kind, model, _in_words(how)) for kind, model, how in TRAINED]
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: order.index((row["kind"], row["model"], row["format"]))))


def _in_words(how: dict[str, Any]) -> str:
    return ", ".join(_WORDS.get(name, "{}").format(value) for name, value in how.items())


def _rows(result: Measured, kind: str, model: str, form: str) -> list[dict[str, Any]]:
    """One row a stage."""
    found = result.measurement
    print(f"{model} {form}: {found.outcome} {found.message}", flush=True)
    versions = found.versions or {}
    rows = []
    for item in result.compared:
        estimated = item.estimated.likely_bytes if item.estimated else ""
        print(f"    {item.stage:<8} {item.measured_bytes:>14,} {estimated:>14,} {item.error:+.3%}", flush=True)
        rows.append(dict(zip(COLUMNS, (
            kind, model, form, found.job.batch, found.job.prompt_tokens, found.job.new_tokens, item.stage,
            item.measured_bytes, estimated, f"torch {versions['torch']}, transformers {versions['transformers']}",
        ), strict=True)))  # fmt: skip
    return rows


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
