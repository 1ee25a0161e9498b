//! The rows. Sizes are those of public listings, in bytes, small files left out.

use super::{Form, Licence, Part, Published, Repository, Variant};

const DIFFUSERS: &str = "diffusion_pytorch_model";
const TRANSFORMERS: &str = "model";

const APACHE: Licence = Licence { name: "Apache-2.0", limit: None };
const MIT: Licence = Licence { name: "MIT", limit: None };
const FLUX_DEV: Licence =
    Licence { name: "FLUX.1 [dev] Non-Commercial License", limit: Some("for non-commercial use") };
const STABILITY: Licence =
    Licence { name: "Stability AI Community License", limit: Some("free below a revenue of 1 million USD a year") };
const LLAMA: Licence = Licence { name: "Llama 3.1 Community License", limit: None };
const RAIL: Licence =
    Licence { name: "CreativeML Open RAIL-M", limit: Some("with restrictions on what it is used for") };
const OMNIGEN: Licence = Licence {
    name: "Apache-2.0",
    limit: Some("its language model descends from one for research, the Qwen Research License"),
};

const fn weights(folder: &'static str, base: &'static str) -> Part {
    Part::Weights { from: folder, to: folder, base }
}

const fn tokenizer(folder: &'static str) -> Part {
    Part::Tokenizer { from: folder, to: folder }
}

const INDEX: Part = Part::File("model_index.json");
const SCHEDULER: Part = Part::File("scheduler/scheduler_config.json");
const VAE: Part = weights("vae", DIFFUSERS);
const TRANSFORMER: Part = weights("transformer", DIFFUSERS);

const FLUX: &[Part] = &[
    INDEX,
    SCHEDULER,
    tokenizer("tokenizer"),
    tokenizer("tokenizer_2"),
    weights("text_encoder", TRANSFORMERS),
    weights("text_encoder_2", TRANSFORMERS),
    TRANSFORMER,
    VAE,
];

const SD35: &[Part] = &[
    INDEX,
    SCHEDULER,
    tokenizer("tokenizer"),
    tokenizer("tokenizer_2"),
    tokenizer("tokenizer_3"),
    weights("text_encoder", TRANSFORMERS),
    weights("text_encoder_2", TRANSFORMERS),
    weights("text_encoder_3", TRANSFORMERS),
    TRANSFORMER,
    VAE,
];

const AURA: &[Part] =
    &[INDEX, SCHEDULER, tokenizer("tokenizer"), weights("text_encoder", TRANSFORMERS), TRANSFORMER, VAE];

const F_LITE: &[Part] =
    &[INDEX, tokenizer("tokenizer"), weights("text_encoder", TRANSFORMERS), weights("dit_model", DIFFUSERS), VAE];

const OMNIGEN_2: &[Part] = &[INDEX, SCHEDULER, tokenizer("processor"), weights("mllm", TRANSFORMERS), TRANSFORMER, VAE];

/// Llama is the owner's to fetch: its licence wants that.
const LLAMA_8B: Repository = Repository {
    id: "meta-llama/Meta-Llama-3.1-8B-Instruct",
    licence: LLAMA,
    gated: true,
    parts: &[
        Part::Tokenizer { from: "", to: "tokenizer_4" },
        Part::Weights { from: "", to: "text_encoder_4", base: TRANSFORMERS },
    ],
};

/// Of the folder that a publisher keeps, as it is.
const fn folder(name: &'static str, bytes: u64) -> Variant {
    Variant { name, bytes, form: Form::Folder { word: None } }
}

/// The transformer in one file, all else from the folder.
const fn file(name: &'static str, bytes: u64, repository: &'static str, file: &'static str) -> Variant {
    Variant { name, bytes, form: Form::File { component: "transformer", repository, file } }
}

const fn own(id: &'static str, licence: Licence, gated: bool, parts: &'static [Part]) -> Repository {
    Repository { id, licence, gated, parts }
}

