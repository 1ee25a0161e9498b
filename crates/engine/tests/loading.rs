//! Checkpoints as they are found: in several types, in several files, and broken in every way that downloads break.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::path::Path;

use common::{edit, mean_difference, open_in, set};
use scumble_engine::families::{Context, Pipeline};
use scumble_engine::{DType, Device, Error, Pixels, Tensor, Unobserved};
use scumble_testkit::tiny::{self, Variant};

const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";
const CLIP: &str = "text_encoder/model.safetensors";
const VAE_INDEX: &str = "vae/diffusion_pytorch_model.safetensors.index.json";

// ---------------------------------------------------------------------------------------------- what loads

#[test]
fn storage_in_half_the_bits_gives_nearly_the_same_picture() {
    let exact = draw(&tiny::of(Variant::Dev), Some(DType::F32));
    // seen: mean 0.30 and 0.04 levels
    for (dtype, mean) in [(DType::BF16, 0.6), (DType::F16, 0.1)] {
        let picture = draw(&tiny::of(Variant::Dev).dtype(dtype), Some(DType::F32));
        let difference = mean_difference(&exact, &picture);
        assert!(difference < mean, "{dtype:?}: {difference} levels");
    }
}

#[test]
fn a_smaller_type_on_a_cpu_rounds_the_matrices_and_nothing_else() {
    let exact = draw(&tiny::of(Variant::Dev), Some(DType::F32));
    // seen: mean 0.18 and 0.05 levels
    for (dtype, mean) in [(DType::BF16, 0.6), (DType::F16, 0.1)] {
        let difference = mean_difference(&exact, &draw(&tiny::of(Variant::Dev), Some(dtype)));
        assert!(difference > 0.0 && difference < mean, "{dtype:?}: {difference} levels");
    }
    let half = || tiny::of(Variant::Dev).dtype(DType::BF16);
    let difference = mean_difference(&draw(&half(), Some(DType::BF16)), &draw(&half(), Some(DType::F32)));
    // processors that multiply bfloat16 faster round the other side too; seen: 0.08 levels
    let allowed = if scumble_engine::kernels::halves_pay() { 0.6 } else { 0.0 };
    assert!(difference <= allowed, "{difference} levels, allowed {allowed}");
}

#[test]
fn without_a_wish_the_files_decide_the_type() {
    let stored = |dtype| tiny::of(Variant::Schnell).dtype(dtype);
    assert_eq!(draw(&stored(DType::F32), None), draw(&stored(DType::F32), Some(DType::F32)));
    assert_eq!(draw(&stored(DType::BF16), None), draw(&stored(DType::BF16), Some(DType::F32)));
    assert_eq!(draw(&stored(DType::F16), None), draw(&stored(DType::F16), Some(DType::F32)));
}

#[test]
fn components_may_be_stored_in_different_types() {
    let folder = tiny::of(Variant::Schnell).tempdir();
    let half = tiny::of(Variant::Schnell).dtype(DType::BF16).tempdir();
    std::fs::copy(half.path().join(TRANSFORMER), folder.path().join(TRANSFORMER)).unwrap();
    let pipeline = open_in(folder.path(), None).unwrap();
    let exact = draw(&tiny::of(Variant::Schnell), Some(DType::F32));
    assert!(mean_difference(&exact, &picture(&*pipeline)) < 3.0);
}

#[test]
fn several_files_give_the_picture_of_one() {
    let whole = draw(&tiny::of(Variant::Schnell), None);
    for shards in [2, 5] {
        assert_eq!(whole, draw(&tiny::of(Variant::Schnell).shards(shards), None), "{shards} files");
    }
}

#[test]
fn names_that_old_files_carry_beside_the_weights_are_ignored() {
    let folder = tiny::of(Variant::Schnell).tempdir();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    edit(&folder.path().join(CLIP), |tensors| {
        tensors.insert("text_model.embeddings.position_ids".into(), zeros(&[1, 77]));
    });
    edit(&folder.path().join("text_encoder_2/model.safetensors"), |tensors| {
        tensors.insert("encoder.embed_tokens.weight".into(), tensors["shared.weight"].clone());
    });
    open_in(folder.path(), None).unwrap();
}

