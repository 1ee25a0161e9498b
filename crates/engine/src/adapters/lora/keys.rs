//! What the end of a tensor's name says it is for.

/// What a tensor does for its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Role {
    /// A, `[rank, in]`.
    Down,
    /// B, `[out, rank]`.
    Up,
    /// Between the two, of convolutions: `[rank, rank, height, width]`.
    Mid,
    /// Added to the bias with the factor of the pair.
    UpBias,
    /// LoHa: `w1_a`, `w1_b`, `w2_a`, `w2_b`.
    Hada(Factor),
    /// LoKr: whole, or in two parts.
    Lokr(Factor),
    /// LoKr's left or right matrix in one piece.
    LokrWhole(Side),
    /// DoRA: lengths of rows or columns.
    Magnitude,
    /// Added to the weight.
    Diff,
    /// Added to the bias.
    DiffBias,
    /// Times rank, the factor of the change.
    Alpha,
    /// Another factor of the change.
    Scale,
    /// Something that would change what the others mean, and is not understood.
    Unknown,
}

/// One of two factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Side {
    First,
    Second,
}

/// The left (`a`) or right (`b`) part of one of two factors.
pub(super) type Factor = (Side, Side);

use Role::{Alpha, Diff, DiffBias, Down, Hada, Lokr, LokrWhole, Magnitude, Mid, Scale, Unknown, Up, UpBias};
use Side::{First, Second};

/// Ends of names, in the spelling of every trainer.
const SUFFIXES: &[(&str, Role)] = &[
    (".lora_A.weight", Down),
    (".lora_B.weight", Up),
    (".lora_B.bias", UpBias),
    (".lora_A.default.weight", Down),
    (".lora_B.default.weight", Up),
    (".lora_B.default.bias", UpBias),
    (".lora_A", Down),
    (".lora_B", Up),
    (".lora_down.weight", Down),
    (".lora_up.weight", Up),
    (".lora_mid.weight", Mid),
    (".lora_down", Down),
    (".lora_up", Up),
    (".lora_mid", Mid),
    (".lora.down.weight", Down),
    (".lora.up.weight", Up),
    ("_lora.down.weight", Down),
    ("_lora.up.weight", Up),
    (".lora_linear_layer.down.weight", Down),
    (".lora_linear_layer.up.weight", Up),
    // XLabs, where what is left names the processor
    (".down.weight", Down),
    (".up.weight", Up),
    (".hada_w1_a", Hada((First, First))),
    (".hada_w1_b", Hada((First, Second))),
    (".hada_w2_a", Hada((Second, First))),
    (".hada_w2_b", Hada((Second, Second))),
    (".lokr_w1", LokrWhole(First)),
    (".lokr_w1_a", Lokr((First, First))),
    (".lokr_w1_b", Lokr((First, Second))),
    (".lokr_w2", LokrWhole(Second)),
    (".lokr_w2_a", Lokr((Second, First))),
    (".lokr_w2_b", Lokr((Second, Second))),
    (".dora_scale", Magnitude),
    (".lora_magnitude_vector", Magnitude),
    (".lora_magnitude_vector.weight", Magnitude),
    (".lora_magnitude_vector.default.weight", Magnitude),
    (".diff", Diff),
    (".w_norm", Diff),
    (".diff_b", DiffBias),
    (".b_norm", DiffBias),
    (".alpha", Alpha),
    (".scale", Scale),
    (".set_weight", Unknown),
    (".reshape_weight", Unknown),
    (".hada_t1", Unknown),
    (".hada_t2", Unknown),
    (".lokr_t2", Unknown),
    (".oft_blocks", Unknown),
    (".oft_diag", Unknown),
    (".lora_embedding_A", Unknown),
    (".lora_embedding_B", Unknown),
];

/// The ways in which a name may be read: what is left before an end that is known, and what that end means.
pub(super) fn readings(key: &str) -> impl Iterator<Item = (&str, Role)> {
    SUFFIXES.iter().filter_map(move |(suffix, role)| Some((key.strip_suffix(suffix)?, *role)))
}

impl Role {
    /// The usual spelling, for messages.
    pub(super) fn spelling(self) -> &'static str {
        SUFFIXES.iter().find(|(_, role)| *role == self).map_or("", |(suffix, _)| suffix)
    }
}

/// A stranger's name in a message: as long as real ones are.
pub(super) fn short(name: &str) -> String {
    const LONGEST: usize = 120;
    let cut: String = name.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if cut.len() < name.len() { format!("{cut}…") } else { cut }
}
