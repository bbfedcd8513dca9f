"""Hybrid decoders: recurrent mixers beside attention (Jamba, Bamba, Granite 4, Nemotron-H, Qwen3-Next, LFM2)."""
