//! Black Forest Labs' names.

use crate::families::names::{Blocks, Names, same, swapped};

/// The names of `flux1-{schnell,dev,fill-dev}.safetensors`.
pub const NAMES: Names = Names {
    prefix: "",
    top: &[
        same("time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"),
        same("time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"),
        same("time_text_embed.text_embedder.linear_1", "vector_in.in_layer"),
        same("time_text_embed.text_embedder.linear_2", "vector_in.out_layer"),
        same("time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"),
        same("time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"),
        same("x_embedder", "img_in"),
        same("context_embedder", "txt_in"),
        same("proj_out", "final_layer.linear"),
        swapped("norm_out.linear", "final_layer.adaLN_modulation.1"),
    ],
    blocks: &[
        Blocks {
            ours: "transformer_blocks",
            theirs: "double_blocks",
            parts: &[
                same("attn.to_q", "img_attn.qkv"),
                same("attn.to_k", "img_attn.qkv"),
                same("attn.to_v", "img_attn.qkv"),
                same("attn.to_out.0", "img_attn.proj"),
                same("ff.net.0.proj", "img_mlp.0"),
                same("ff.net.2", "img_mlp.2"),
                same("attn.norm_q.weight", "img_attn.norm.query_norm.scale"),
                same("attn.norm_k.weight", "img_attn.norm.key_norm.scale"),
                same("norm1.linear", "img_mod.lin"),
                same("attn.add_q_proj", "txt_attn.qkv"),
                same("attn.add_k_proj", "txt_attn.qkv"),
                same("attn.add_v_proj", "txt_attn.qkv"),
                same("attn.to_add_out", "txt_attn.proj"),
                same("ff_context.net.0.proj", "txt_mlp.0"),
                same("ff_context.net.2", "txt_mlp.2"),
                same("attn.norm_added_q.weight", "txt_attn.norm.query_norm.scale"),
                same("attn.norm_added_k.weight", "txt_attn.norm.key_norm.scale"),
                same("norm1_context.linear", "txt_mod.lin"),
            ],
        },
        Blocks {
            ours: "single_transformer_blocks",
            theirs: "single_blocks",
            parts: &[
                same("norm.linear", "modulation.lin"),
                same("attn.to_q", "linear1"),
                same("attn.to_k", "linear1"),
                same("attn.to_v", "linear1"),
                same("proj_mlp", "linear1"),
                same("proj_out", "linear2"),
                same("attn.norm_q.weight", "norm.query_norm.scale"),
                same("attn.norm_k.weight", "norm.key_norm.scale"),
            ],
        },
    ],
};
