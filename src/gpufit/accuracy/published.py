"""The project's own tables of published figures, and where each source published them."""

from __future__ import annotations

from pathlib import Path

from gpufit.accuracy.measurements import Measurement, read_measurements

TABLE = Path(__file__).with_name("published.csv")
TRAINING_TABLE = Path(__file__).with_name("published_training.csv")
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
TRAINING_CITATIONS: dict[str, str] = {
    "litgpt-falcon": "Lightning-AI/litgpt, tutorials/prepare_dataset.md at 26857050fe",
    "litgpt-hub": "Lightning-AI/litgpt, config_hub/finetune/README.md at 26857050fe",
    "litgpt-pre": "Lightning-AI/litgpt, extensions/thunder/README.md at 26857050fe",
    "torchtune": "pytorch/torchtune, README.md at cb8e65a39c (2024-05-15), 1814feb17a (2024-11-18); pull request 961",
    "torchao": "pytorch/ao, docs/source/workflows/training.md at 36027d82d1 (2026-08-21)",
    "swift1": "modelscope/ms-swift, docs/source/LLM/Benchmark.md at cfcb67265e (2023-12-14)",
    "swift2": "modelscope/ms-swift, docs/source_en/LLM/Benchmark.md before b40f31df7c, main tables (2024-01-02)",
    "swift": "modelscope/ms-swift, docs/source_en/LLM/Benchmark.md before b40f31df7c, the table of tuners",
    "hf": "huggingface/transformers, docs/source/en/perf_train_gpu_one.mdx at 0016acf7ef",
    "peft": "huggingface/peft, method_comparison/MetaMathQA/results and docs/source/accelerate/deepspeed.md at "
    "5d602fdbff (2026-08-21)",
    "fms": "foundation-model-stack/fms-acceleration, scripts/benchmarks/refs/a100_80gb.csv at 876e2ed6fc (2025-02-07)",
    "fmsl": "foundation-model-stack/fms-acceleration, scripts/benchmarks/refs/a100_80gb_liger.csv at 876e2ed6fc "
    "(2024-12-03)",
    "fitcheck-sweep": "Anassbzdd/fitcheck, data/measurements/t4-sweep-2026-09-15.json at 1e72b19a3b",
    "fitcheck-phase3": "Anassbzdd/fitcheck, data/measurements/t4-phase3-2026-09-16.json at 1e72b19a3b",
    "fitcheck-qlora": "Anassbzdd/fitcheck, data/measurements/t4-qlora-2026-09-01.json at 02ebe015ad",
    "fitcheck-notebook": "Anassbzdd/fitcheck, fitcheck_infer.ipynb at bc8686ab0c (run of 2026-09-10), whole MiB",
}


def published_measurements() -> tuple[Measurement, ...]:
    """Every row of the table.

    >>> sorted({row.source for row in published_measurements()}) == sorted(CITATIONS)
    True
    """
    return read_measurements(TABLE)
