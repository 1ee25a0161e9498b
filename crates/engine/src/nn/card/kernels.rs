//! The kernels for NVIDIA's cards that are in this program: which there are, and what each takes.
//!
//! Their sources are in `crates/kernels/cuda`. That this table says what the sources say is a test, in every build.

/// A kernel of a module.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) module: &'static Module,
    pub(super) name: &'static str,
    /// Its arguments, a letter each: a `p`ointer, a `l`ong, an `i`nt, a `f`loat.
    pub(super) takes: &'static str,
}

/// What is loaded at once: kernels of one source, for compute capability 8.0 and, translated by the driver, all later ones.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) name: &'static str,
    pub(super) ptx: &'static str,
    #[cfg(test)]
    source: &'static str,
}

macro_rules! module {
    ($name:literal) => {
        Module {
            name: concat!("scumble-", $name),
            ptx: include_str!(concat!("../../../../kernels/cuda/built/", $name, ".ptx")),
            #[cfg(test)]
            source: include_str!(concat!("../../../../kernels/cuda/", $name, ".cu")),
        }
    };
}

static NORM: Module = module!("norm");
static HEADS: Module = module!("heads");
static FINISH: Module = module!("finish");
static GROUP_NORM: Module = module!("group_norm");
static PATCHES: Module = module!("patches");

