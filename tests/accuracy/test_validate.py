"""gpufit validate: what older libraries did, worked by hand, and what the command prints and returns."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from gpufit.accuracy.measurements import read_measurements
from gpufit.accuracy.published import CITATIONS, TRAINING_CITATIONS, TRAINING_TABLE
from gpufit.accuracy.training.explained import EXPLAINED
from gpufit.accuracy.validate import Validation
from gpufit.api import architecture_of, validate
from gpufit.cli.main import main
from gpufit.memory.estimate import estimate
from gpufit.memory.versions import RULES
from gpufit.memory.workload import Workload

HEAD = (
    "id,source,architecture,engine,engine_version,metric,measured_bytes,batch,prompt_tokens,new_tokens,attention,gpu\n"
)
CACHED_METRICS = ("torch_max_reserved", "nvml_process", "nvidia-smi")
SHARED = Path(__file__).parents[3] / "shared" / "measured" / "inference.csv"


def write(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(HEAD + "".join(row + "\n" for row in rows), encoding="utf-8")
    return path


def test_llama_2_7b_forward_in_4_35_worked_by_hand() -> None:
    """Batch 64 × 256 tokens: weights 13 476 831 232; per token cache 524 288, logits 32 000 × (2 + 4), hidden 8 192.

    Rotary tables of 4 096 positions in 32 layers: 32 × 2 × 4 096 × 128 × 2 = 67 108 864; workspace 8 519 680.
    Published: 25 422 MB.
    """
    tokens = 64 * 256
    by_hand = 13_476_831_232 + tokens * (524_288 + 192_000 + 8_192) + 67_108_864 + 8_519_680
    work = Workload(
        prompt_tokens=256, batch=64, attention="flash", library_version="4.35.2", all_logits=True,
        compute_capability=(8, 0),
    )  # fmt: skip
    found = estimate(architecture_of("llama-2-7b"), work).allocated.likely_bytes
    assert found - by_hand < 4 << 20  # buffers and 512-byte rounding
    assert abs(found - 25_422_018_799) / 25_422_018_799 < 0.0005


def test_before_4_42_a_step_holds_two_caches() -> None:
    architecture = architecture_of("llama-2-7b")
    work = Workload(prompt_tokens=256, new_tokens=512, library_version="4.41.2")
    later = Workload(prompt_tokens=256, new_tokens=512, library_version="4.42.0")
    grown = estimate(architecture, work).allocated.likely_bytes - estimate(architecture, later).allocated.likely_bytes
    assert grown > 700 * 524_288  # nearly the whole cache once more


def test_without_a_version_nothing_old_is_added() -> None:
    work = Workload(prompt_tokens=256, new_tokens=512)
    assert estimate(architecture_of("llama-2-7b"), work).extras == ()


def test_every_rule_names_its_file() -> None:
    assert all((".py" in rule.source or ".cu:" in rule.source) and rule.since < rule.until for rule in RULES)


def test_the_json_carries_rows_and_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], follows_schema: Callable[[object], None]
) -> None:
    path = write(
        tmp_path,
        "good,a,gpt2,transformers,,weights_only,497759232,1,1,0,,",
        "vague,a,gpt2,transformers,,mood,5,1,1,0,,",
        "broken,b,gpt2,transformers,,weights_only,many,1,1,0,,",
        "lost,b,no/such-model,transformers,,weights_only,5,1,1,0,,",
        "other,b,gpt2,vllm-next,,weights_only,5,1,1,0,,",
    )
    assert main(["validate", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    follows_schema(record)
    assert [row["status"] for row in record["rows"]] == ["covered", *["refused"] * 4]
    assert all(row["reason"] for row in record["rows"][1:])
    first = record["rows"][0]
    assert first["low_bytes"] == first["likely_bytes"] == first["high_bytes"] == 124_439_808 * 4
    assert record["summary"]["rows"] == 5
    assert record["summary"]["covered"] == 1
    assert [source["name"] for source in record["sources"]] == ["a", "b"]


@pytest.mark.parametrize(("limit", "code"), [("9", 1), ("11", 0)])
def test_limits_decide_the_exit_code(tmp_path: Path, limit: str, code: int) -> None:
    ten_percent_less = round(497_759_232 / 1.1)
    path = write(tmp_path, f"x,a,gpt2,transformers,,weights_only,{ten_percent_less},1,1,0,,")
    assert main(["validate", str(path), "--max-median", limit]) == code
    assert main(["validate", str(path), "--max-p95", limit]) == code


def test_an_unreadable_file_exits_2(tmp_path: Path) -> None:
    assert main(["validate", str(tmp_path / "none.csv")]) == 2


def test_worst_rows_show_their_breakdown_and_the_plot_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "big,<a>,gpt2,transformers,,torch_max_allocated,500000000,1,64,64,,T4")
    plot = tmp_path / "plot.svg"
    assert main(["validate", str(path), "--worst", "1", "--plot", str(plot)]) == 0
    text = capsys.readouterr().out
    assert "big: gpt2" in text
    assert "kv_cache" in text
    picture = plot.read_text(encoding="utf-8")
    assert "&lt;a&gt;" in picture
    assert "big: measured 500,000,000" in picture


def test_a_training_row_without_a_length_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "architecture,metric,measured_bytes,optimizer,engine\ngpt2,torch_max_allocated,5,adamw,transformers\n",
        encoding="utf-8",
    )
    (comparison,) = validate(path, environ={}).comparisons
    assert comparison.reason == "the row states no length of its sequences"


def test_published_figures_are_met(published: Validation) -> None:
    """Every source is cited and covered; the median stays within half a percent, and the ranges hold."""
    assert {source.name for source in published.sources} == set(CITATIONS)
    assert published.total.refused == 0
    assert published.total.median_error is not None
    assert published.total.median_error <= 0.005
    assert published.total.inside / published.total.covered >= 0.9


@pytest.mark.skipif(not SHARED.exists(), reason="the reference measurements are not beside the repository")
def test_the_reference_rows_are_covered_and_met() -> None:
    """Coverage, errors and ranges that the project promises on its reference measurements."""
    found = validate(SHARED, configs=SHARED.parents[1] / "configs", environ={"HF_HUB_OFFLINE": "1"})
    assert found.total.covered / found.total.rows >= 0.95
    assert found.total.inside / found.total.covered >= 0.95
    assert found.total.median_width is not None
    assert found.total.median_width <= 0.12
    mine = [c for c in found.comparisons if c.row.engine == "transformers" and c.error is not None
            and c.row.metric != "unknown"]  # fmt: skip
    for plain, median, p95 in ((True, 0.005, 0.03), (False, 0.015, 0.06)):
        errors = sorted(abs(c.error or 0) for c in mine if (c.row.quant_method == "none") == plain)
        assert errors[len(errors) // 2] <= median
        assert errors[len(errors) * 95 // 100] <= p95


def test_published_training_figures_are_met(published_training: Validation) -> None:
    """Every source is cited; residents within one percent, the median peak too, reserved and process in their range."""
    assert {source.name for source in published_training.sources} == set(TRAINING_CITATIONS)
    assert published_training.total.covered / published_training.total.rows >= 0.85
    sizes: dict[str, list[float]] = {}
    for c in published_training.comparisons:
        if c.error is not None:
            sizes.setdefault(c.row.metric, []).append(abs(c.error))
    for metric in ("weights_only", "resident_after_load", "gradients", "optimizer_states"):
        assert max(sizes[metric]) <= 0.014, metric
    assert statistics.median(sizes["torch_max_allocated"]) <= 0.003
    elastic = [c for c in published_training.comparisons if c.predicted and c.row.metric in CACHED_METRICS]
    assert sum(c.inside for c in elastic) / len(elastic) >= 0.9


def test_each_cause_of_a_far_row_names_a_row_of_the_table() -> None:
    ids = [row.id for row in read_measurements(TRAINING_TABLE)]
    assert [pattern for pattern, _ in EXPLAINED if not any(re.match(pattern, one) for one in ids)] == []