/// Bytes of FLUX.1 beside its transformer: T5, CLIP, autoencoder.
const FLUX_BESIDE: u64 = 9_524_000_000 + 246_000_000 + 168_000_000;
/// Of Stable Diffusion 3.5.
const SD35_BESIDE: u64 = 9_524_000_000 + 247_000_000 + 1_389_000_000 + 168_000_000;
/// Of AuraFlow, in two bytes a number.
const AURA_BESIDE: u64 = 2_950_000_000 + 167_000_000;
/// Of HiDream-I1, with Llama.
const HIDREAM_BESIDE: u64 = 9_524_000_000 + 495_000_000 + 2_780_000_000 + 168_000_000 + 16_060_000_000;

/// A row of HiDream-I1, which comes in three trainings of one network.
macro_rules! hidream {
    ($name:literal, $endpoint:literal, $repository:literal, $gguf:literal, $q8:literal, $fp8:literal) => {
        Published {
            name: $name,
            endpoints: &[$endpoint],
            repositories: &[own($repository, MIT, false, HIDREAM), LLAMA_8B],
            variants: &[
                folder("bf16", 34_210_000_000 + HIDREAM_BESIDE),
                file("q8_0", 18_200_000_000 + HIDREAM_BESIDE, $gguf, $q8),
                file("fp8", 17_100_000_000 + HIDREAM_BESIDE, "Comfy-Org/HiDream-I1_ComfyUI", $fp8),
            ],
        }
    };
}

const HIDREAM: &[Part] = &[
    INDEX,
    SCHEDULER,
    tokenizer("tokenizer"),
    tokenizer("tokenizer_2"),
    tokenizer("tokenizer_3"),
    weights("text_encoder", TRANSFORMERS),
    weights("text_encoder_2", TRANSFORMERS),
    weights("text_encoder_3", TRANSFORMERS),
    TRANSFORMER,
    VAE,
];

