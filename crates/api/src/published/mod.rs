//! The open models: in which repositories their weights are published, under which licences, and in which forms.
//!
//! A form more is a row more in [`PUBLISHED`].

mod table;

pub use table::{CHECKERS, PUBLISHED};

use crate::endpoint::Endpoint;

/// A model whose weights anybody can get.
#[derive(Debug)]
pub struct Published {
    /// What its folder is called where it was fetched to.
    pub name: &'static str,
    /// The endpoints that it answers.
    pub endpoints: &'static [&'static str],
    /// All that it needs: its own repository, then those that this one leaves out.
    pub repositories: &'static [Repository],
    /// The forms of its weights; the first is what is fetched where none is named.
    pub variants: &'static [Variant],
}

/// A repository, and what of it is needed.
#[derive(Clone, Copy, Debug)]
pub struct Repository {
    /// `owner/name`.
    pub id: &'static str,
    /// The terms of what is in it.
    pub licence: Licence,
    /// Whether its publisher wants the licence accepted before anything is handed out.
    pub gated: bool,
    /// What is needed.
    pub parts: &'static [Part],
}

/// The terms of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Licence {
    /// For people.
    pub name: &'static str,
    /// Whether money may be earned with it, in a few words; nothing where there is no such limit.
    pub limit: Option<&'static str>,
}

/// What is needed of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One small file, under this path.
    File(&'static str),
    /// The files of a tokenizer: of this folder of the repository, into that one of the model.
    Tokenizer {
        /// In the repository; nothing for its root.
        from: &'static str,
        /// In the model's folder.
        to: &'static str,
    },
    /// `config.json`, and weights in one file or in shards.
    Weights {
        /// In the repository; nothing for its root.
        from: &'static str,
        /// In the model's folder.
        to: &'static str,
        /// How the files' names begin.
        base: &'static str,
    },
}

/// A form in which weights are published.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// As `--variant` takes it.
    pub name: &'static str,
    /// Bytes of all that is fetched for it, nearly.
    pub bytes: u64,
    /// How they are kept.
    pub form: Form,
}

/// How weights are kept.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A folder for each component. Where a repository holds several sets, this word stands in the names of the one that is
    /// meant: `model.fp16.safetensors`.
    Folder {
        /// The word.
        word: Option<&'static str>,
    },
    /// One component in one file of another repository; all else from the model's own.
    File {
        /// Whose weights these are: `transformer`.
        component: &'static str,
        /// Where the file is.
        repository: &'static str,
        /// Its path there.
        file: &'static str,
    },
}

/// The model whose published weights answer this endpoint.
pub fn published(id: &str) -> Option<&'static Published> {
    PUBLISHED.iter().find(|model| model.endpoints.contains(&id))
}

/// The checker of this name, as settings have it.
pub fn checker(name: &str) -> Option<&'static Published> {
    CHECKERS.iter().find(|(own, _)| *own == name).map(|(_, published)| published)
}

/// All that can be fetched: what draws, and what looks at pictures.
pub fn all() -> impl Iterator<Item = &'static Published> {
    PUBLISHED.iter().chain(CHECKERS.iter().map(|(_, published)| published))
}

impl Published {
    /// What `scumble models pull` knows it by: an endpoint, or the name of a checker.
    pub fn pulled_as(&self) -> &'static str {
        let checker = || CHECKERS.iter().find(|(_, published)| published.name == self.name).map(|(name, _)| *name);
        self.endpoints.first().copied().or_else(checker).unwrap_or(self.name)
    }

    /// Its own repository.
    pub fn own(&self) -> &'static Repository {
        &self.repositories[0]
    }

    /// The form of this name.
    pub fn variant(&self, name: &str) -> Option<&'static Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }
}

impl Variant {
    /// How many bytes, for people.
    pub fn size(&self) -> String {
        gigabytes(self.bytes)
    }
}

impl Endpoint {
    /// The command that fetches what this endpoint needs, where that is published.
    pub fn pull_command(&self) -> Option<String> {
        published(self.id).map(|_| format!("scumble models pull {}", self.id))
    }
}

/// A size for people, in units of a thousand, as publishers name theirs.
pub fn gigabytes(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A size that somebody has set, in the unit that divides it: 64 GiB is not told as 68.7 GB.
pub fn whole_units(bytes: u64) -> String {
    const UNITS: [(&str, u64); 6] =
        [("GiB", 1 << 30), ("GB", 1_000_000_000), ("MiB", 1 << 20), ("MB", 1_000_000), ("KiB", 1 << 10), ("B", 1)];
    let whole = UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    whole.map_or_else(String::new, |(name, unit)| format!("{} {name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoints::{ENDPOINTS, find};

    #[test]
    fn every_endpoint_of_an_open_model_has_its_weights_in_one_row() {
        for endpoint in ENDPOINTS {
            let rows = PUBLISHED.iter().filter(|model| model.endpoints.contains(&endpoint.id)).count();
            let is_open = endpoint.family.maker().is_none() && endpoint.id != "scumble/starter";
            assert_eq!(rows, usize::from(is_open), "{}", endpoint.id);
        }
        for model in PUBLISHED {
            let unknown: Vec<_> = model.endpoints.iter().filter(|id| find(id).is_none()).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?}", model.name);
            let classes: Vec<_> = model.endpoints.iter().map(|id| find(id).map(Endpoint::pipeline)).collect();
            assert!(classes.windows(2).all(|pair| pair[0] == pair[1]), "{}: one class answers all", model.name);
        }
    }

    #[test]
    fn names_are_unique_and_the_first_form_is_a_folder() {
        for (at, model) in PUBLISHED.iter().enumerate() {
            assert!(PUBLISHED[..at].iter().all(|other| other.name != model.name), "{}", model.name);
            assert!(matches!(model.variants[0].form, Form::Folder { .. }), "{}", model.name);
            for (at, variant) in model.variants.iter().enumerate() {
                assert!(model.variants[..at].iter().all(|other| other.name != variant.name), "{}", variant.name);
                assert!(variant.bytes > 1_000_000_000, "{} {}", model.name, variant.name);
            }
            assert_eq!(model.own().parts.first(), Some(&Part::File("model_index.json")), "{}", model.name);
        }
    }

    #[test]
    fn checkers_have_names_of_their_own_and_answer_no_endpoint() {
        for (name, published) in CHECKERS {
            assert!(PUBLISHED.iter().all(|model| model.name != published.name) && find(name).is_none(), "{name}");
            assert!(published.endpoints.is_empty() && checker(name).is_some_and(|found| found.name == published.name));
            assert_eq!(published.pulled_as(), *name);
            assert!(matches!(published.variants, [Variant { form: Form::Folder { word: None }, .. }]), "{name}");
        }
    }

    #[test]
    fn sizes_are_for_people() {
        let all = [0, 999, 1500, 2_420_000, 23_782_506_688].map(gigabytes);
        assert_eq!(all, ["0 B", "999 B", "1.5 kB", "2.4 MB", "23.8 GB"]);
    }
}
