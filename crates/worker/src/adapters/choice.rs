//! Which of several files is meant.

use std::collections::BTreeMap;

use scumble_api::InputWeights;

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

/// The most shards of one set.
const SHARDS: usize = 64;

/// Chooses among the files of one folder, by name where one was given. `elsewhere` are weights in other folders, for the
/// message.
pub(super) fn choose(
    names: &[String],
    wanted: Option<(&str, At)>,
    weights: &InputWeights,
    elsewhere: &[String],
) -> Result<Chosen, Trouble> {
    let pickles = weights.pickles;
    let there = |name: &str| names.iter().find(|known| *known == name).cloned();
    let list = || listed(names, elsewhere, pickles);
    let set = match wanted {
        Some((name, at)) => {
            check_name(name, at, pickles)?;
            by_name(names, name).ok_or_else(|| match there(name) {
                Some(_) => Trouble::named(at, not_weights(pickles)),
                None => Trouble::named(at, format!("there is no such file. {}", list())),
            })?
        }
        None => {
            let mut sets = sets(names, pickles);
            let usual = USUAL.iter().find_map(|stem| {
                let at = sets.iter().position(|set| set.stem == *stem)?;
                Some(sets.swap_remove(at))
            });
            match (usual, sets.len()) {
                (Some(set), _) => set,
                (None, 1) => sets.swap_remove(0),
                (None, 0) => {
                    let [folder, _] = &weights.beside;
                    let said = format!("it holds no weights here. {}{}", list(), naming(folder, elsewhere));
                    return Err(Trouble::named(At::Path, said));
                }
                (None, _) => {
                    let [_, file] = &weights.beside;
                    let said = match file {
                        Some(field) => format!("it holds several files of weights; name one of them in {field}"),
                        None => "it holds several files of weights; name one of them behind this path".to_owned(),
                    };
                    return Err(Trouble::named(At::Path, format!("{said}. {}", list())));
                }
            }
        }
    };
    let weights = set.whole().map_err(|said| Trouble::named(wanted.map_or(At::Path, |(_, at)| at), said))?;
    Ok(Chosen { weights, config: there(CONFIG), preprocessor: there(PREPROCESSOR) })
}

/// How one of those in other folders is named.
fn naming(field: &Option<String>, elsewhere: &[String]) -> String {
    match field {
        _ if elsewhere.is_empty() => String::new(),
        Some(field) => format!(". Name the folder in {field}, or behind this path"),
        None => ". Name one of them behind this path".to_owned(),
    }
}

fn not_weights(pickles: bool) -> String {
    format!("this is not a file of weights; allowed are {}", Format::allowed(pickles))
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

/// Files that belong together.
struct Set<'a> {
    /// What their names have in common.
    stem: &'a str,
    /// How many there have to be; none for a file of its own.
    count: Option<usize>,
    /// Their places in the set, from 1.
    files: BTreeMap<usize, &'a str>,
}

impl Set<'_> {
    /// All of its files, in order, if none is missing.
    fn whole(&self) -> Result<Vec<String>, String> {
        let count = self.count.unwrap_or(1);
        if count == 0 {
            return Err(format!("{} names itself one of no shards", self.stem));
        }
        if count > SHARDS {
            return Err(format!("{} has {count} shards; at most {SHARDS} are read", self.stem));
        }
        if let Some(missing) = (1..=count).find(|place| !self.files.contains_key(place)) {
            return Err(format!(
                "of the {count} shards of {} {} are there; number {missing} is missing",
                self.stem,
                self.files.len().min(count)
            ));
        }
        Ok(self.files.range(1..=count).map(|(_, name)| (*name).to_owned()).collect())
    }
}

/// The file of this name, with the other shards of its set.
fn by_name<'a>(names: &'a [String], name: &str) -> Option<Set<'a>> {
    let Named::As(format) = Named::of(name) else { return None };
    sets_of(names, format).into_iter().find(|set| set.files.values().any(|file| *file == name))
}

/// All sets. Of several with one stem a file of its own goes before shards, and safetensors before a pickle.
fn sets(names: &[String], pickles: bool) -> Vec<Set<'_>> {
    let mut sets: Vec<Set<'_>> = Vec::new();
    let pickled = pickles.then(|| sets_of(names, Format::Pickle)).into_iter().flatten();
    for set in sets_of(names, Format::Safetensors).into_iter().chain(pickled) {
        if !sets.iter().any(|known| known.stem == set.stem) {
            sets.push(set);
        }
    }
    sets
}

