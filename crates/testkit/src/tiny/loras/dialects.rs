//! The spellings.

use std::collections::HashMap;

use scumble_engine::rng::Generator;
use scumble_engine::{Device, Result, Tensor};
use serde_json::{Map, json};

use super::delta::Delta;
use super::{LoraFile, Tensors};

/// alpha / rank, in turn.
const ALPHA: [f64; 4] = [0.5, 1.0, 2.0, 1.0 / 3.0];

/// How the numbers of a module are spread over tensors.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Style {
    Ab,
    AbDefault,
    OldDiffusers,
    DownAlpha,
    Down,
    Lokr,
    Loha,
}

/// Name, whether modules are diffusers' and not the publisher's, what stands before them, how they are written.
pub(super) type Dialect = (&'static str, bool, &'static str, Style);

pub(super) const DIALECTS: &[Dialect] = &[
    ("peft", true, "transformer.", Style::Ab),
    ("bare", true, "", Style::Ab),
    ("old-diffusers", true, "transformer.", Style::OldDiffusers),
    ("base-model", true, "base_model.model.", Style::AbDefault),
    ("bfl", false, "diffusion_model.", Style::Ab),
    ("bfl-alpha", false, "diffusion_model.", Style::DownAlpha),
    ("original-bare", false, "", Style::Ab),
    ("kohya", false, "lora_unet_", Style::DownAlpha),
    ("kohya-no-alpha", false, "lora_unet_", Style::Down),
    ("onetrainer", true, "lora_transformer_", Style::DownAlpha),
    ("lokr", false, "lora_unet_", Style::Lokr),
    ("lokr-lycoris", true, "lycoris_", Style::Lokr),
    ("lokr-bfl", false, "diffusion_model.", Style::Lokr),
    ("loha", false, "lora_unet_", Style::Loha),
    ("loha-lycoris", true, "lycoris_", Style::Loha),
];

/// Dialects that no trainer writes for AuraFlow.
pub(super) const NOT_AURAFLOW: [&str; 2] = ["base-model", "onetrainer"];
/// Those that the rarer modules are written in.
pub(super) const FULL: [&str; 5] = ["peft", "bfl", "kohya", "lokr-lycoris", "loha"];

/// All changes in one dialect.
pub(super) fn written(deltas: &[Delta], (_, ours, prefix, style): &Dialect) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    let mut index = 0;
    for delta in deltas {
        let modules = if *ours { delta.pieces()? } else { vec![(&*delta.name, delta.w1.clone())] };
        for (module, w1) in modules {
            let module = if prefix.ends_with('_') { module.replace('.', "_") } else { module.to_owned() };
            let key = format!("{prefix}{module}");
            tensors.extend(match style {
                Style::Lokr => lokr(&key, delta, &w1, index)?,
                Style::Loha => loha(&key, delta, &w1, index)?,
                _ => pair(&key, *style, delta, &w1, index)?,
            });
            index += 1;
        }
    }
    Ok(tensors)
}

fn number(value: f64) -> Result<Tensor> {
    Ok(Tensor::new(value as f32, &Device::Cpu)?)
}

fn keyed<const N: usize>(key: &str, tensors: [(&str, Tensor); N]) -> Tensors {
    tensors.into_iter().map(|(end, tensor)| (format!("{key}.{end}"), tensor)).collect()
}

fn pair(key: &str, style: Style, delta: &Delta, w1: &Tensor, index: usize) -> Result<Tensors> {
    let (b, a) = delta.factors(w1)?;
    let rank = a.dim(0)? as f64;
    let factor = if style == Style::DownAlpha { ALPHA[index % 4] } else { 1.0 };
    let mut tensors = match style {
        Style::Ab => keyed(key, [("lora_A.weight", a), ("lora_B.weight", b)]),
        Style::AbDefault => keyed(key, [("lora_A.default.weight", a), ("lora_B.default.weight", b)]),
        Style::OldDiffusers => keyed(key, [("lora.down.weight", a), ("lora.up.weight", b)]),
        _ => keyed(key, [("lora_down.weight", a), ("lora_up.weight", (b / factor)?)]),
    };
    if style == Style::DownAlpha {
        tensors.insert(format!("{key}.alpha"), number(factor * rank)?);
    }
    Ok(tensors)
}

