//! Components as the files that owners have: under their publishers' names or llama.cpp's, in fp8 or in the blocks of GGUF,
//! several in one file. What must be read from each comes along.
//!
//! Names are made from those of diffusers, and blocks by candle's own encoders, so that nothing here is what the engine reads
//! with.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use scumble_engine::families::names::Names;
use scumble_engine::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::write;

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// A component under names of a file.
#[derive(Clone)]
pub struct Component {
    members: Vec<Member>,
    /// Before each name.
    prefix: String,
}

/// A tensor of a file, and what it is made of.
#[derive(Clone)]
struct Member {
    name: String,
    tensor: Tensor,
    /// Names in diffusers, with their shapes: blocks of rows.
    parts: Vec<(String, Vec<usize>)>,
    order: Order,
}

#[derive(Clone, Copy)]
enum Order {
    Same,
    Swapped,
    /// The halves of each of so many heads alternate.
    Interleaved(usize),
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// All in one type.
    Plain(DType),
    /// Matrices as fp8, the rest as bfloat16.
    Fp8(Option<Scales>),
    /// A kind of block for each matrix in turn, rows folded to 256 where they are too short for one.
    Gguf,
}

/// Where fp8 files say what their numbers are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// `scale_weight`, and a marker for the component.
    Marked,
    /// `weight_scale` alone.
    Bare,
    /// `weight_scale`, one for each row.
    Rows,
    /// `weight_scale` and JSON about each layer.
    Layers,
    /// `weight_scale` and JSON in the header.
    Header,
}

/// The tensors of a component of a diffusers folder with one file for each, float32.
///
/// # Panics
/// Where there are none.
pub fn load(folder: &Path, component: &str) -> Tensors {
    let read = |base: &str| {
        let file = folder.join(component).join(format!("{base}.safetensors"));
        candle_core::safetensors::load(file, &Device::Cpu).ok()
    };
    let tensors = read("diffusion_pytorch_model").or_else(|| read("model")).expect("weights of the component");
    tensors.into_iter().map(|(name, t)| (name, t.to_dtype(DType::F32).expect("a float"))).collect()
}

/// Replaces the tensors of a component of a diffusers folder.
///
/// # Panics
/// Where they cannot be written.
pub fn replace(folder: &Path, component: &str, tensors: &Tensors) {
    let base = if component.starts_with("text_encoder") { "model" } else { "diffusion_pytorch_model" };
    let tensors: Vec<(&str, Tensor)> = tensors.iter().map(|(name, t)| (&**name, t.clone())).collect();
    super::weights::save(&folder.join(component).join(format!("{base}.safetensors")), &tensors);
}

/// The number in an entry of a component's configuration.
///
/// # Panics
/// Where there is none.
pub fn size(folder: &Path, component: &str, entry: &str) -> usize {
    let bytes = std::fs::read(folder.join(component).join("config.json")).expect("a configuration");
    let config: Value = serde_json::from_slice(&bytes).expect("JSON");
    config[entry].as_u64().expect("a size") as usize
}

impl Component {
    /// Under the names of diffusers or transformers.
    pub fn same(tensors: &Tensors) -> Self {
        Self::renamed(tensors, |name| Some((name.to_owned(), Order::Same)))
    }

    /// Under a publisher's names: fused matrices, other halves.
    ///
    /// # Panics
    /// Tensors of other shapes than the names are for.
    pub fn published(tensors: &Tensors, names: &Names) -> Self {
        let shapes: BTreeMap<String, Vec<usize>> =
            tensors.iter().map(|(name, t)| (name.clone(), t.dims().to_vec())).collect();
        let member = |(name, original): (String, scumble_engine::families::names::Original)| {
            let parts: Vec<&Tensor> = original.parts.iter().map(|part| &tensors[&part.name]).collect();
            let whole = Tensor::cat(&parts, 0).expect("parts of one width");
            let order = if original.swapped { Order::Swapped } else { Order::Same };
            let parts = original.parts.iter().map(|part| (part.name.clone(), shapes[&part.name].clone())).collect();
            Member { name, tensor: turned(&whole, order, true), parts, order }
        };
        let members = names.originals(&shapes).into_iter().map(member).collect();
        Self { members, prefix: String::new() }
    }

