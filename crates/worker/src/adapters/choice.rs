//! Which of several files is meant.

use std::collections::BTreeMap;

use super::format::{Format, Named};
use super::trouble::{At, Trouble};

/// What was chosen, by names in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// One file, or all shards of one set, in order.
    pub(super) weights: Vec<String>,
    pub(super) config: Option<String>,
    pub(super) preprocessor: Option<String>,
}

/// Names that their publishers' tools give: of several files, one of these is the one that is meant.
const USUAL: [&str; 3] = ["pytorch_lora_weights", "diffusion_pytorch_model", "model"];
const CONFIG: &str = "config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";
/// So many are named in a message.
const LISTED: usize = 20;

/// Chooses among the files of one folder, by name where one was given. `elsewhere` are weights in other folders, for the
/// message.
pub(super) fn choose(
    names: &[String],
    wanted: Option<(&str, At)>,
    pickles: bool,
    elsewhere: &[String],
) -> Result<Chosen, Trouble> {
    let there = |name: &str| names.iter().find(|known| *known == name).cloned();
    let list = || listed(names, elsewhere, pickles);
    let weights = match wanted {
        Some((name, at)) => {
            check_name(name, at, pickles)?;
            by_name(names, name).ok_or_else(|| Trouble::named(at, format!("there is no such file. {}", list())))?
        }
        None => {
            let mut sets = sets(names, pickles);
            match (USUAL.iter().find_map(|stem| sets.remove(*stem)), sets.len()) {
                (Some(set), _) => set,
                (None, 1) => sets.into_values().next().unwrap_or_default(),
                (None, 0) => {
                    return Err(Trouble::named(At::Path, format!("it holds no weights here. {}", list())));
                }
                (None, _) => {
                    let said = format!("it holds several files of weights; name one of them. {}", list());
                    return Err(Trouble::named(At::Path, said));
                }
            }
        }
    };
    Ok(Chosen { weights, config: there(CONFIG), preprocessor: there(PREPROCESSOR) })
}

/// Refuses names that tell what is not read.
pub(super) fn check_name(name: &str, at: At, pickles: bool) -> Result<(), Trouble> {
    let refused = |what: &str| {
        Err(Trouble::named(at, format!("{what} files are not read; allowed are {}", Format::allowed(pickles))))
    };
    match Named::of(name) {
        Named::As(format) if !format.is_weights(pickles) => refused(&format!(".{}", format.extension())),
        Named::Other(end) => refused(&format!(".{end}")),
        Named::As(_) | Named::Nothing => Ok(()),
    }
}

/// The file of this name, with the other shards of its set.
fn by_name(names: &[String], name: &str) -> Option<Vec<String>> {
    let Named::As(format) = Named::of(name) else { return None };
    sets_of(names, format).into_values().find(|files| files.iter().any(|file| file == name))
}

/// Files that belong together, by what their names have in common. Safetensors go before the same in a pickle.
fn sets(names: &[String], pickles: bool) -> BTreeMap<String, Vec<String>> {
    let mut sets = sets_of(names, Format::Safetensors);
    if pickles {
        for (stem, files) in sets_of(names, Format::Pickle) {
            sets.entry(stem).or_insert(files);
        }
    }
    sets
}

fn sets_of(names: &[String], format: Format) -> BTreeMap<String, Vec<String>> {
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names.iter().filter(|name| Named::of(name) == Named::As(format)) {
        let stem = &name[..name.len() - format.extension().len() - 1];
        // transformers' name for what it writes as a pickle
        let stem = if stem == "pytorch_model" { "model" } else { shard_stem(stem).unwrap_or(stem) };
        sets.entry(stem.to_owned()).or_default().push(name.clone());
    }
    sets.values_mut().for_each(|files| files.sort_unstable());
    sets
}

/// `model` of `model-00001-of-00003`.
fn shard_stem(stem: &str) -> Option<&str> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, place) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (digits(place) && digits(count)).then_some(stem)
}

fn listed(names: &[String], elsewhere: &[String], pickles: bool) -> String {
    let is_weights = |name: &&String| matches!(Named::of(name), Named::As(format) if format.is_weights(pickles));
    let all: Vec<&str> = names.iter().chain(elsewhere).filter(is_weights).map(String::as_str).collect();
    let more = all.len().saturating_sub(LISTED);
    let named = all.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    match (all.is_empty(), more) {
        (true, _) => format!("Allowed are {}, and there are none", Format::allowed(pickles)),
        (false, 0) => format!("There are: {named}"),
        (false, more) => format!("There are: {named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn chosen(list: &[&str], wanted: Option<&str>, pickles: bool) -> Result<Vec<String>, String> {
        let wanted = wanted.map(|name| (name, At::WeightName));
        choose(&names(list), wanted, pickles, &[])
            .map(|chosen| chosen.weights)
            .map_err(|trouble| format!("{trouble:?}"))
    }

    #[test]
    fn one_file_one_set_of_shards_or_the_usual_name() {
        assert_eq!(chosen(&["a.safetensors", "README.md"], None, false), Ok(names(&["a.safetensors"])));
        let shards = ["m-00002-of-00002.safetensors", "m-00001-of-00002.safetensors", "m.safetensors.index.json"];
        assert_eq!(chosen(&shards, None, false), Ok(names(&[shards[1], shards[0]])));
        let usual = ["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors"];
        assert_eq!(chosen(&usual, None, false), Ok(names(&usual[1..])));
        let both = ["model.safetensors", "pytorch_model.bin"];
        assert_eq!(chosen(&both, None, true), Ok(names(&both[..1])));
        assert_eq!(chosen(&both, Some("pytorch_model.bin"), true), Ok(names(&both[1..])));
        assert_eq!(chosen(&["ip-adapter.bin"], None, true), Ok(names(&["ip-adapter.bin"])));
        assert_eq!(
            chosen(&["a.safetensors", "b.safetensors"], Some("b.safetensors"), false),
            Ok(names(&["b.safetensors"]))
        );
        let found = choose(&names(&["a.safetensors", "config.json", "preprocessor_config.json"]), None, false, &[]);
        let found = found.expect("one file");
        assert_eq!((found.config.is_some(), found.preprocessor.is_some()), (true, true));
    }

    #[test]
    fn what_is_not_clear_is_listed() {
        let several = chosen(&["b.safetensors", "a.safetensors"], None, false).expect_err("two");
        assert!(several.contains("a.safetensors") && several.contains("b.safetensors"), "{several}");
        let none = chosen(&["ip-adapter.bin"], None, false).expect_err("a pickle");
        assert!(none.contains("there are none") && !none.contains("ip-adapter"), "{none}");
        let elsewhere = choose(&[], None, false, &names(&["sub/a.safetensors"])).expect_err("in another folder");
        assert!(format!("{elsewhere:?}").contains("sub/a.safetensors"));
        assert!(chosen(&["a.safetensors"], Some("c.safetensors"), false).is_err());
        assert!(chosen(&["a.ckpt"], Some("a.ckpt"), true).expect_err("a checkpoint").contains(".ckpt"));
        let many: Vec<String> = (0..50).map(|n| format!("{n}.safetensors")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(chosen(&many, None, false).expect_err("many").contains("and 30 more"));
    }
}
