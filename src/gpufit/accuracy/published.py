"""The project's own table of published figures, and where each source published them."""

from __future__ import annotations

from pathlib import Path

from gpufit.accuracy.measurements import Measurement, read_measurements

TABLE = Path(__file__).with_name("published.csv")
CITATIONS: dict[str, str] = {
    "qwen1.5-speed": "QwenLM/Qwen3, docs/source/benchmark/hf_infer.rst at 14544eb0f7",
    "qwen2-speed": "QwenLM/Qwen3, docs/source/benchmark/speed_benchmark.rst at 5c4e69cb61",
    "gptq-for-llama": "qwopqwop200/GPTQ-for-LLaMa, README.md at e985b700 (2023-08-05)",
    "optimum-benchmark": "huggingface/optimum-benchmark, examples/running-llamas, running-mistrals, running-vicunas at "
    "9a0db86b (2023-10-31) and 450f5b810d (2023-12-01)",
    "optimum-gptq": "huggingface/optimum, tests/benchmark/README.md at 87fcf9f0 (2023-11-01)",
    "autoawq": "casper-hansen/AutoAWQ, README.md at 0.1.6, 0.1.8 and 2023-10-28",
    "exllama": "turboderp/exllama, README.md (2023-09-12)",
    "torchao": "pytorch/ao, README.md of torchao/quantization and of torchao/_models/llama (gpt-fast, plain weights)",
    "llm-d-planner": "llm-d-incubation/llm-d-planner, docs/empirical-vllm-memory-results.md",
    "vllm-logs": "logs in vllm-project/vllm pull requests 3120, 10511, 12126, issues 6746, 10517, 12529, 13061, 15815; "
    "nlzy/vllm-gfx906 issue 10; genlm/genlm-backend issue 10; kyuz0/amd-strix-halo-vllm-toolboxes 5; hiyouga/EasyR1 "
    "issue 69; mlcommons/inference 2310",
    "llama.cpp-ci": "ggml-org/ci, a log of bge-small",
    "transformers-benchmark": "huggingface/transformers, docs/source/benchmarks.md at 05c408e31e3d",
    "fitcheck": "Anassbzdd/fitcheck, fitcheck_infer.ipynb at bc8686ab0c (run of 2026-09-10)",
}


def published_measurements() -> tuple[Measurement, ...]:
    """Every row of the table.

    >>> sorted({row.source for row in published_measurements()}) == sorted(CITATIONS)
    True
    """
    return read_measurements(TABLE)