    /// An autoencoder under latent diffusion's names.
    pub fn autoencoder(tensors: &Tensors) -> Self {
        let levels = tensors.keys().filter_map(|name| name.strip_prefix("encoder.down_blocks.")?.split('.').next());
        let levels = levels.collect::<std::collections::BTreeSet<_>>().len();
        let mut this = Self::renamed(tensors, |name| Some((latent_diffusion(name, levels), Order::Same)));
        for member in this.members.iter_mut().filter(|member| member.name.contains(".mid.attn_1.")) {
            // they were convolutions
            if let [rows, columns] = *member.tensor.dims() {
                member.tensor = member.tensor.reshape((rows, columns, 1, 1)).expect("as many");
            }
        }
        this
    }

    /// A T5 encoder under llama.cpp's names.
    pub fn t5_cpp(tensors: &Tensors) -> Self {
        Self::renamed(tensors, |name| {
            let theirs = match name {
                "shared.weight" => "token_embd.weight".to_owned(),
                "encoder.final_layer_norm.weight" => "enc.output_norm.weight".to_owned(),
                _ => {
                    let (number, rest) = name.strip_prefix("encoder.block.")?.split_once(".layer.")?;
                    format!("enc.blk.{number}.{}.weight", T5_CPP.iter().find(|(_, ours)| *ours == rest)?.0)
                }
            };
            Some((theirs, Order::Same))
        })
    }

    /// A Llama under llama.cpp's names, rows of queries and keys in its order.
    pub fn llama_cpp(tensors: &Tensors, heads: usize, kv_heads: usize) -> Self {
        Self::renamed(tensors, |name| {
            let theirs = match name {
                "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
                "model.norm.weight" => "output_norm.weight".to_owned(),
                "lm_head.weight" => "output.weight".to_owned(),
                _ => {
                    let (number, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
                    format!("blk.{number}.{}.weight", LLAMA_CPP.iter().find(|(_, ours)| *ours == rest)?.0)
                }
            };
            let order = match &*theirs {
                name if name.ends_with("attn_q.weight") => Order::Interleaved(heads),
                name if name.ends_with("attn_k.weight") => Order::Interleaved(kv_heads),
                _ => Order::Same,
            };
            Some((theirs, order))
        })
    }

    /// The same with something before every name.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// The same without the tensors whose names in the file contain this.
    #[must_use]
    pub fn without(mut self, part: &str) -> Self {
        self.members.retain(|member| !member.name.contains(part));
        self
    }

    fn renamed(tensors: &Tensors, rule: impl Fn(&str) -> Option<(String, Order)>) -> Self {
        let member = |(name, tensor): (&String, &Tensor)| {
            let (theirs, order) = rule(name)?;
            let parts = vec![(name.clone(), tensor.dims().to_vec())];
            Some(Member { name: theirs, tensor: turned(tensor, order, true), parts, order })
        };
        Self { members: tensors.iter().filter_map(member).collect(), prefix: String::new() }
    }
}

/// Writes components into one file; gives what must be read of each, under diffusers' names.
///
/// # Panics
/// Where it cannot be written.
pub fn write_file(path: &Path, format: Format, components: &[Component]) -> Vec<Tensors> {
    let mut file = match format {
        Format::Gguf => Writer::Gguf(Gguf::default()),
        _ => Writer::Safe(Safe::default()),
    };
    let mut read = Vec::new();
    let mut number = 0;
    for Component { members, prefix } in components {
        let mut decoded = Tensors::new();
        for member in members {
            let value = file.put(&format!("{prefix}{}", member.name), &member.tensor, format, number);
            number += 1;
            let rows: Vec<usize> = member.parts.iter().map(|(_, shape)| shape.first().copied().unwrap_or(1)).collect();
            let whole = turned(&value, member.order, false);
            let mut first = 0;
            for ((name, shape), rows) in member.parts.iter().zip(rows) {
                let part =
                    if member.parts.len() == 1 { whole.clone() } else { whole.narrow(0, first, rows).expect("rows") };
                decoded.insert(name.clone(), part.reshape(&shape[..]).expect("as many"));
                first += rows;
            }
        }
        if let (Writer::Safe(safe), Format::Fp8(Some(Scales::Marked))) = (&mut file, format) {
            safe.tensors.push((format!("{prefix}scaled_fp8"), Dtype::F8_E4M3, vec![0], Vec::new()));
        }
        read.push(decoded);
    }
    write(path, &file.bytes());
    read
}

const T5_CPP: [(&str, &str); 10] = [
    ("attn_q", "0.SelfAttention.q.weight"),
    ("attn_k", "0.SelfAttention.k.weight"),
    ("attn_v", "0.SelfAttention.v.weight"),
    ("attn_o", "0.SelfAttention.o.weight"),
    ("attn_rel_b", "0.SelfAttention.relative_attention_bias.weight"),
    ("attn_norm", "0.layer_norm.weight"),
    ("ffn_gate", "1.DenseReluDense.wi_0.weight"),
    ("ffn_up", "1.DenseReluDense.wi_1.weight"),
    ("ffn_down", "1.DenseReluDense.wo.weight"),
    ("ffn_norm", "1.layer_norm.weight"),
];

const LLAMA_CPP: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm.weight"),
    ("attn_q", "self_attn.q_proj.weight"),
    ("attn_k", "self_attn.k_proj.weight"),
    ("attn_v", "self_attn.v_proj.weight"),
    ("attn_output", "self_attn.o_proj.weight"),
    ("ffn_norm", "post_attention_layernorm.weight"),
    ("ffn_gate", "mlp.gate_proj.weight"),
    ("ffn_up", "mlp.up_proj.weight"),
    ("ffn_down", "mlp.down_proj.weight"),
];

