//! Where the pictures go: into files, or to stdout.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use scumble_api::ImageFormat;
use scumble_worker::Picture;

use crate::args::Run;
use crate::failure::Failure;
use crate::out;

/// What stands for stdout.
const STDOUT: &str = "-";

/// Where the pictures of a run go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// One file for each.
    Files(Vec<PathBuf>),
    /// One picture, and nothing else there.
    Stdout,
}

/// The format that the output file's name asks for.
pub(super) fn wanted_format(args: &Run) -> Result<Option<ImageFormat>, Failure> {
    let Some(path) = args.output.as_deref().filter(|path| !is_stdout(path)) else { return Ok(None) };
    match format_of(path) {
        Some(format) => Ok(Some(format)),
        None => Err(Failure::Usage(format!(
            "{} should end in .png, .jpg, .jpeg or .webp; - writes the picture to stdout",
            path.display()
        ))),
    }
}

/// The format that a file's name asks for, if it is one of those that are drawn.
pub(in crate::commands) fn format_of(path: &Path) -> Option<ImageFormat> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    ImageFormat::of_extension(extension).filter(|format| *format != ImageFormat::Svg)
}

impl Target {
    /// Where they go, and that they can, before anything is drawn.
    pub(super) fn choose(
        args: &Run,
        prompt: &str,
        seed: u64,
        images: u32,
        format: ImageFormat,
    ) -> Result<Self, Failure> {
        if !args.output.as_deref().is_some_and(is_stdout) {
            let paths = paths(args.output.as_deref(), prompt, seed, images, format);
            check_writable(&paths)?;
            return Ok(Self::Files(paths));
        }
        let wrong = |why: &str| Err(Failure::Usage(format!("-o -: {why}")));
        if images > 1 {
            return wrong(&format!("stdout takes one picture, and {images} were asked for; name a file: -o x.png"));
        }
        if args.json {
            return wrong("--json prints to stdout too, where the picture goes; name a file: -o x.png");
        }
        if std::io::stdout().is_terminal() {
            return wrong("stdout is a terminal, which a picture's bytes would upset; use -o FILE, a pipe, or --show");
        }
        Ok(Self::Stdout)
    }

    /// Brings them there.
    pub(super) fn put(&self, pictures: &[Picture]) -> Result<(), Failure> {
        match self {
            Self::Files(paths) => {
                for (picture, path) in pictures.iter().zip(paths) {
                    std::fs::write(path, &picture.bytes).map_err(|e| Failure::about("write", path, e))?;
                }
                Ok(())
            }
            Self::Stdout => pictures.iter().try_for_each(|picture| out::bytes(&picture.bytes)),
        }
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new(STDOUT)
}

/// One path per picture; several share a stem.
fn paths(wanted: Option<&Path>, prompt: &str, seed: u64, images: u32, format: ImageFormat) -> Vec<PathBuf> {
    let named = || PathBuf::from(format!("{}-{seed}.{}", slug(prompt), format.extension()));
    let path = wanted.map_or_else(named, Path::to_owned);
    if images == 1 {
        return vec![path];
    }
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("image").to_owned();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or(format.extension()).to_owned();
    (1..=images).map(|i| path.with_file_name(format!("{stem}-{i}.{extension}"))).collect()
}

/// A prompt as the beginning of a file's name.
fn slug(prompt: &str) -> String {
    let words = prompt.to_lowercase();
    let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    let mut slug = String::new();
    for word in words {
        if slug.len() + word.len() > 60 {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(word);
    }
    if slug.is_empty() { "image".into() } else { slug }
}

/// A folder that is missing should be found out before minutes of work, not after.
pub(in crate::commands) fn check_writable(paths: &[PathBuf]) -> Result<(), Failure> {
    for path in paths {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(Failure::about("write", path, format!("there is no folder {}", folder.display())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_from_prompt_and_seed() {
        let paths = |wanted: Option<&str>, images| {
            paths(wanted.map(Path::new), "Two RED stars, please!", 7, images, ImageFormat::Png)
        };
        assert_eq!(paths(None, 1), [PathBuf::from("two-red-stars-please-7.png")]);
        assert_eq!(paths(Some("out/a.jpeg"), 2), [PathBuf::from("out/a-1.jpeg"), PathBuf::from("out/a-2.jpeg")]);
        assert_eq!(slug("☃"), "image");
    }
}
