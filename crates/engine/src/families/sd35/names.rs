//! Stability's names.

use crate::families::names::{Blocks, Entry, Halves, Names, same, swapped};

/// The names of `sd3.5_large.safetensors`.
pub const NAMES: Names = Names {
    prefix: "model.diffusion_model.",
    top: &[
        same("time_text_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"),
        same("time_text_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"),
        same("time_text_embed.text_embedder.linear_1", "y_embedder.mlp.0"),
        same("time_text_embed.text_embedder.linear_2", "y_embedder.mlp.2"),
        same("pos_embed.pos_embed", "pos_embed"),
        same("pos_embed.proj", "x_embedder.proj"),
        same("context_embedder", "context_embedder"),
        same("proj_out", "final_layer.linear"),
        swapped("norm_out.linear", "final_layer.adaLN_modulation.1"),
    ],
    blocks: &[Blocks {
        ours: "transformer_blocks",
        theirs: "joint_blocks",
        parts: &[
            same("attn.to_q", "x_block.attn.qkv"),
            same("attn.to_k", "x_block.attn.qkv"),
            same("attn.to_v", "x_block.attn.qkv"),
            same("attn.to_out.0", "x_block.attn.proj"),
            same("ff.net.0.proj", "x_block.mlp.fc1"),
            same("ff.net.2", "x_block.mlp.fc2"),
            same("attn.norm_q", "x_block.attn.ln_q"),
            same("attn.norm_k", "x_block.attn.ln_k"),
            same("norm1.linear", "x_block.adaLN_modulation.1"),
            same("attn.add_q_proj", "context_block.attn.qkv"),
            same("attn.add_k_proj", "context_block.attn.qkv"),
            same("attn.add_v_proj", "context_block.attn.qkv"),
            same("attn.to_add_out", "context_block.attn.proj"),
            same("ff_context.net.0.proj", "context_block.mlp.fc1"),
            same("ff_context.net.2", "context_block.mlp.fc2"),
            same("attn.norm_added_q", "context_block.attn.ln_q"),
            same("attn.norm_added_k", "context_block.attn.ln_k"),
            // the last block only reads the text: two parts instead of six
            Entry {
                ours: "norm1_context.linear",
                theirs: "context_block.adaLN_modulation.1",
                halves: Halves::SwappedInLast,
            },
        ],
    }],
};