#[test]
fn text_encoders_may_lack_the_inner_prefix() {
    let folder = tiny::of(Variant::Schnell).tempdir();
    edit(&folder.path().join(CLIP), |tensors| {
        let bare = |(name, tensor): (String, Tensor)| (name.replace("text_model.", ""), tensor);
        *tensors = std::mem::take(tensors).into_iter().map(bare).collect();
    });
    let pipeline = open_in(folder.path(), None).unwrap();
    assert_eq!(picture(&*pipeline), draw(&tiny::of(Variant::Schnell), None));
}

// ------------------------------------------------------------------------------------- what is not a checkpoint

#[test]
fn a_folder_must_be_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| match failure(path) {
        Error::NotACheckpoint { folder, reason } if folder == path => reason,
        other => panic!("{other}"),
    };
    assert_eq!(refused(&folder.path().join("absent")), "there is no such file or folder");
    assert_eq!(refused(folder.path()), "model_index.json is missing");
    let index = folder.path().join("model_index.json");
    std::fs::write(&index, "{}").unwrap();
    assert_eq!(refused(folder.path()), "model_index.json has no _class_name");
    // a file may hold weights, and this one does not
    assert!(matches!(failure(&index), Error::Damaged { path, .. } if path == index));
}

#[test]
fn an_unknown_pipeline_is_told_what_would_work() {
    let error = broken(|folder| write(folder, "model_index.json", r#"{ "_class_name": "PixelPipeline" }"#));
    assert!(matches!(&error, Error::UnknownPipeline { class, .. } if class == "PixelPipeline"), "{error}");
    assert!(error.to_string().contains("FluxPipeline"), "{error}");
}

// ------------------------------------------------------------------------------------------- broken tensors

#[test]
fn a_missing_tensor_is_named_with_its_file() {
    let error = broken(|folder| {
        edit(&folder.join(TRANSFORMER), |tensors| {
            tensors.remove("transformer_blocks.1.attn.to_q.weight").unwrap();
        });
    });
    assert!(matches!(error, Error::MissingTensor { .. }), "{error}");
    says(&error, &[TRANSFORMER, "transformer_blocks.1.attn.to_q.weight"]);
}

#[test]
fn a_missing_tensor_of_several_files_is_blamed_on_the_index() {
    let folder = tiny::of(Variant::Dev).shards(2).tempdir();
    let shard = "vae/diffusion_pytorch_model-00001-of-00002.safetensors";
    edit(&folder.path().join(shard), |tensors| {
        tensors.remove("decoder.conv_in.weight").unwrap();
    });
    let error = failure(folder.path());
    assert!(matches!(error, Error::MissingTensor { .. }), "{error}");
    says(&error, &[VAE_INDEX, "decoder.conv_in.weight"]);
}

#[test]
fn tensors_without_a_place_are_counted() {
    let error = broken(|folder| {
        edit(&folder.join(CLIP), |tensors| {
            let stray = tensors["text_model.final_layer_norm.bias"].clone();
            tensors.extend([("text_projection.weight".into(), stray.clone()), ("zebra".into(), stray)]);
        });
    });
    assert!(matches!(error, Error::ExtraTensors { count: 2, .. }), "{error}");
    says(&error, &[CLIP, "text_projection.weight"]);
}

#[test]
fn the_half_of_the_autoencoder_that_is_not_needed_is_still_checked() {
    let vae = "vae/diffusion_pytorch_model.safetensors";
    let error = broken(|folder| {
        edit(&folder.join(vae), |tensors| {
            tensors.remove("encoder.conv_in.bias").unwrap();
        });
    });
    assert!(matches!(error, Error::MissingTensor { .. }), "{error}");
    says(&error, &[vae, "encoder.conv_in.bias"]);
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let error = broken(|folder| {
        edit(&folder.join(TRANSFORMER), |tensors| {
            let flat = tensors["x_embedder.weight"].flatten_all().unwrap();
            tensors.insert("x_embedder.weight".into(), flat);
        });
    });
    assert!(matches!(error, Error::Misshapen { .. }), "{error}");
    says(&error, &[TRANSFORMER, "x_embedder.weight", "[64, 64]", "[4096]"]);
}

#[test]
fn a_tensor_of_whole_numbers_is_refused() {
    let error = broken(|folder| {
        edit(&folder.join(TRANSFORMER), |tensors| {
            let whole = tensors["proj_out.bias"].to_dtype(DType::U8).unwrap();
            tensors.insert("proj_out.bias".into(), whole);
        });
    });
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    says(&error, &[TRANSFORMER, "proj_out.bias", "U8"]);
}

// --------------------------------------------------------------------------------------------- broken files

#[test]
fn a_file_cut_short_is_damaged() {
    let whole = tiny::of(Variant::Schnell).tempdir();
    let bytes = std::fs::read(whole.path().join(TRANSFORMER)).unwrap();
    for length in [0, 4, 8, 1000, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(whole.path().join(TRANSFORMER), &bytes[..length]).unwrap();
        let error = failure(whole.path());
        assert!(matches!(error, Error::Damaged { .. }), "{length} bytes: {error}");
        says(&error, &[TRANSFORMER]);
    }
}

#[test]
fn a_file_of_something_else_is_damaged() {
    let endless = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let no_json = [&6u64.to_le_bytes()[..], b"<html>"].concat();
    let overlapping = header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}"#);
    let version = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec();
    for contents in [endless, no_json, overlapping, version] {
        let error = broken(|folder| std::fs::write(folder.join(TRANSFORMER), &contents).unwrap());
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        says(&error, &[TRANSFORMER]);
    }
}

#[test]
fn weights_that_are_not_there_are_unreadable() {
    let error = broken(|folder| std::fs::remove_file(folder.join(CLIP)).unwrap());
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    says(&error, &[CLIP]);
}

#[test]
fn an_index_may_not_name_what_is_not_there() {
    let folder = tiny::of(Variant::Dev).shards(2).tempdir();
    let shard = "vae/diffusion_pytorch_model-00002-of-00002.safetensors";
    std::fs::remove_file(folder.path().join(shard)).unwrap();
    let error = failure(folder.path());
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    says(&error, &[shard]);
}

#[test]
fn an_index_may_not_point_outside_its_folder() {
    for name in ["../x.safetensors", "..", "/etc/passwd", "deeper/x.safetensors", r"..\x", ".hidden", ""] {
        let folder = tiny::of(Variant::Dev).shards(2).tempdir();
        let index = serde_json::json!({ "weight_map": { "decoder.conv_in.weight": name } });
        write(folder.path(), VAE_INDEX, &index.to_string());
        let error = failure(folder.path());
        assert!(matches!(error, Error::Damaged { .. }), "{name}: {error}");
        says(&error, &[VAE_INDEX, "outside its folder"]);
    }
}

#[test]
fn an_index_must_be_an_index() {
    for text in ["{}", "[]", "nonsense", r#"{ "weight_map": { "a": 1 } }"#] {
        let folder = tiny::of(Variant::Dev).shards(2).tempdir();
        write(folder.path(), VAE_INDEX, text);
        let error = failure(folder.path());
        assert!(matches!(error, Error::Damaged { .. }), "{text}: {error}");
        says(&error, &[VAE_INDEX]);
    }
}

// ------------------------------------------------------------------------------------- broken configurations

#[test]
fn broken_text_files_are_named() {
    for file in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder_2/config.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "tokenizer_2/tokenizer.json",
        "tokenizer_2/tokenizer_config.json",
        "transformer/config.json",
        "vae/config.json",
    ] {
        let error = broken(|folder| write(folder, file, "{ \"hidden_size\": 3"));
        assert!(matches!(error, Error::Damaged { .. }), "{file}: {error}");
        says(&error, &[file]);
    }
    let error = broken(|folder| write(folder, "tokenizer/merges.txt", "#version: 0.2\na b\nlonely\n"));
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    says(&error, &["tokenizer/merges.txt", "line 3"]);
}

