"""Small sizes for the configs of all causal language models of transformers, and which families are left out."""

# A small size → what configs call it. Each config takes those that it has.
_NAMED: list[tuple[int, str]] = [
    (48, "vocab_size vocab_size_per_layer_input"),
    (64, "max_position_embeddings"),
    # widths
    (32, "hidden_size d_model n_embd emb_dim embedding_dim embedding_size lru_width word_embed_proj_dim"),
    (48, "intermediate_size intermediate_size_mlp dense_intermediate_size feed_forward_size ffn_hidden_size"),
    (48, "ffn_dim decoder_ffn_dim dff dim_ff d_inner n_inner mlp_dim"),
    (24, "moe_intermediate_size expert_ffn_hidden_size shared_intermediate_size shared_expert_intermediate_size"),
    (24, "shared_experts_intermediate_size moe_shared_expert_intermediate_size router_hidden_size"),
    (12, "q_lora_rank kv_lora_rank o_lora_rank laurel_rank adapter_rank"),
    (8, "hidden_size_per_layer_input"),
    # layers
    (2, "num_hidden_layers n_layer n_layers num_layers decoder_layers num_blocks"),
    # heads
    (4, "num_attention_heads n_head n_heads num_heads attention_heads decoder_attention_heads"),
    (4, "swa_num_attention_heads linear_num_heads"),
    (2, "num_key_value_heads swa_num_key_value_heads num_kv_heads"),
    (8, "head_dim swa_head_dim linear_head_dim kv_channels qk_nope_head_dim v_head_dim index_head_dim d_head"),
    (8, "query_pre_attn_scalar index_n_heads"),
    (4, "qk_rope_head_dim rotary_dim d_rel"),
    # experts
    (4, "num_experts num_local_experts n_routed_experts moe_num_experts"),
    (2, "num_experts_per_tok num_experts_per_token moe_k moe_topk zero_expert_num"),
    (1, "n_shared_experts num_shared_experts moe_num_shared_experts"),
    (1, "n_group topk_group num_expert_group first_k_dense_replace num_dense_layers"),
    # states
    (8, "mamba_d_state state_size ssm_state_size mamba_d_head mamba_head_dim mamba_n_heads mamba_num_heads"),
    (8, "linear_key_head_dim linear_value_head_dim"),
    (4, "linear_num_value_heads time_step_rank"),
    (2, "linear_num_key_heads n_mamba_heads"),
    (1, "mamba_n_groups n_groups mamba_ngroups"),
    # images
    (32, "image_size"),
    # Shorter than the rollouts, so that they say something.
    (4, "sliding_window sliding_window_size attention_window_size window_size local_attention keep_window_size"),
    (4, "attention_chunk_size index_topk chunk_size mamba_chunk_size block_size"),
]
SIZES: dict[str, int] = {name: size for size, names in _NAMED for name in names.split()}

# Sizes that are set even where the default is none.
OPTIONAL = {"head_dim", "num_key_value_heads", "num_experts_per_tok", "n_routed_experts", "n_shared_experts"}

# Lists with a kind for each layer: a tiny model has one layer of each kind.
KINDS = ("layer_types", "mlp_layer_types", "layers_block_type")

# Where keys and values are compressed, each head has its own, and only a part of it is rotated.
COMPRESSED = {"num_key_value_heads": 4, "head_dim": 4}

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_GEMMA4_MOE = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 24}
_SLIDING = ["q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "v_head_dim"]

# What else a family needs.
EXCEPTIONS: dict[str, dict] = {
    "bamba": {"attn_layer_indices": [1]},
    "blt": {
        "encoder_hash_byte_group_vocab": 32,
        "encoder_hash_byte_group_size": [2, 3],
        "encoder_config": {"hidden_size_global": 32},
        "decoder_config": {"hidden_size_global": 32},
    },
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE}},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v4": {"compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 4}},
    "dots3_note_text": {
        "head_dim": 12,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_head_dim": 12,
        **{f"swa_{name}": SIZES[name] for name in _SLIDING},
    },
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gemma4": {"text_config": {"global_head_dim": 8}},
    "gemma4_text": {"global_head_dim": 8, **_GEMMA4_MOE},
    "gemma4_unified": {"text_config": {"global_head_dim": 8}},
    "gemma4_unified_text": {"global_head_dim": 8},
    "got_ocr2": {"vision_config": {"output_channels": 8}},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8},
    "phi4_multimodal": {"audio_config": {"ext_pw_out_channel": 8, "nemo_conv_channels": 8}},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
        "hc_lowrank": 8,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 32},
    "roc_bert": {
        "pronunciation_embed_dim": 8,
        "pronunciation_vocab_size": 48,
        "shape_embed_dim": 8,
        "shape_vocab_size": 48,
    },
    "rwkv": {"context_length": 64},
    "xlm": {"causal": True},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "num_hidden_layers": 4},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "num_hidden_layers": 4},
    "zaya": {"num_experts_per_tok": 1},
}

# A second name of a family, or its config together with one for images, which its causal language model does not read.
_SAME = {
    "dots3_note": "dots3_note_text",
    "gpt-sw3": "gpt2",
    "internlm3": "llama",
    "iquestcoder": "llama",
    "llama4": "llama4_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen4_exp": "qwen4_exp_text",
}
_BOTH_WAYS = "The logits of a token depend on the tokens after it."
_DRAFT = "It drafts for another model, whose hidden states and cache it reads."
_SOUND = "It reads a step of several audio codes, not a token."

# Families that are not measured → the reason.
LEFT_OUT: dict[str, str] = {
    **{family: f"The same model as `{other}`." for family, other in _SAME.items()},
    "cpmant": _BOTH_WAYS,
    "gemma3n": "It needs timm, which the tests do not install; its text model is `gemma3n_text`.",
    "gemma4_assistant": _DRAFT,
    "gemma4_unified_assistant": _DRAFT,
    "musicgen": _SOUND,
    "musicgen_melody": _SOUND,
    "prophetnet": "The logits of a token depend on the number of tokens after it.",
    "reformer": "It has no backward pass in evaluation mode.",
    "xlnet": _BOTH_WAYS,
}
