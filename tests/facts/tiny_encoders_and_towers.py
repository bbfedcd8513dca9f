"""Shrunken configurations of encoders, encoder-decoders, towers and the models that hold them.

Dimensions differ from each other wherever the family allows, so that one read from the wrong key shows.
"""

from __future__ import annotations

from typing import Any

Raw = dict[str, Any]
IDS: Raw = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LABELS: Raw = {"id2label": {str(i): f"LABEL_{i}" for i in range(5)}}
BERT: Raw = {
    "vocab_size": 101, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 36, **IDS,
}  # fmt: skip
NARROW: Raw = {**BERT, "embedding_size": 16, "type_vocab_size": 3}
DISTIL: Raw = {
    "vocab_size": 101, "dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 40, "max_position_embeddings": 36, **IDS,
}  # fmt: skip
DEBERTA_V3: Raw = {
    **BERT, "relative_attention": True, "position_buckets": 8, "max_relative_positions": -1, "share_att_key": True,
    "norm_rel_ebd": "layer_norm", "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0, "position_biased_input": False,
    "pooler_hidden_size": 24,
}  # fmt: skip
DEBERTA_V2: Raw = {
    **NARROW, "relative_attention": True, "pos_att_type": "p2c|c2p", "max_relative_positions": 20,
    "conv_kernel_size": 3,
}  # fmt: skip
DEBERTA_V1: Raw = {
    **BERT, "relative_attention": True, "max_relative_positions": -1, "pos_att_type": ["c2p", "p2c"],
    "type_vocab_size": 0, "position_biased_input": False,
}  # fmt: skip
BART: Raw = {
    "vocab_size": 101, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 6, "encoder_ffn_dim": 40, "decoder_ffn_dim": 56, "max_position_embeddings": 36, **IDS,
}  # fmt: skip
LED: Raw = {**BART, "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 20, "attention_window": 8}
T5: Raw = {
    "vocab_size": 101, "d_model": 24, "d_kv": 10, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4,
    "relative_attention_num_buckets": 12, "pad_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
WHISPER: Raw = {**BART, "num_mel_bins": 20, "max_source_positions": 30, "max_target_positions": 18}
WAVES: Raw = {
    "vocab_size": 31, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
    "conv_dim": [12, 20, 28], "conv_kernel": [5, 3, 2], "conv_stride": [3, 2, 2], "num_conv_pos_embeddings": 9,
    "num_conv_pos_embedding_groups": 6, "num_codevectors_per_group": 7, "codevector_dim": 18,
    "proj_codevector_dim": 22, "classifier_proj_size": 14, **LABELS,
}  # fmt: skip
ADAPTED: Raw = {
    **WAVES, "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True, "adapter_attn_dim": 16,
    "add_adapter": True, "output_hidden_size": 26, "num_adapter_layers": 2,
}  # fmt: skip
VIT: Raw = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
CLIP_TEXT: Raw = {
    "vocab_size": 101, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 8, "intermediate_size": 56,
    "max_position_embeddings": 12, **IDS,
}  # fmt: skip
TEXT: Raw = {
    "vocab_size": 103, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 56, "max_position_embeddings": 64, **IDS,
}  # fmt: skip
MOE: Raw = {**TEXT, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "head_dim": 8}
DELTA: Raw = {
    **TEXT, "num_hidden_layers": 4, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "head_dim": 16,
}  # fmt: skip
QWEN_TOWER: Raw = {"depth": 2, "num_heads": 2, "patch_size": 4, "hidden_size": 24, "intermediate_size": 40}
PIXTRAL: Raw = {**VIT, "model_type": "pixtral", "head_dim": 6}
SIGLIP: Raw = {**VIT, "model_type": "siglip_vision_model", "vision_use_head": False}
CLIP: Raw = {**VIT, "model_type": "clip_vision_model"}
MLLAMA_TOWER: Raw = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_global_layers": 3, "attention_heads": 4, "intermediate_size": 40,
    "image_size": 16, "patch_size": 4, "max_num_tiles": 2, "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
    "vision_output_dim": 72, "intermediate_layers_indices": [0, 1],
}  # fmt: skip
LLAMA4_TOWER: Raw = {**VIT, "vision_output_dim": 20, "projector_input_dim": 20, "projector_output_dim": 20}
LLAMA4_TEXT: Raw = {
    **TEXT, "head_dim": 8, "num_hidden_layers": 4, "intermediate_size_mlp": 48, "num_local_experts": 4,
    "interleave_moe_layer_step": 2,
}  # fmt: skip
GEMMA4: Raw = {
    **TEXT, "num_hidden_layers": 8, "head_dim": 8, "global_head_dim": 16, "hidden_size_per_layer_input": 6,
    "vocab_size_per_layer_input": 50, "sliding_window": 9,
    "layer_types": ["sliding_attention", "full_attention"] * 4,
}  # fmt: skip
GEMMA4_TOWER: Raw = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
    "intermediate_size": 40, "patch_size": 4, "position_embedding_size": 50,
}  # fmt: skip