#[test]
fn absent_text_files_are_named() {
    for file in [
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "tokenizer_2/tokenizer.json",
        "vae/config.json",
    ] {
        let error = broken(|folder| std::fs::remove_file(folder.join(file)).unwrap());
        assert!(matches!(error, Error::Unreadable { .. }), "{file}: {error}");
        says(&error, &[file]);
    }
}

#[test]
fn values_of_the_wrong_kind_are_damage() {
    for (file, key, value) in [
        ("transformer/config.json", "num_layers", "\"two\""),
        ("transformer/config.json", "num_layers", "-2"),
        ("transformer/config.json", "num_layers", "18446744073709551615"),
        ("transformer/config.json", "guidance_embeds", "1"),
        ("transformer/config.json", "axes_dims_rope", "16"),
        ("vae/config.json", "scaling_factor", "\"0.3611\""),
        ("vae/config.json", "block_out_channels", "[16, null]"),
    ] {
        let error = broken(|folder| set(folder, file, key, value));
        assert!(matches!(error, Error::Damaged { .. }), "{key} = {value}: {error}");
        says(&error, &[file, key]);
    }
}

#[test]
fn what_the_engine_cannot_follow_is_said() {
    for (file, key, value) in [
        ("transformer/config.json", "patch_size", "2"),
        ("transformer/config.json", "axes_dims_rope", "[4, 6]"),
        ("transformer/config.json", "axes_dims_rope", "[4, 5, 7]"),
        ("transformer/config.json", "in_channels", "384"),
        ("transformer/config.json", "joint_attention_dim", "32"),
        ("transformer/config.json", "pooled_projection_dim", "48"),
        ("scheduler/scheduler_config.json", "_class_name", "\"DDIMScheduler\""),
        ("scheduler/scheduler_config.json", "shift_terminal", "0.02"),
        ("scheduler/scheduler_config.json", "use_karras_sigmas", "true"),
        ("text_encoder/config.json", "hidden_act", "\"relu\""),
        ("text_encoder/config.json", "num_attention_heads", "0"),
        ("text_encoder/config.json", "num_attention_heads", "5"),
        ("text_encoder/config.json", "max_position_embeddings", "76"),
        ("text_encoder_2/config.json", "feed_forward_proj", "\"relu\""),
        ("vae/config.json", "norm_num_groups", "0"),
        ("vae/config.json", "norm_num_groups", "7"),
        ("vae/config.json", "block_out_channels", "[]"),
        ("vae/config.json", "out_channels", "4"),
        ("vae/config.json", "up_block_types", "[\"AttnUpDecoderBlock2D\"]"),
    ] {
        let error = broken(|folder| set(folder, file, key, value));
        assert!(matches!(error, Error::Unsupported { .. }), "{key} = {value}: {error}");
        says(&error, &[file, key]);
    }
}

