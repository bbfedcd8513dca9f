"""Picture and text towers: ViT, DINOv2, CLIP, SigLIP, alone, in pairs, or before a language model's prefill."""