/// Latent diffusion's name of an autoencoder's tensor.
fn latent_diffusion(name: &str, levels: usize) -> String {
    let mut name = name.to_owned();
    for level in 0..levels {
        for (ours, theirs) in [
            (format!("encoder.down_blocks.{level}.resnets."), format!("encoder.down.{level}.block.")),
            (format!("encoder.down_blocks.{level}.downsamplers.0."), format!("encoder.down.{level}.downsample.")),
            (format!("decoder.up_blocks.{level}.resnets."), format!("decoder.up.{}.block.", levels - 1 - level)),
            (
                format!("decoder.up_blocks.{level}.upsamplers.0."),
                format!("decoder.up.{}.upsample.", levels - 1 - level),
            ),
        ] {
            name = name.replace(&ours, &theirs);
        }
    }
    for (ours, theirs) in [
        ("mid_block.resnets.0.", "mid.block_1."),
        ("mid_block.resnets.1.", "mid.block_2."),
        ("mid_block.attentions.0.group_norm.", "mid.attn_1.norm."),
        ("mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."),
        ("mid_block.attentions.0.to_q.", "mid.attn_1.q."),
        ("mid_block.attentions.0.to_k.", "mid.attn_1.k."),
        ("mid_block.attentions.0.to_v.", "mid.attn_1.v."),
        ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
    ] {
        name = name.replace(ours, theirs);
    }
    name
}

/// Rows in the order of the file, or back in that of models.
fn turned(tensor: &Tensor, order: Order, to_file: bool) -> Tensor {
    let turn = || -> candle_core::Result<Tensor> {
        let rows = tensor.dim(0)?;
        match order {
            Order::Same => Ok(tensor.clone()),
            Order::Swapped => Tensor::cat(&[tensor.narrow(0, rows / 2, rows / 2)?, tensor.narrow(0, 0, rows / 2)?], 0),
            Order::Interleaved(heads) => {
                let (half, wide) = (rows / heads / 2, tensor.dim(1)?);
                let shape = if to_file { (heads, 2, half, wide) } else { (heads, half, 2, wide) };
                tensor.reshape(shape)?.transpose(1, 2)?.contiguous()?.reshape((rows, wide))
            }
        }
    };
    turn().expect("whole heads and halves")
}

enum Writer {
    Safe(Safe),
    Gguf(Gguf),
}

impl Writer {
    /// Adds a tensor, and says what must be read of it.
    fn put(&mut self, name: &str, tensor: &Tensor, format: Format, number: usize) -> Tensor {
        match (self, format) {
            (Self::Gguf(gguf), _) => gguf.put(name, tensor, number),
            (Self::Safe(safe), Format::Fp8(scales)) if tensor.rank() > 1 => {
                let is_scaled =
                    tensor.rank() == 2 && !["embed", "shared", "attention_bias"].iter().any(|n| name.contains(n));
                safe.put_fp8(name, tensor, scales.filter(|_| is_scaled), scales.is_none())
            }
            (Self::Safe(safe), Format::Plain(dtype)) => safe.put(name, tensor, dtype),
            (Self::Safe(safe), _) => safe.put(name, tensor, DType::BF16),
        }
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Safe(safe) => safe.bytes(),
            Self::Gguf(gguf) => gguf.bytes(),
        }
    }
}