/// Every open model.
pub static PUBLISHED: &[Published] = &[
    Published {
        name: "FLUX.1-schnell",
        endpoints: &["fal-ai/flux/schnell", "fal-ai/flux-1/schnell"],
        repositories: &[own("black-forest-labs/FLUX.1-schnell", APACHE, true, FLUX)],
        variants: &[
            folder("bf16", 23_782_506_688 + FLUX_BESIDE),
            file("q8_0", 12_700_000_000 + FLUX_BESIDE, "city96/FLUX.1-schnell-gguf", "flux1-schnell-Q8_0.gguf"),
            file("fp8", 11_900_000_000 + FLUX_BESIDE, "Kijai/flux-fp8", "flux1-schnell-fp8-e4m3fn.safetensors"),
        ],
    },
    Published {
        name: "FLUX.1-dev",
        endpoints: &[
            "fal-ai/flux/dev",
            "fal-ai/flux/dev/image-to-image",
            "fal-ai/flux-lora",
            "fal-ai/flux-lora/image-to-image",
        ],
        repositories: &[own("black-forest-labs/FLUX.1-dev", FLUX_DEV, true, FLUX)],
        variants: &[
            folder("bf16", 23_802_932_552 + FLUX_BESIDE),
            file("q8_0", 12_708_281_504 + FLUX_BESIDE, "city96/FLUX.1-dev-gguf", "flux1-dev-Q8_0.gguf"),
            file("fp8", 11_900_000_000 + FLUX_BESIDE, "Kijai/flux-fp8", "flux1-dev-fp8.safetensors"),
        ],
    },
    Published {
        name: "FLUX.1-Fill-dev",
        // the endpoint of [pro] is its maker's, unless the owner names weights for it
        endpoints: &["fal-ai/flux-lora-fill"],
        repositories: &[own("black-forest-labs/FLUX.1-Fill-dev", FLUX_DEV, true, FLUX)],
        variants: &[folder("bf16", 23_804_922_408 + FLUX_BESIDE)],
    },
    Published {
        name: "stable-diffusion-3.5-large",
        endpoints: &["fal-ai/stable-diffusion-v35-large"],
        repositories: &[own("stabilityai/stable-diffusion-3.5-large", STABILITY, true, SD35)],
        variants: &[
            folder("bf16", 16_293_000_000 + SD35_BESIDE),
            file(
                "q8_0",
                8_780_000_000 + SD35_BESIDE,
                "city96/stable-diffusion-3.5-large-gguf",
                "sd3.5_large-Q8_0.gguf",
            ),
        ],
    },
    Published {
        name: "AuraFlow-v0.3",
        endpoints: &["fal-ai/aura-flow"],
        repositories: &[own("fal/AuraFlow-v0.3", APACHE, false, AURA)],
        variants: &[
            Variant { name: "fp16", bytes: 13_700_000_000 + AURA_BESIDE, form: Form::Folder { word: Some("fp16") } },
            folder("fp32", 27_400_000_000 + 4_890_000_000 + 335_000_000),
            file("q8_0", 7_350_000_000 + AURA_BESIDE, "city96/AuraFlow-v0.3-gguf", "aura_flow_0.3-Q8_0.gguf"),
        ],
    },
    hidream!(
        "HiDream-I1-Full",
        "fal-ai/hidream-i1-full",
        "HiDream-ai/HiDream-I1-Full",
        "city96/HiDream-I1-Full-gguf",
        "hidream-i1-full-Q8_0.gguf",
        "split_files/diffusion_models/hidream_i1_full_fp8.safetensors"
    ),
    hidream!(
        "HiDream-I1-Dev",
        "fal-ai/hidream-i1-dev",
        "HiDream-ai/HiDream-I1-Dev",
        "city96/HiDream-I1-Dev-gguf",
        "hidream-i1-dev-Q8_0.gguf",
        "split_files/diffusion_models/hidream_i1_dev_fp8.safetensors"
    ),
    hidream!(
        "HiDream-I1-Fast",
        "fal-ai/hidream-i1-fast",
        "HiDream-ai/HiDream-I1-Fast",
        "city96/HiDream-I1-Fast-gguf",
        "hidream-i1-fast-Q8_0.gguf",
        "split_files/diffusion_models/hidream_i1_fast_fp8.safetensors"
    ),
    Published {
        name: "OmniGen2",
        endpoints: &["fal-ai/omnigen-v2"],
        repositories: &[own("OmniGen2/OmniGen2", OMNIGEN, false, OMNIGEN_2)],
        variants: &[folder("fp32", 15_870_000_000 + 15_020_000_000 + 335_000_000)],
    },
    Published {
        name: "F-Lite",
        endpoints: &["fal-ai/f-lite/standard"],
        repositories: &[own("Freepik/F-Lite", RAIL, false, F_LITE)],
        variants: &[folder("bf16", 19_600_000_000 + 9_524_000_000 + 168_000_000)],
    },
    Published {
        name: "F-Lite-Texture",
        endpoints: &["fal-ai/f-lite/texture"],
        repositories: &[own("Freepik/F-Lite-Texture", RAIL, false, F_LITE)],
        variants: &[folder("bf16", 19_600_000_000 + 9_524_000_000 + 168_000_000)],
    },
];

/// The safety checkers, by the names that settings have for them.
pub const CHECKERS: &[(&str, Published)] = &[
    (
        "compvis",
        Published {
            name: "compvis-safety-checker",
            endpoints: &[],
            repositories: &[own("CompVis/stable-diffusion-safety-checker", UNNAMED, false, CHECKER)],
            variants: &[folder("f32", 1_215_979_664)],
        },
    ),
    (
        "falconsai",
        Published {
            name: "falconsai-nsfw-detection",
            endpoints: &[],
            repositories: &[own("Falconsai/nsfw_image_detection", APACHE, false, CHECKER)],
            variants: &[folder("f32", 343_223_968)],
        },
    ),
];

/// A network of transformers' by itself, at the root of its repository.
const CHECKER: &[Part] =
    &[Part::File("preprocessor_config.json"), Part::Weights { from: "", to: "", base: TRANSFORMERS }];

const UNNAMED: Licence = Licence { name: "a licence that its page names", limit: None };
