"""What is trained and how: one frozen record, with the defaults of transformers' Trainer and of peft."""

from __future__ import annotations

from typing import Literal, get_args

from gpufit.memory.runtime import RuntimeFact
from gpufit.memory.workload import AttentionKernel, Quantization
from gpufit.records import record

Method = Literal["full", "lora", "qlora"]
Precision = Literal["fp32", "bf16", "fp16", "amp-bf16", "amp-fp16"]
Optimizer = Literal[
    "adamw-fused", "adamw-foreach", "adamw-loop", "adamw-8bit", "paged-adamw-8bit", "paged-adamw-32bit",
    "adafactor", "sgd", "sgd-momentum", "lion", "lion-8bit", "galore",
]  # fmt: skip
Checkpointing = Literal["none", "full", "selective"]
Loss = Literal["full", "chunked", "fused"]
Sharding = Literal["none", "ddp", "fsdp1", "fsdp2", "zero1", "zero2", "zero3", "pipeline"]
Offload = Literal["none", "optimizer", "all"]
Kernels = Literal["none", "fms", "liger"]
Engine = Literal["transformers", "litgpt", "torchtune", "torchtune-0.2", "torchtitan"]  # 0.2 and before: see loss.py

METHODS: tuple[Method, ...] = get_args(Method)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
CHECKPOINTINGS: tuple[Checkpointing, ...] = get_args(Checkpointing)
LOSSES: tuple[Loss, ...] = get_args(Loss)
SHARDINGS: tuple[Sharding, ...] = get_args(Sharding)
OFFLOADS: tuple[Offload, ...] = get_args(Offload)

DEFAULT_MICRO_BATCH = 8  # transformers 5.23.0, training_args.py, per_device_train_batch_size
DEFAULT_SEQUENCE_TOKENS = 1024  # trl's SFTConfig.max_length; the Trainer itself knows none
DEFAULT_LORA_R = 8  # peft 0.21.2, tuners/lora/config.py, LoraConfig.r
DEFAULT_OPTIMIZER: Optimizer = "adamw-fused"  # transformers 5.23.0, training_args.py, default_optim with torch >= 2.8
ALL_LINEAR = "all-linear"

_CAST_BACK = ("lm_head", "embed_tokens", "wte", "wpe")  # trl 0.13.0, trainer/utils.py:872, peft_module_casting_to_bf16
_QUERY_VALUE = ("q_proj", "v_proj")
_BERT_LIKE = ("query", "value")
LORA_DEFAULT_TARGETS: dict[str, tuple[str, ...]] = {
    # peft 0.21.2, utils/constants.py, TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING; a test holds the two equal
    "t5": ("q", "v"), "mt5": ("q", "v"), "bart": _QUERY_VALUE, "gpt2": ("c_attn",), "bloom": ("query_key_value",),
    "blip-2": ("q", "v", "q_proj", "v_proj"), "opt": _QUERY_VALUE, "gptj": _QUERY_VALUE,
    "gpt_neox": ("query_key_value",), "gpt_neo": _QUERY_VALUE, "bert": _BERT_LIKE, "roberta": _BERT_LIKE,
    "xlm-roberta": _BERT_LIKE, "electra": _BERT_LIKE, "deberta-v2": ("query_proj", "value_proj"),
    "deberta": ("in_proj",), "layoutlm": _BERT_LIKE, "llama": _QUERY_VALUE, "llama4": _QUERY_VALUE,
    "chatglm": ("query_key_value",), "gpt_bigcode": ("c_attn",), "mpt": ("Wqkv",),
    "RefinedWebModel": ("query_key_value",), "RefinedWeb": ("query_key_value",), "falcon": ("query_key_value",),
    "btlm": ("c_proj", "c_attn"), "codegen": ("qkv_proj",), "mistral": _QUERY_VALUE, "mixtral": _QUERY_VALUE,
    "stablelm": _QUERY_VALUE, "phi": ("q_proj", "v_proj", "fc1", "fc2"), "gemma": _QUERY_VALUE,
    "gemma2": _QUERY_VALUE, "gemma3_text": _QUERY_VALUE, "gemma4": (r".*language_model\..*\.(q_proj|v_proj)",),
    "qwen2": _QUERY_VALUE, "qwen3": _QUERY_VALUE, "nemotron_h": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "rwkv": ("key", "value", "receptance", "output"),
    "rwkv7": ("r_proj", "k_proj", "v_proj", "o_proj", "key", "value"),
}  # fmt: skip