#[derive(Default)]
struct Safe {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    layers: serde_json::Map<String, Value>,
}

impl Safe {
    fn put(&mut self, name: &str, tensor: &Tensor, dtype: DType) -> Tensor {
        let (kind, stored) = match dtype {
            DType::F16 => (GgmlDType::F16, Dtype::F16),
            DType::BF16 => (GgmlDType::BF16, Dtype::BF16),
            _ => (GgmlDType::F32, Dtype::F32),
        };
        let (bytes, value) = encoded(tensor, kind);
        self.tensors.push((name.to_owned(), stored, tensor.dims().to_vec(), bytes));
        value
    }

    fn put_fp8(&mut self, name: &str, tensor: &Tensor, scales: Option<Scales>, plain: bool) -> Tensor {
        if scales.is_none() && !plain {
            return self.put(name, tensor, DType::BF16);
        }
        let dims = tensor.dims().to_vec();
        let rows = dims[0];
        let wide = tensor.elem_count() / rows;
        let values: Vec<f32> = numbers(tensor);
        let largest = |values: &[f32]| values.iter().fold(1e-12f32, |most, x| most.max(x.abs()));
        let factors: Vec<f32> = match scales {
            None => vec![1.0; rows],
            Some(Scales::Rows) => values.chunks(wide).map(|row| largest(row) / 448.0).collect(),
            Some(_) => vec![largest(&values) / 448.0; rows],
        };
        let scaled = values.chunks(wide).zip(&factors).flat_map(|(row, factor)| row.iter().map(move |x| x / factor));
        let codes: Vec<u8> = scaled.map(code).collect();
        let decoded = codes.chunks(wide).zip(&factors);
        let decoded: Vec<f32> =
            decoded.flat_map(|(row, factor)| row.iter().map(move |byte| value(*byte) * factor)).collect();
        let layer = name.strip_suffix(".weight").unwrap_or(name);
        let (scale, input) = match scales {
            Some(Scales::Marked) => ("scale_weight", "scale_input"),
            _ => ("weight_scale", "input_scale"),
        };
        if scales.is_some() {
            let is_each = scales == Some(Scales::Rows);
            let (shape, factors) = if is_each { (vec![rows, 1], &factors[..]) } else { (vec![], &factors[..1]) };
            let bytes = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
            self.tensors.push((format!("{layer}.{scale}"), Dtype::F32, shape, bytes));
            // of activations: counts for nothing
            self.tensors.push((format!("{layer}.{input}"), Dtype::F32, vec![], 0.0625f32.to_le_bytes().to_vec()));
        }
        let about = json!({ "format": "float8_e4m3fn" });
        match scales {
            Some(Scales::Layers) => {
                let bytes = about.to_string().into_bytes();
                self.tensors.push((format!("{layer}.comfy_quant"), Dtype::U8, vec![bytes.len()], bytes));
            }
            Some(Scales::Header) => drop(self.layers.insert(layer.to_owned(), about)),
            _ => {}
        }
        self.tensors.push((name.to_owned(), Dtype::F8_E4M3, dims.clone(), codes));
        Tensor::from_vec(decoded, dims, &Device::Cpu).expect("as many")
    }

    fn bytes(self) -> Vec<u8> {
        let mut notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        if !self.layers.is_empty() {
            let said = json!({ "format_version": "1.0", "layers": self.layers });
            notes.insert("_quantization_metadata".to_owned(), said.to_string());
        }
        let views = self.tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).expect("as many bytes as the shape says"))
        });
        safetensors::serialize(views, Some(notes)).expect("tensors that can be stored")
    }
}

#[derive(Default)]
struct Gguf {
    /// Name, shape as torch has it, number of the type, bytes.
    tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
    shapes: Vec<(String, Vec<usize>)>,
}