macro_rules! kernels {
    ($($(#[$doc:meta])* $constant:ident = $module:ident, $name:literal, $takes:literal;)*) => {
        $($(#[$doc])* pub(super) static $constant: Kernel = Kernel { module: &$module, name: $name, takes: $takes };)*

        #[cfg(test)]
        const ALL: &[&Kernel] = &[$(&$constant),*];
    };
}

kernels! {
    LAYER_NORM = NORM, "layer_norm_bf16", "ppppllfi";
    RMS_NORM = NORM, "rms_norm_bf16", "ppplf";
    NORM_ROTATE = HEADS, "norm_rotate_bf16", "ppfpppliill";
    FINISH_SUMS = FINISH, "finish_bf16", "ppipppplll";
    GROUP_NORM_SUMS = GROUP_NORM, "group_norm_sums_bf16", "pplii";
    GROUP_NORM_JOIN = GROUP_NORM, "group_norm_join", "ppliif";
    GROUP_NORM_APPLY = GROUP_NORM, "group_norm_apply_bf16", "pppppliii";
    PATCHES_OF = PATCHES, "patches_bf16", "pplliill";
}

/// Attention, which is machine code for some cards.
pub(super) struct Attention {
    /// Compute capability that it was made for, times ten.
    pub(super) architecture: u32,
    pub(super) width: usize,
    pub(super) has_bias: bool,
    /// Queries of a block.
    pub(super) queries: usize,
    pub(super) name: &'static str,
    pub(super) code: &'static [u8],
}

/// The compute capabilities that run machine code made for an architecture.
const CARDS: [(u32, &[(i32, i32)]); 4] =
    [(80, &[(8, 0), (8, 6), (8, 7), (8, 8), (8, 9)]), (90, &[(9, 0)]), (100, &[(10, 0)]), (120, &[(12, 0)])];

/// What it takes: each tensor as an address, four lengths and four strides; queries, keys, values, and what comes out.
pub(super) const ATTENTION_TAKES: &str = "piiiiiiiipiiiiiiiipiiiiiiiipiiiiiiiifi";
/// The same with a bias before what comes out.
pub(super) const ATTENTION_BIAS_TAKES: &str = "piiiiiiiipiiiiiiiipiiiiiiiipiiiiiiiipiiiiiiiifi";

macro_rules! attention {
    ($($name:literal $architecture:literal $width:literal $has_bias:literal $queries:literal;)*) => {
        &[$(Attention {
            architecture: $architecture,
            width: $width,
            has_bias: $has_bias,
            queries: $queries,
            name: $name,
            code: include_bytes!(concat!("../../../../kernels/cuda/built/", $name, ".sm_", $architecture, ".cubin")),
        }),*]
    };
}

pub(super) static ATTENTION: &[Attention] = attention! {
    "attention_64" 80 64 false 128;
    "attention_64_bias" 80 64 true 64;
    "attention_128" 80 128 false 128;
    "attention_128_bias" 80 128 true 64;
    "attention_64" 90 64 false 128;
    "attention_64_bias" 90 64 true 128;
    "attention_128" 90 128 false 128;
    "attention_128_bias" 90 128 true 128;
    "attention_64" 100 64 false 128;
    "attention_64_bias" 100 64 true 128;
    "attention_128" 100 128 false 128;
    "attention_128_bias" 100 128 true 128;
    "attention_64" 120 64 false 128;
    "attention_64_bias" 120 64 true 128;
    "attention_128" 120 128 false 128;
    "attention_128_bias" 120 128 true 128;
};

impl Attention {
    /// For a card and heads of this width; nothing where there is none.
    pub(super) fn of(capability: (i32, i32), width: usize, has_bias: bool) -> Option<&'static Self> {
        let (architecture, _) = CARDS.iter().find(|(_, cards)| cards.contains(&capability))?;
        let fits = |it: &&Self| it.architecture == *architecture && it.width == width && it.has_bias == has_bias;
        ATTENTION.iter().find(fits)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The letter of an argument as the source declares it.
    fn letter(argument: &str) -> char {
        match argument.trim() {
            pointer if pointer.contains('*') => 'p',
            long if long.starts_with("long long ") => 'l',
            int if int.starts_with("int ") => 'i',
            float if float.starts_with("float ") => 'f',
            other => panic!("no letter for {other}"),
        }
    }

    #[test]
    fn every_kernel_takes_what_its_source_says() {
        for Kernel { module, name, takes } in ALL {
            let there = || panic!("{} has no {name}", module.name);
            let (_, rest) = module.source.split_once(&format!("{name}(")).unwrap_or_else(there);
            let (arguments, _) = rest.split_once(')').expect("its arguments end");
            assert_eq!(arguments.split(',').map(letter).collect::<String>(), *takes, "{name}");
        }
    }

    /// What the driver is given: the same arguments, by their sizes.
    #[test]
    fn every_kernel_is_in_what_was_compiled() {
        for Kernel { module, name, takes } in ALL {
            let (_, rest) = module.ptx.split_once(&format!(".entry {name}(")).expect("it was compiled");
            let (arguments, _) = rest.split_once(')').expect("its arguments end");
            let kind = |argument: &str| match argument.trim() {
                wide if wide.starts_with(".param .u64") => 8,
                narrow if narrow.starts_with(".param .u32") => 4,
                float if float.starts_with(".param .f32") => 0,
                other => panic!("{name}: {other}"),
            };
            let size = |letter: char| match letter {
                'p' | 'l' => 8,
                'i' => 4,
                _ => 0,
            };
            let compiled: Vec<i32> = arguments.split(',').map(kind).collect();
            assert_eq!(compiled, takes.chars().map(size).collect::<Vec<i32>>(), "{name}");
            assert!(module.ptx.contains(".target sm_80"), "{name} runs from compute capability 8.0 on");
        }
    }

    /// What the compiler of tiles wrote down beside what it made.
    #[test]
    fn attention_is_launched_as_its_description_says() {
        let text = include_str!("../../../../kernels/cuda/built/attention.json");
        let said: Value = serde_json::from_str(text).expect("JSON");
        let letters = |list: &str| -> String {
            let list = said[list].as_array().expect("a list");
            list.iter().map(|it| it["type"].as_str().and_then(|kind| kind.chars().next()).expect("a type")).collect()
        };
        assert_eq!(letters("arguments"), ATTENTION_TAKES);
        assert_eq!(letters("arguments_with_bias"), ATTENTION_BIAS_TAKES);
        assert_eq!(said["launch"]["block"], serde_json::json!([1, 1, 1]));
        let kernels = said["kernels"].as_array().expect("a list");
        assert_eq!(kernels.len(), ATTENTION.len());
        for kernel in kernels {
            let width = kernel["width"].as_u64().expect("a number") as usize;
            let has_bias = kernel["bias"].as_bool().expect("yes or no");
            for card in kernel["cards"].as_array().expect("a list") {
                let (major, minor) = card.as_str().and_then(|card| card.split_once('.')).expect("a capability");
                let capability = (major.parse().expect("a number"), minor.parse().expect("a number"));
                let found = Attention::of(capability, width, has_bias).expect("there is one for the card");
                assert_eq!(found.name, kernel["symbol"]);
                assert_eq!(found.queries as u64, kernel["queries"].as_u64().expect("a number"));
                assert!(kernel["architecture"] == found.architecture && found.code.starts_with(b"\x7fELF"));
            }
        }
        assert!(Attention::of((7, 5), 128, false).is_none() && Attention::of((9, 0), 96, false).is_none());
    }
}
