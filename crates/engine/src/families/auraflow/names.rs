//! fal's names.

use crate::families::names::{Blocks, Names, same, swapped};

/// The names of `aura_flow_0.3.safetensors`.
pub const NAMES: Names = Names {
    prefix: "model.",
    top: &[
        same("time_step_proj.linear_1", "t_embedder.mlp.0"),
        same("time_step_proj.linear_2", "t_embedder.mlp.2"),
        same("register_tokens", "register_tokens"),
        same("pos_embed.pos_embed", "positional_encoding"),
        same("pos_embed.proj", "init_x_linear"),
        same("context_embedder", "cond_seq_linear"),
        same("proj_out", "final_linear"),
        swapped("norm_out.linear", "modF.1"),
    ],
    blocks: &[
        Blocks {
            ours: "joint_transformer_blocks",
            theirs: "double_layers",
            parts: &[
                same("norm1.linear", "modX.1"),
                same("norm1_context.linear", "modC.1"),
                same("attn.to_q", "attn.w2q"),
                same("attn.to_k", "attn.w2k"),
                same("attn.to_v", "attn.w2v"),
                same("attn.to_out.0", "attn.w2o"),
                same("attn.add_q_proj", "attn.w1q"),
                same("attn.add_k_proj", "attn.w1k"),
                same("attn.add_v_proj", "attn.w1v"),
                same("attn.to_add_out", "attn.w1o"),
                same("ff.linear_1", "mlpX.c_fc1"),
                same("ff.linear_2", "mlpX.c_fc2"),
                same("ff.out_projection", "mlpX.c_proj"),
                same("ff_context.linear_1", "mlpC.c_fc1"),
                same("ff_context.linear_2", "mlpC.c_fc2"),
                same("ff_context.out_projection", "mlpC.c_proj"),
            ],
        },
        Blocks {
            ours: "single_transformer_blocks",
            theirs: "single_layers",
            parts: &[
                same("norm1.linear", "modCX.1"),
                same("attn.to_q", "attn.w1q"),
                same("attn.to_k", "attn.w1k"),
                same("attn.to_v", "attn.w1v"),
                same("attn.to_out.0", "attn.w1o"),
                same("ff.linear_1", "mlp.c_fc1"),
                same("ff.linear_2", "mlp.c_fc2"),
                same("ff.out_projection", "mlp.c_proj"),
            ],
        },
    ],
};