fn sets_of(names: &[String], format: Format) -> Vec<Set<'_>> {
    let mut sets: BTreeMap<(&str, Option<usize>), BTreeMap<usize, &str>> = BTreeMap::new();
    for name in names.iter().filter(|name| Named::of(name) == Named::As(format)) {
        let stem = &name[..name.len() - format.extension().len() - 1];
        let (stem, place, count) =
            shard(stem).map_or((stem, 1, None), |(stem, place, count)| (stem, place, Some(count)));
        // transformers' name for what it writes as a pickle
        let stem = if stem == "pytorch_model" { "model" } else { stem };
        sets.entry((stem, count)).or_default().insert(place, name);
    }
    sets.into_iter().map(|((stem, count), files)| Set { stem, count, files }).collect()
}

/// `model`, 1 and 3 of `model-00001-of-00003`.
fn shard(stem: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, place) = rest.rsplit_once('-')?;
    let number = |text: &str| {
        let plain = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| plain)
    };
    Some((stem, number(place)?, number(count)?))
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

    fn lora(pickles: bool) -> InputWeights {
        InputWeights {
            path: vec!["path".into()],
            source: "owner/name".into(),
            subfolder: None,
            weight_name: None,
            beside: [Some("image_encoder_subfolder".into()), Some("image_encoder_weight_name".into())],
            pickles,
        }
    }

    fn chosen(list: &[&str], wanted: Option<&str>, pickles: bool) -> Result<Vec<String>, String> {
        let wanted = wanted.map(|name| (name, At::WeightName));
        choose(&names(list), wanted, &lora(pickles), &[])
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
        let found =
            choose(&names(&["a.safetensors", "config.json", "preprocessor_config.json"]), None, &lora(false), &[]);
        let found = found.expect("one file");
        assert_eq!((found.config.is_some(), found.preprocessor.is_some()), (true, true));
    }

    #[test]
    fn a_set_of_shards_is_whole_and_not_too_large() {
        let one = ["m-00001-of-00002.safetensors", "m-00001-of-00003.safetensors"];
        for wanted in [None, Some(one[0])] {
            let said = chosen(&one[..1], wanted, false).expect_err("half a set");
            assert!(said.contains("number 2 is missing"), "{said}");
        }
        assert!(chosen(&one, Some(one[1]), false).expect_err("two thirds").contains("number 2 is missing"));
        let shards = |count: usize| -> Vec<String> {
            (1..=count).map(|place| format!("m-{place:05}-of-{count:05}.safetensors")).collect()
        };
        let choose = |names: &[String]| choose(names, None, &lora(false), &[]);
        assert_eq!(choose(&shards(64)).expect("as many as may be").weights, shards(64));
        let many = format!("{:?}", choose(&shards(300)).expect_err("more"));
        assert!(many.contains("300 shards; at most 64"), "{many}");
        assert!(choose(&["m-00000-of-00000.safetensors".to_owned()]).is_err());
        let mut both = shards(2);
        both.push("m.safetensors".into());
        assert_eq!(choose(&both).expect("one file").weights, ["m.safetensors"]);
    }

    #[test]
    fn what_is_not_clear_is_listed() {
        let several = chosen(&["b.safetensors", "a.safetensors"], None, false).expect_err("two");
        assert!(several.contains("a.safetensors") && several.contains("b.safetensors"), "{several}");
        let none = chosen(&["ip-adapter.bin"], None, false).expect_err("a pickle");
        assert!(none.contains("there are none") && !none.contains("ip-adapter"), "{none}");
        assert!(several.contains("in image_encoder_weight_name"), "{several}");
        let elsewhere = choose(&[], None, &lora(false), &names(&["sub/a.safetensors"])).expect_err("in another folder");
        let elsewhere = format!("{elsewhere:?}");
        assert!(
            elsewhere.contains("sub/a.safetensors") && elsewhere.contains("image_encoder_subfolder"),
            "{elsewhere}"
        );
        for other in ["README.md", "config.json"] {
            let said = chosen(&["README.md", "config.json"], Some(other), false).expect_err(other);
            assert!(said.contains("not a file of weights"), "{said}");
        }
        assert!(chosen(&["a.safetensors"], Some("c.safetensors"), false).is_err());
        assert!(chosen(&["a.ckpt"], Some("a.ckpt"), true).expect_err("a checkpoint").contains(".ckpt"));
        let many: Vec<String> = (0..50).map(|n| format!("{n}.safetensors")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(chosen(&many, None, false).expect_err("many").contains("and 30 more"));
    }
}
