//! How settings are declared, and what is made of the declarations.

/// A section of scumble.toml.
pub(super) struct Section {
    /// Its name there, in brackets.
    pub(super) name: &'static str,
    pub(super) settings: &'static [Setting],
}

/// One setting.
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) unset: Unset,
    /// What it means, in Markdown, with links as in docs/SETTINGS.md.
    pub(super) meaning: &'static str,
}

/// What is where a setting is not set.
pub(super) enum Unset {
    /// As if this had been written.
    Value(&'static str),
    /// What these words say; and an example of what may be written.
    Otherwise(&'static str, &'static str),
}

pub(super) const fn value(text: &'static str) -> Unset {
    Unset::Value(text)
}

pub(super) const fn otherwise(said: &'static str, example: &'static str) -> Unset {
    Unset::Otherwise(said, example)
}

/// Declares a section: a struct that serde reads, and [`Section`] as its `DECLARED`. A field is its documentation, its name and
/// type, and what is where it is not set.
macro_rules! section {
    (
        $(#[$meta:meta])*
        $name:ident of $section:literal {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $unset:expr,)*
        }
    ) => {
        $(#[$meta])*
        pub(super) struct $name {
            $($(#[doc = $doc])+ pub(super) $field: $type,)*
        }

        impl $name {
            pub(super) const DECLARED: Section = Section {
                name: $section,
                settings: &[
                    $(Setting { name: stringify!($field), unset: $unset, meaning: concat!($($doc),+) },)*
                ],
            };
        }
    };
}

pub(super) use section;

/// What the sample begins with.
const ABOUT: &str = "Every setting of scumble.toml, switched off by the # before it: its default, or an example where there is \
                     no value by default. A server tells more at /docs/settings.";

/// Columns of the sample's comments.
const WIDTH: usize = 100;

/// A scumble.toml that says every setting and changes none: defaults and examples behind `#`.
pub(crate) fn sample() -> String {
    let mut text = String::new();
    for line in wrapped(ABOUT) {
        text.push_str(&format!("# {line}\n"));
    }
    for section in super::sections::SECTIONS {
        let name = section.name.replace("ENDPOINT", "fal-ai/flux/schnell");
        text.push_str(&format!("\n# [{name}]\n"));
        for Setting { name, unset, meaning } in section.settings {
            let (written, default) = match unset {
                Unset::Value(text) => (text, String::new()),
                Unset::Otherwise(said, example) => (example, format!(" (default: {said})")),
            };
            text.push('\n');
            for line in wrapped(&(plain(meaning) + &default)) {
                text.push_str(&format!("# {line}\n"));
            }
            text.push_str(&format!("# {name} = {written}\n"));
        }
    }
    text + "\n# [providers.MAKER]: /docs/makers of a server\n"
}

/// Markdown without marks, and with links as the addresses that a server has for the documents: the file that is printed is
/// read elsewhere than they are.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown.trim();
    while let Some((before, link)) = rest.split_once("](") {
        let (before, words) = before.rsplit_once('[').unwrap_or((before, ""));
        let (target, after) = link.split_once(')').unwrap_or((link, ""));
        text.push_str(before);
        text.push_str(&linked(words, target));
        rest = after;
    }
    (text + rest).replace('`', "")
}

/// `below` and names of documents are the address alone; other words keep theirs.
fn linked(words: &str, target: &str) -> String {
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let document = file.strip_suffix(".md").unwrap_or("SETTINGS").to_ascii_lowercase();
    let address = heading.map_or(format!("/docs/{document}"), |heading| format!("/docs/{document}#{heading}"));
    match words == "below" || words.eq_ignore_ascii_case(&document) {
        true => address,
        false => format!("{words} ({address})"),
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + word.chars().count() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use scumble_worker::ModelsConfig;

    use super::*;
    use crate::args::{Args, Command};
    use crate::settings::Settings;
    use crate::settings::file::File;
    use crate::settings::sections::SECTIONS;

    /// What `serve` makes of a file.
    fn read(folder: &Path, text: &str) -> Result<Settings, String> {
        let file = folder.join("scumble.toml");
        std::fs::write(&file, text).unwrap();
        let (file, data) = (file.to_str().unwrap(), folder.join("data"));
        let words = ["scumble", "serve", "--config", file, "--data-dir", data.to_str().unwrap()];
        let Command::Serve(serve) = Args::try_parse_from(words).unwrap().command else { unreachable!() };
        Settings::read(&serve).map_err(|failure| format!("{failure:?}"))
    }

    /// A default that is declared is the one that counts where nothing is written.
    #[test]
    fn what_is_said_to_be_the_default_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut text = String::new();
        let mut count = 0;
        for section in SECTIONS {
            text.push_str(&format!("[{}]\n", section.name));
            for setting in section.settings {
                if let Unset::Value(value) = setting.unset {
                    text.push_str(&format!("{} = {value}\n", setting.name));
                    count += 1;
                }
            }
        }
        // sections that mean something by being there
        let text = text.replace("[prompts]\n", "").replace("[models.\"ENDPOINT\"]\n", "");
        let of = |text: &str| {
            let Settings { listen, connect, connections, server, mut worker, mut models, .. } =
                read(folder.path(), text).unwrap();
            // drawn anew each time
            worker.name.clear();
            if models.devices.is_empty() {
                models.devices.push("cpu".into());
            }
            let ModelsConfig { models, devices, memory, keep_alive, preload, stand_in, safety, .. } = models;
            let models = (models, devices, memory, keep_alive, preload, stand_in, safety);
            let adapters = super::super::adapters::config(&toml::from_str::<File>(text).unwrap().adapters).unwrap();
            format!("{listen:?} {connect} {connections:#?} {server:#?} {worker:#?} {models:#?} {adapters:#?}")
        };
        assert_eq!(of(""), of(&text));
        assert!(count > 25, "{count}");
    }

    /// The sample changes nothing; with every line switched on it is a file that is understood.
    #[test]
    fn the_sample_is_accepted_as_it_is_and_with_all_that_it_shows() {
        let folder = tempfile::tempdir().unwrap();
        read(folder.path(), &sample()).unwrap();
        let is_written = |line: &&str| {
            let line = line.trim_start_matches("# ");
            line.starts_with('[') && !line.contains("MAKER")
                || line.split_once(" = ").is_some_and(|(name, _)| {
                    SECTIONS.iter().any(|section| section.settings.iter().any(|setting| setting.name == name))
                })
        };
        let sample = sample();
        let on: String =
            sample.lines().filter(is_written).map(|line| line.trim_start_matches("# ").to_owned() + "\n").collect();
        let count: usize = SECTIONS.iter().map(|section| section.settings.len() + 1).sum();
        assert_eq!(on.lines().count(), count, "{on}");
        read(folder.path(), &on).unwrap();
        assert!(sample.lines().all(|line| line.chars().count() <= WIDTH + 2 || line.contains(" = ")));
    }

    /// What is printed is read without the page that it is from.
    #[test]
    fn links_of_the_sample_lead_to_the_documents_of_a_server() {
        let sample = sample().replace("\n# ", " ");
        assert!(!sample.contains("below)") && !sample.contains("See below"), "{sample}");
        for words in [
            "See /docs/settings#without-keys for what a proxy means",
            "in what it passes on (/docs/settings#behind-a-proxy)",
            "on stderr an object (/docs/monitoring#logs)",
            "programs that speak OpenAI's API (/docs/clients#openais-clients)",
        ] {
            assert!(sample.contains(words), "{words}: {sample}");
        }
    }

    /// Every section that the file takes is declared.
    #[test]
    fn no_section_is_forgotten() {
        let said = toml::from_str::<File>("x = 1").unwrap_err().to_string();
        let known = said.split('`').skip(3).step_by(2).collect::<Vec<_>>();
        assert!(known.len() > 10, "{said}");
        for name in known.into_iter().filter(|name| *name != "providers") {
            let declared = SECTIONS.iter().any(|section| section.name.split('.').next() == Some(name));
            assert!(declared, "{name}");
        }
    }

    /// The tables of docs/SETTINGS.md; `UPDATE_EXPECT=1` writes them.
    #[test]
    fn documents_have_the_tables() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join("SETTINGS.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut wanted = text.clone();
        for section in SECTIONS {
            let mut table = String::from("| key | default | meaning |\n|---|---|---|\n");
            for Setting { name, unset, meaning } in section.settings {
                let default = match unset {
                    Unset::Value(value) => format!("`{value}`"),
                    Unset::Otherwise(said, _) => (*said).to_owned(),
                };
                table.push_str(&format!("| `{name}` | {default} | {} |\n", meaning.trim()));
            }
            let mark = format!("<!-- settings: {} -->\n", section.name);
            let (before, rest) = wanted.split_once(&mark).unwrap_or_else(|| panic!("{mark} is missing"));
            let (_, after) = rest.split_once("<!-- end -->").unwrap();
            wanted = format!("{before}{mark}\n{table}\n<!-- end -->{after}");
        }
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == wanted, "UPDATE_EXPECT=1 writes the tables anew");
    }
}
