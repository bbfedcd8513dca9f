"""State-space decoders: Mamba, Falcon-Mamba and Mamba-2 (transformers 5.23.0), without the optional CUDA kernels."""