@record
class TrainingPlan:
    """One micro-batch of training, repeated ``grad_accum`` times a step.

    ``precision`` says what the arithmetic runs in: ``fp32``, ``bf16`` and ``fp16`` mean weights and arithmetic in that
    format without autocast; ``amp-*`` is autocast over weights in ``weight_dtype``. ``weight_dtype`` is the format of
    the base weights (None: that of ``precision``, fp32 under autocast, for LoRA its 16-bit format);
    ``adapter_dtype`` that of what peft adds (None: fp32, by its ``autocast_adapter_dtype``).

    ``lora_targets`` are module-name endings, or ``("all-linear",)``, or None for peft's choice by family.
    ``kbit_prepare`` is peft's prepare_model_for_kbit_training, which lifts every tensor that is not quantized to fp32.
    ``loss`` says whether the logits are ever whole: ``full`` (the Trainer's own), ``chunked`` (an eighth of
    the tokens at a time: its fp32 copy and log-softmax, as torchtune does), ``fused`` (linear layer and cross-entropy
    in one kernel, as liger does: no logits are kept, the gradients of hidden states and output weight are). Both are
    held by arithmetic alone, on causal decoders; encoders and encoder-decoders take the full loss.
    ``packing`` means that sequences are filled without padding, so that no mask is made. ``labels_tokens`` is the
    decoder's length of an encoder-decoder (None: ``seq``).

    ``driver_context`` is what was measured on this very device (None: the table's range).

    The last fields describe how past measurements were made: versions of the libraries (None: the current ones), the
    ``engine`` whose modelling code ran, ``fused_kernels`` of norms, rotary embedding and loss (of the MLP too in
    liger's), ``torch.compile``. ``keeps_outputs`` is True for
    a loop that holds the model's output, and with it the logits, until the next step; the Trainer does not.
    ``steps_in_backward`` is True where each weight is updated, and its gradient dropped, as soon as it is made,
    ``embeddings_cast_back`` where embeddings and head return to 16 bit after the k-bit preparation,
    ``expands_keys`` where grouped keys and values are repeated before the attention kernel, ``prefetches`` where FSDP1
    gathers the next block of the way back ahead of time (BACKWARD_PRE, as gpufit's own configuration file says).
    """

    method: Method = "full"
    micro_batch: int = DEFAULT_MICRO_BATCH
    seq: int = DEFAULT_SEQUENCE_TOKENS
    grad_accum: int = 1
    precision: Precision = "bf16"
    weight_dtype: str | None = None
    optimizer: Optimizer = DEFAULT_OPTIMIZER
    checkpointing: Checkpointing = "none"
    attention: AttentionKernel = "sdpa"
    lora_r: int = DEFAULT_LORA_R
    lora_targets: tuple[str, ...] | None = None
    lora_dropout: bool = False
    modules_to_save: tuple[str, ...] = ()
    dora: bool = False
    adapter_dtype: str | None = None
    quant: Quantization = "none"
    kbit_prepare: bool = False
    loss: Loss = "full"
    packing: bool = False
    labels_tokens: int | None = None
    gpus: int = 1
    sharding: Sharding = "none"
    offload: Offload = "none"
    galore_rank: int = 128
    compute_capability: tuple[int, int] | None = None
    driver_context: RuntimeFact | None = None
    library_version: str | None = None
    torch_version: str | None = None
    engine: Engine = "transformers"
    fused_kernels: Kernels = "none"
    compiled: bool = False
    keeps_outputs: bool = False
    steps_in_backward: bool = False
    embeddings_cast_back: bool = False
    expands_keys: bool = False
    prefetches: bool = True

    @property
    def autocast(self) -> bool:
        """Whether the forward pass runs under torch.autocast."""
        return self.precision.startswith("amp-")

    @property
    def compute_dtype(self) -> str:
        """The format of matrix products.

        >>> TrainingPlan(precision="amp-bf16").compute_dtype, TrainingPlan(precision="fp32").compute_dtype
        ('bf16', 'fp32')
        """
        return self.precision.removeprefix("amp-")

    @property
    def base_dtype(self) -> str:
        """The format that the base weights are loaded in, before any k-bit preparation.

        >>> TrainingPlan(precision="amp-bf16").base_dtype, TrainingPlan(method="lora", precision="amp-bf16").base_dtype
        ('fp32', 'bf16')
        """
        if self.weight_dtype is not None:
            return self.weight_dtype
        return "fp32" if self.autocast and self.method == "full" else self.compute_dtype

    @property
    def copied_dtype(self) -> str:
        """The format of modules_to_save: a copy of the base module, lifted with it by the k-bit preparation."""
        return "fp32" if self.kbit_prepare else self.base_dtype

    def lifts(self, name: str) -> bool:
        """Whether the k-bit preparation leaves that tensor, which is not quantized, in fp32.

        >>> plan = TrainingPlan(method="qlora", kbit_prepare=True, embeddings_cast_back=True)
        >>> plan.lifts("model.norm.weight"), plan.lifts("lm_head.weight")
        (True, False)
        """
        return self.kbit_prepare and not (self.embeddings_cast_back and any(part in name for part in _CAST_BACK))

    @property
    def tokens(self) -> int:
        """Tokens of one micro-batch."""
        return self.micro_batch * self.seq

    @property
    def frozen_units(self) -> bool:
        """Whether FSDP1's units are frozen blocks: peft's fsdp_auto_wrap_policy gives adapters units of their own."""
        return self.trains_adapters and self.gpus > 1 and self.sharding == "fsdp1"

    @property
    def trains_adapters(self) -> bool:
        """Whether the base weights are frozen and only adapters learn."""
        return self.method != "full"

    def targets_for(self, model_type: str) -> tuple[str, ...]:
        """The module-name endings that carry adapters: as said, peft's choice for the family, or every linear layer.

        >>> TrainingPlan(method="lora").targets_for("gpt2")
        ('c_attn',)
        """
        if self.lora_targets is not None:
            return self.lora_targets
        return LORA_DEFAULT_TARGETS.get(model_type, (ALL_LINEAR,))