/// Three ways in turn: w2 in two parts; both whole, where alpha means nothing; w1 in two parts.
fn lokr(key: &str, delta: &Delta, w1: &Tensor, index: usize) -> Result<Tensors> {
    let factor = ALPHA[index % 4];
    let w2 = delta.w2a.matmul(&delta.w2b)?;
    let across = w1.dim(1)?;
    Ok(match index % 3 {
        0 => {
            let parts =
                [("lokr_w1", (w1 / factor)?), ("lokr_w2_a", delta.w2a.clone()), ("lokr_w2_b", delta.w2b.clone())];
            let mut tensors = keyed(key, parts);
            tensors.insert(format!("{key}.alpha"), number(factor * delta.rank as f64)?);
            tensors
        }
        1 => keyed(key, [("lokr_w1", w1.clone()), ("lokr_w2", w2), ("alpha", number(5.0)?)]),
        _ => {
            let (sine, cosine) = (0.6f32, 0.8f32);
            let turn = match across {
                2 => Tensor::new(&[[cosine, -sine], [sine, cosine]], &Device::Cpu)?,
                _ => Tensor::new(&[[1f32]], &Device::Cpu)?,
            };
            let parts = [
                ("lokr_w1_a", (w1.matmul(&turn)? / factor)?),
                ("lokr_w1_b", turn.t()?.contiguous()?),
                ("lokr_w2", w2),
                ("alpha", number(factor * across as f64)?),
            ];
            keyed(key, parts)
        }
    })
}

/// The second product is the outer product of c and e; the first is divided by it.
fn loha(key: &str, delta: &Delta, w1: &Tensor, index: usize) -> Result<Tensors> {
    let (b, a) = delta.factors(w1)?;
    let (rank, factor) = (a.dim(0)?, ALPHA[index % 4]);
    let mut generator = Generator::new(1000 + index as u64);
    let mut positive = |shape: &[usize]| -> Result<Tensor> { Ok(((generator.noise(shape)?.abs()? * 0.5)? + 0.5)?) };
    let (c, e) = (positive(&[b.dim(0)?, 1])?, positive(&[1, a.dim(1)?])?);
    let g = positive(&[1, rank])?;
    let square = f64::from(g.sqr()?.sum_all()?.to_scalar::<f32>()?);
    Ok(keyed(
        key,
        [
            ("hada_w1_a", (b.broadcast_div(&c)? / factor)?),
            ("hada_w1_b", a.broadcast_div(&e)?),
            ("hada_w2_a", (c.matmul(&g)? / square)?),
            ("hada_w2_b", g.t()?.matmul(&e)?),
            ("alpha", number(factor * rank as f64)?),
        ],
    ))
}

/// PEFT tensors whose alphas are in the header.
pub(super) fn in_metadata(deltas: &[Delta]) -> Result<LoraFile> {
    let (mut tensors, mut ranks, mut alphas) = (Tensors::new(), Map::new(), Map::new());
    let mut index = 0;
    for delta in deltas {
        for (module, w1) in delta.pieces()? {
            let (b, a) = delta.factors(&w1)?;
            let factor = ALPHA[index % 3];
            ranks.insert(module.to_owned(), json!(a.dim(0)?));
            alphas.insert(module.to_owned(), json!(factor * a.dim(0)? as f64));
            let key = format!("transformer.{module}");
            tensors.extend(keyed(&key, [("lora_A.weight", a), ("lora_B.weight", (b / factor)?)]));
            index += 1;
        }
    }
    let notes = json!({
        "transformer.r": 4,
        "transformer.lora_alpha": 4,
        "transformer.rank_pattern": ranks,
        "transformer.alpha_pattern": alphas,
        "transformer.peft_type": "LORA",
    });
    Ok(noted(tensors, &[("lora_adapter_metadata", notes.to_string())]))
}

pub(super) fn noted(tensors: Tensors, notes: &[(&str, String)]) -> LoraFile {
    let notes = notes.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    LoraFile { tensors, metadata: notes.chain([("format".to_owned(), "pt".to_owned())]).collect::<HashMap<_, _>>() }
}