impl Gguf {
    fn put(&mut self, name: &str, tensor: &Tensor, number: usize) -> Tensor {
        const KINDS: [(GgmlDType, u32); 11] = [
            (GgmlDType::Q8_0, 8),
            (GgmlDType::Q4K, 12),
            (GgmlDType::Q5K, 13),
            (GgmlDType::Q6K, 14),
            (GgmlDType::Q5_0, 6),
            (GgmlDType::Q4_0, 2),
            (GgmlDType::Q4_1, 3),
            (GgmlDType::BF16, 30),
            (GgmlDType::F16, 1),
            (GgmlDType::Q5_1, 7),
            (GgmlDType::F32, 0),
        ];
        let dims = tensor.dims().to_vec();
        let count = tensor.elem_count();
        let row = dims.last().copied().unwrap_or(1);
        let (kind, id) =
            if dims.len() == 2 && count > 1024 { KINDS[number % KINDS.len()] } else { (GgmlDType::F32, 0) };
        let block = kind.block_size();
        let (bytes, value, mut shape) = if row.is_multiple_of(block) {
            let (bytes, value) = encoded(tensor, kind);
            (bytes, value, dims)
        } else if count.is_multiple_of(256) {
            let (bytes, value) = encoded(&tensor.reshape((count / 256, 256)).expect("as many"), kind);
            self.shapes.push((name.to_owned(), dims.clone()));
            (bytes, value.reshape(&dims[..]).expect("as many"), vec![count / 256, 256])
        } else {
            let (bytes, value) = encoded(tensor, GgmlDType::F16);
            self.tensors.push((name.to_owned(), dims, 1, bytes));
            return value;
        };
        // as writers in C do
        while shape.len() > 1 && shape[0] == 1 {
            shape.remove(0);
        }
        self.tensors.push((name.to_owned(), shape, id, bytes));
        value
    }

    fn bytes(self) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let mut file = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.shapes.len() as u64 + 1).to_le_bytes());
        // says nothing that counts
        file.extend([text("general.architecture"), 8u32.to_le_bytes().to_vec(), text("pig")].concat());
        for (name, shape) in &self.shapes {
            file.extend(text(&format!("comfy.gguf.orig_shape.{name}")));
            file.extend([9u32.to_le_bytes(), 5u32.to_le_bytes()].concat());
            file.extend((shape.len() as u64).to_le_bytes());
            shape.iter().for_each(|side| file.extend((*side as i32).to_le_bytes()));
        }
        let mut offset = 0u64;
        for (name, shape, id, bytes) in &self.tensors {
            file.extend(text(name));
            file.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|side| file.extend((*side as u64).to_le_bytes()));
            file.extend(id.to_le_bytes());
            file.extend(offset.to_le_bytes());
            offset = (offset + bytes.len() as u64).next_multiple_of(32);
        }
        for (.., bytes) in &self.tensors {
            file.resize(file.len().next_multiple_of(32), 0);
            file.extend(bytes);
        }
        file
    }
}

/// A tensor in a type of ggml's, and what it is then.
fn encoded(tensor: &Tensor, kind: GgmlDType) -> (Vec<u8>, Tensor) {
    let encode = || -> candle_core::Result<(Vec<u8>, Tensor)> {
        let flat = if tensor.rank() == 2 { tensor.clone() } else { tensor.reshape((1, tensor.elem_count()))? };
        let stored = QTensor::quantize(&flat.contiguous()?, kind)?;
        Ok((stored.data()?.into_owned(), stored.dequantize(&Device::Cpu)?.reshape(tensor.shape())?))
    };
    encode().expect("rows of whole blocks")
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("float32")
}

/// The value of eight bits, four of exponent.
fn value(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = if exponent == 0 { mantissa / 512.0 } else { (8.0 + mantissa) * 2f32.powi(exponent - 10) };
    if byte < 0x80 { size } else { -size }
}

/// The nearest code; larger ones have larger values.
fn code(number: f32) -> u8 {
    let size = number.abs();
    let codes: [u8; 127] = std::array::from_fn(|i| i as u8);
    let above = codes.partition_point(|code| value(*code) < size).min(126);
    let below = above.saturating_sub(1);
    let nearest = if size - value(below as u8) < value(above as u8) - size { below } else { above };
    nearest as u8 | if number < 0.0 { 0x80 } else { 0 }
}