ENCODERS: list[tuple[str, str, Raw]] = [
    *(("bert", f"Bert{head}", {**BERT, **LABELS}) for head in (
        "Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification", "ForTokenClassification",
        "ForQuestionAnswering")),
    ("bert", "BertForMaskedLM", {**BERT, "tie_word_embeddings": False}),
    *(("roberta", f"Roberta{head}", BERT) for head in ("Model", "ForMaskedLM", "ForSequenceClassification")),
    ("roberta", "RobertaForTokenClassification", {**BERT, **LABELS}),
    *(("xlm-roberta", f"XLMRoberta{head}", BERT) for head in ("Model", "ForMaskedLM", "ForSequenceClassification")),
    ("xlm-roberta", "XLMRobertaForQuestionAnswering", BERT),
    *(("camembert", f"Camembert{head}", BERT) for head in ("Model", "ForMaskedLM", "ForTokenClassification")),
    *(("electra", f"Electra{head}", NARROW) for head in (
        "Model", "ForPreTraining", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")),
    ("electra", "ElectraForPreTraining", {**BERT, "embedding_size": 24}),
    *(("distilbert", f"DistilBert{head}", DISTIL) for head in (
        "Model", "ForMaskedLM", "ForSequenceClassification", "ForQuestionAnswering")),
    *(("mpnet", f"MPNet{head}", {**BERT, "relative_attention_num_buckets": 12}) for head in (
        "Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")),
    *(("albert", f"Albert{head}", {**NARROW, "num_hidden_groups": 2, "inner_group_num": 2}) for head in (
        "Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification", "ForQuestionAnswering")),
    *(("deberta-v2", f"DebertaV2{head}", DEBERTA_V3) for head in (
        "Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")),
    ("deberta-v2", "DebertaV2Model", DEBERTA_V2),
    ("deberta-v2", "DebertaV2ForMaskedLM", {**DEBERTA_V3, "legacy": False}),
    *(("deberta", f"Deberta{head}", DEBERTA_V1) for head in ("Model", "ForMaskedLM", "ForSequenceClassification")),
    ("deberta", "DebertaForMaskedLM", {**DEBERTA_V1, "legacy": False}),
    ("deberta", "DebertaModel", {**DEBERTA_V1, "talking_head": True, "type_vocab_size": 2}),
    *(("modernbert", f"ModernBert{head}", {**BERT, **LABELS}) for head in (
        "Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")),
    ("modernbert", "ModernBertForMaskedLM", {
        **BERT, "norm_bias": True, "attention_bias": True, "mlp_bias": True, "decoder_bias": False,
        "classifier_bias": True, "global_attn_every_n_layers": 1}),
    *(("nomic_bert", f"NomicBert{head}", BERT) for head in (
        "Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")),
]  # fmt: skip

SEQ2SEQ: list[tuple[str, str, Raw]] = [
    *(("bart", f"Bart{head}", BART) for head in ("Model", "ForConditionalGeneration", "ForSequenceClassification")),
    *(("mbart", f"MBart{head}", BART) for head in ("Model", "ForConditionalGeneration")),
    ("pegasus", "PegasusForConditionalGeneration", BART),
    *(("m2m_100", f"M2M100{head}", BART) for head in ("Model", "ForConditionalGeneration")),
    ("marian", "MarianMTModel", BART),
    ("blenderbot", "BlenderbotForConditionalGeneration", BART),
    ("blenderbot-small", "BlenderbotSmallForConditionalGeneration", BART),
    *(("led", f"LED{head}", LED) for head in ("Model", "ForConditionalGeneration")),
    *(("t5", f"T5{head}", T5) for head in ("Model", "EncoderModel", "ForConditionalGeneration")),
    ("t5", "T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu"}),
    *(("mt5", f"MT5{head}", T5) for head in ("EncoderModel", "ForConditionalGeneration")),
    *(("umt5", f"UMT5{head}", T5) for head in ("EncoderModel", "ForConditionalGeneration")),
    *(("whisper", f"Whisper{head}", WHISPER) for head in ("Model", "ForConditionalGeneration")),
]  # fmt: skip

TOWERS: list[tuple[str, str, Raw]] = [
    *(("vit", f"ViT{head}", {**VIT, **LABELS}) for head in ("Model", "ForImageClassification")),
    ("vit", "ViTModel", {**VIT, "qkv_bias": False, "num_channels": 1, "pooler_output_size": 20}),
    *(("dinov2", f"Dinov2{head}", {**VIT, "mlp_ratio": 3}) for head in ("Model", "ForImageClassification")),
    ("dinov2", "Dinov2Model", {**VIT, "use_swiglu_ffn": True, "use_mask_token": False}),
    ("clip", "CLIPModel", {"projection_dim": 20, "text_config": CLIP_TEXT, "vision_config": VIT}),
    *(("clip_vision_model", f"CLIPVision{head}", {**VIT, "projection_dim": 20}) for head in (
        "Model", "ModelWithProjection")),
    *(("clip_text_model", f"CLIPText{head}", {**CLIP_TEXT, "projection_dim": 20}) for head in (
        "Model", "ModelWithProjection")),
    ("siglip_vision_model", "SiglipVisionModel", VIT),
    ("siglip2", "Siglip2Model", {"text_config": CLIP_TEXT, "vision_config": {**VIT, "num_patches": 25}}),
    ("siglip", "SiglipModel", {"text_config": {**CLIP_TEXT, "projection_size": 24}, "vision_config": VIT}),
    ("siglip", "SiglipModel", {"text_config": CLIP_TEXT, "vision_config": {**VIT, "vision_use_head": False}}),
]  # fmt: skip

VISION_LANGUAGE: list[tuple[str, str, Raw]] = [
    ("llava", "LlavaForConditionalGeneration", {"text_config": {**TEXT, "model_type": "llama"}, "vision_config": CLIP}),
    ("llava", "LlavaForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "qwen2", "tie_word_embeddings": True},
        "vision_config": SIGLIP, "vision_feature_layer": [-2, -1], "multimodal_projector_bias": False}),
    ("llava", "LlavaForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "mistral", "sliding_window": None}, "vision_config": PIXTRAL}),
    ("llava_next", "LlavaNextForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "mistral", "architectures": ["MistralForCausalLM"]},
        "vision_config": CLIP}),
    ("llava_next", "LlavaNextForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "granite"}, "vision_config": SIGLIP, "vision_feature_layer": [-2, -1]}),
    ("llava_onevision", "LlavaOnevisionForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "qwen2"}, "vision_config": SIGLIP}),
    ("paligemma", "PaliGemmaForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "gemma", "head_dim": 10}, "vision_config": SIGLIP, "projection_dim": 32}),
    ("paligemma", "PaliGemmaForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "gemma2", "torch_dtype": "bfloat16"}, "vision_config": SIGLIP,
        "projection_dim": 32}),
    ("gemma3", "Gemma3ForConditionalGeneration", {
        "text_config": {**TEXT, "sliding_window": 7, "head_dim": 10, "sliding_window_pattern": 2},
        "vision_config": SIGLIP}),
    ("mistral3", "Mistral3ForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "ministral3", "head_dim": 10}, "vision_config": PIXTRAL,
        "spatial_merge_size": 3, "tie_word_embeddings": False}),
    ("mistral3", "Mistral3ForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "mistral"}, "vision_config": PIXTRAL, "multimodal_projector_bias": True}),
    ("internvl", "InternVLForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "qwen2"},
        "vision_config": {**VIT, "image_size": [32, 32], "patch_size": [8, 8]}}),
    ("internvl", "InternVLForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "llama"}, "tie_word_embeddings": False, "downsample_ratio": 0.25,
        "vision_config": {**VIT, "use_qk_norm": True, "attention_bias": True, "use_mask_token": True,
                          "use_mean_pooling": False, "norm_type": "rms_norm",
                          "use_absolute_position_embeddings": False}}),
    ("idefics2", "Idefics2ForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "mistral"}, "vision_config": VIT,
        "perceiver_config": {"resampler_depth": 2, "resampler_n_heads": 6, "resampler_head_dim": 4,
                             "num_key_value_heads": 3, "resampler_n_latents": 5}}),
    ("idefics3", "Idefics3ForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "llama"}, "vision_config": VIT, "scale_factor": 3}),
    ("smolvlm", "SmolVLMForConditionalGeneration", {
        "text_config": {**TEXT, "model_type": "llama"}, "vision_config": VIT, "tie_word_embeddings": True}),
    ("qwen2_vl", "Qwen2VLForConditionalGeneration", {
        **TEXT, "vision_config": {"depth": 2, "num_heads": 2, "patch_size": 4, "embed_dim": 24, "hidden_size": 32,
                                  "mlp_ratio": 3}}),
    ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", {
        **TEXT, "tie_word_embeddings": True, "vision_config": {**QWEN_TOWER, "out_hidden_size": 32}}),
    ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", {
        "text_config": TEXT, "vision_config": {**QWEN_TOWER, "out_hidden_size": 32, "spatial_merge_size": 3}}),
    ("qwen3_vl", "Qwen3VLForConditionalGeneration", {
        "text_config": {**TEXT, "head_dim": 10}, "tie_word_embeddings": True,
        "vision_config": {**QWEN_TOWER, "out_hidden_size": 32, "num_position_embeddings": 16,
                          "deepstack_visual_indexes": [0, 1]}}),
    ("qwen3_vl_moe", "Qwen3VLMoeForConditionalGeneration", {
        "text_config": MOE, "vision_config": {**QWEN_TOWER, "out_hidden_size": 32}}),
    ("qwen3_5", "Qwen3_5ForConditionalGeneration", {
        "text_config": DELTA, "vision_config": {**QWEN_TOWER, "out_hidden_size": 32}}),
    ("qwen3_5_moe", "Qwen3_5MoeForConditionalGeneration", {
        "text_config": {**DELTA, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 20,
                        "shared_expert_intermediate_size": 12},
        "vision_config": {**QWEN_TOWER, "out_hidden_size": 32}}),
    ("mllama", "MllamaForConditionalGeneration", {
        "text_config": {**TEXT, "cross_attention_layers": [1]}, "vision_config": MLLAMA_TOWER}),
    ("llama4", "Llama4ForConditionalGeneration", {"text_config": LLAMA4_TEXT, "vision_config": LLAMA4_TOWER}),
    ("gemma4_text", "Gemma4ForCausalLM", {**GEMMA4, "num_kv_shared_layers": 4, "use_double_wide_mlp": True}),
    ("gemma4_text", "Gemma4ForCausalLM", {**GEMMA4, "layer_types": None}),
    ("gemma4", "Gemma4ForConditionalGeneration", {
        "text_config": {**GEMMA4, "dtype": "bfloat16", "hidden_size_per_layer_input": 0},
        "vision_config": {**GEMMA4_TOWER, "use_clipped_linears": True, "standardize": True, "dtype": "bfloat16"},
        "audio_config": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "output_proj_dims": 20,
                         "subsampling_conv_channels": [8, 4]}}),
    ("gemma4", "Gemma4ForConditionalGeneration", {
        "text_config": {**GEMMA4, "attention_k_eq_v": True, "num_global_key_value_heads": 1, "enable_moe_block": True,
                        "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 20},
        "vision_config": GEMMA4_TOWER}),
]  # fmt: skip

WAVEFORMS: list[tuple[str, str, Raw]] = [
    *(("wav2vec2", f"Wav2Vec2{head}", WAVES) for head in (
        "Model", "ForCTC", "ForPreTraining", "ForSequenceClassification", "ForAudioFrameClassification")),
    ("wav2vec2", "Wav2Vec2ForCTC", ADAPTED),
    ("wav2vec2", "Wav2Vec2ForAudioFrameClassification",
     {**WAVES, "use_weighted_layer_sum": True, "mask_time_prob": 0.0}),
    *(("hubert", f"Hubert{head}", WAVES) for head in ("Model", "ForCTC", "ForSequenceClassification")),
    ("hubert", "HubertModel", {**WAVES, "conv_pos_batch_norm": True, "feat_proj_layer_norm": False}),
]  # fmt: skip

CASES = ENCODERS + SEQ2SEQ + TOWERS + VISION_LANGUAGE + WAVEFORMS