#[test]
fn a_configuration_of_another_size_meets_misshapen_tensors() {
    for (file, key, value) in [
        ("transformer/config.json", "num_attention_heads", "0"),
        ("text_encoder_2/config.json", "num_heads", "0"),
        ("text_encoder_2/config.json", "relative_attention_num_buckets", "0"),
        ("text_encoder/config.json", "vocab_size", "16777216"),
    ] {
        let error = broken(|folder| set(folder, file, key, value));
        assert!(matches!(error, Error::Misshapen { .. }), "{key} = {value}: {error}");
    }
}

// ------------------------------------------------------------------------------------------------- helpers

/// Why a folder cannot be opened.
fn failure(folder: &Path) -> Error {
    let error = open_in(folder, None).err().expect("it cannot be opened");
    assert!(error.is_checkpoint(), "{error}");
    error
}

/// Why a sound checkpoint cannot be opened after a change.
fn broken(change: impl FnOnce(&Path)) -> Error {
    let folder = tiny::of(Variant::Schnell).tempdir();
    change(folder.path());
    failure(folder.path())
}

fn says(error: &Error, facts: &[&str]) {
    let message = error.to_string();
    assert!(facts.iter().all(|fact| message.contains(fact)), "{message}: lacks one of {facts:?}");
}

fn write(folder: &Path, file: &str, text: &str) {
    std::fs::write(folder.join(file), text).unwrap();
}

/// A safetensors file with this header and no data.
fn header(json: &str) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat()
}

fn draw(checkpoint: &tiny::Tiny, dtype: Option<DType>) -> Pixels {
    let folder = checkpoint.tempdir();
    picture(&*open_in(folder.path(), dtype).unwrap())
}

fn picture(pipeline: &dyn Pipeline) -> Pixels {
    let context = Context { observer: &Unobserved, trace: None };
    pipeline.generate(&Variant::Dev.call(), &context).unwrap().remove(0)
}
