//! llama.cpp's names of text encoders, and the order of rows in its files.

use crate::weights::Order;

const T5: [(&str, &str); 10] = [
    ("attn_q", "layer.0.SelfAttention.q"),
    ("attn_k", "layer.0.SelfAttention.k"),
    ("attn_v", "layer.0.SelfAttention.v"),
    ("attn_o", "layer.0.SelfAttention.o"),
    ("attn_rel_b", "layer.0.SelfAttention.relative_attention_bias"),
    ("attn_norm", "layer.0.layer_norm"),
    // the gate goes through the activation
    ("ffn_gate", "layer.1.DenseReluDense.wi_0"),
    ("ffn_up", "layer.1.DenseReluDense.wi_1"),
    ("ffn_down", "layer.1.DenseReluDense.wo"),
    ("ffn_norm", "layer.1.layer_norm"),
];

const LLAMA: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The name of a T5 encoder's tensor in transformers.
pub(super) fn t5(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => Some("shared.weight".into()),
        "enc.output_norm.weight" => Some("encoder.final_layer_norm.weight".into()),
        _ => block(name, "enc.blk.", "encoder.block.", &T5),
    }
}

/// The name of a Llama's tensor in transformers.
pub(super) fn llama(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => Some("model.embed_tokens.weight".into()),
        "output_norm.weight" => Some("model.norm.weight".into()),
        "output.weight" => Some("lm_head.weight".into()),
        _ => block(name, "blk.", "model.layers.", &LLAMA),
    }
}

/// How rows are ordered in a Llama's file: in those of queries and keys, the halves of each head alternate.
///
/// # Errors
/// Rows that are no whole heads, in words.
pub(super) fn order(name: &str, rows: usize, width: usize) -> Result<Order, String> {
    if !["attn_q.weight", "attn_k.weight"].iter().any(|end| name.ends_with(end)) {
        return Ok(Order::Same);
    }
    if width == 0 || !width.is_multiple_of(2) || !rows.is_multiple_of(width) {
        return Err(format!("tensor {name} has {rows} rows, which are not whole heads of {width}"));
    }
    Ok(Order::Interleaved(rows / width))
}

fn block(name: &str, theirs: &str, ours: &str, table: &[(&str, &str)]) -> Option<String> {
    let (number, rest) = name.strip_prefix(theirs)?.split_once('.')?;
    let module = rest.strip_suffix(".weight")?;
    let (_, ours_of) = table.iter().find(|(theirs, _)| *theirs == module)?;
    Some(format!("{ours}{number}.{ours_of}.weight"))
}
