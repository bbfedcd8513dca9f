"""Small configurations, one of each kind, whose temporaries are no trifle beside their weights."""

from __future__ import annotations

from typing import Any

LLAMA: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 688,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 8000,
    "max_position_embeddings": 2048,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "decoder": LLAMA,
    "decoder with learned positions": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 256, "n_layer": 4, "n_head": 8,
        "vocab_size": 8000, "n_positions": 1024,
    },
    "mixture of experts": {
        "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "hidden_size": 128,
        "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 4,
        "num_local_experts": 4, "num_experts_per_tok": 2, "vocab_size": 4000, "sliding_window": None,
    },
    "encoder": {
        "model_type": "bert", "architectures": ["BertModel"], "hidden_size": 256, "intermediate_size": 1024,
        "num_hidden_layers": 4, "num_attention_heads": 8, "vocab_size": 8000,
    },
    "encoder-decoder": {
        "model_type": "bart", "architectures": ["BartForConditionalGeneration"], "d_model": 256, "encoder_layers": 3,
        "decoder_layers": 3, "encoder_attention_heads": 8, "decoder_attention_heads": 8, "encoder_ffn_dim": 1024,
        "decoder_ffn_dim": 1024, "vocab_size": 8000, "max_position_embeddings": 512, "decoder_start_token_id": 2,
    },
    "vision": {
        "model_type": "vit", "architectures": ["ViTModel"], "hidden_size": 192, "intermediate_size": 768,
        "num_hidden_layers": 4, "num_attention_heads": 6, "image_size": 224, "patch_size": 16,
    },
    "speech": {
        "model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"], "d_model": 128,
        "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "vocab_size": 4000, "num_mel_bins": 80,
        "max_source_positions": 500, "max_target_positions": 448, "decoder_start_token_id": 1, "pad_token_id": 0,
    },
    "state space": {
        "model_type": "mamba", "architectures": ["MambaForCausalLM"], "hidden_size": 256, "num_hidden_layers": 4,
        "state_size": 16, "vocab_size": 8000,
    },
}  # fmt: skip
