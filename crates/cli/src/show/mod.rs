//! `--show`: a picture in the terminal. There are three ways to tell a terminal; which it understands is known from the
//! environment. Asking the terminal itself would mean to wait for an answer that most never give.

mod iterm;
mod kitty;
mod sixel;

use std::io::{Cursor, ErrorKind, IsTerminal, Write};

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat};

use crate::args::Show;
use crate::failure::Failure;

/// What a terminal understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Kitty,
    Iterm,
    Sixel,
}

/// A terminal that pictures can be shown in.
pub(crate) struct Screen {
    protocol: Protocol,
    /// Whether stdout is where people look, or else stderr.
    on_stdout: bool,
    /// The most pixels that a picture may have, width and height.
    room: (u32, u32),
}

impl Screen {
    /// Finds out before anything is drawn. Whoever names a way decides, also where there is no terminal.
    pub(crate) fn find(how: Show) -> Result<Self, Failure> {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let protocol = match how {
            Show::Kitty => Protocol::Kitty,
            Show::Iterm => Protocol::Iterm,
            Show::Sixel => Protocol::Sixel,
            Show::Auto if !out && !err => {
                return Err(Failure::Usage("--show needs a terminal: neither stdout nor stderr is one".to_owned()));
            }
            Show::Auto => Protocol::of(&variable).map_err(Failure::Usage)?,
        };
        Ok(Self { protocol, on_stdout: out, room: room() })
    }

    /// Shows the picture of a file, smaller where it would not fit.
    pub(crate) fn show(&self, file: &[u8]) -> Result<(), Failure> {
        let unreadable = |e: image::ImageError| Failure::Failed(format!("the picture cannot be shown: {e}"));
        let picture = fitted(image::load_from_memory(file).map_err(unreadable)?, self.room);
        let mut sent = match self.protocol {
            Protocol::Kitty => kitty::sent(&png(&picture).map_err(unreadable)?),
            Protocol::Iterm => iterm::sent(&png(&picture).map_err(unreadable)?, (picture.width(), picture.height())),
            Protocol::Sixel => sixel::sent(&picture.to_rgba8()),
        };
        sent.push('\n');
        let written = if self.on_stdout {
            write(std::io::stdout().lock(), &sent)
        } else {
            write(std::io::stderr().lock(), &sent)
        };
        match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::System(format!("cannot write to the terminal: {error}")))
            }
            _ => Ok(()),
        }
    }
}

impl Protocol {
    /// What the environment says.
    fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let term = variable("TERM").unwrap_or_default();
        let program = variable("TERM_PROGRAM").unwrap_or_default();
        let begins = |words: &[&str]| words.iter().any(|word| term.starts_with(word));
        // inside them the variables of the terminal around are still there, but what it understands does not get through
        if variable("TMUX").is_some() || variable("STY").is_some() || begins(&["tmux", "screen"]) {
            return Err(
                "--show: tmux and screen keep pictures from the terminal. Start outside of them, or name what gets \
                        through: --show=sixel, --show=kitty or --show=iterm"
                    .to_owned(),
            );
        }
        let konsole = variable("KONSOLE_VERSION").and_then(|version| version.parse::<u32>().ok()).unwrap_or(0);
        let is = |names: &[&str]| names.contains(&program.as_str());
        if is(&["iTerm.app", "WezTerm", "mintty"])
            || variable("LC_TERMINAL").is_some_and(|name| name == "iTerm2")
            || variable("WEZTERM_PANE").is_some()
        {
            return Ok(Self::Iterm);
        }
        if is(&["ghostty", "kitty"])
            || begins(&["xterm-kitty", "xterm-ghostty"])
            || variable("KITTY_WINDOW_ID").is_some()
            || variable("GHOSTTY_RESOURCES_DIR").is_some()
            || konsole >= 220_400
        {
            return Ok(Self::Kitty);
        }
        if begins(&["foot", "mlterm", "contour", "yaft"]) {
            return Ok(Self::Sixel);
        }
        let term = if term.is_empty() { "unset".to_owned() } else { term };
        Err(format!(
            "--show: whether this terminal can show pictures is not known here (TERM is {term}). If it can, name how: \
             --show=kitty, --show=iterm or --show=sixel; if not, leave --show out"
        ))
    }
}

fn write(mut to: impl Write, text: &str) -> std::io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// The picture, scaled down into this many pixels where it is larger.
fn fitted(picture: DynamicImage, (width, height): (u32, u32)) -> DynamicImage {
    if picture.width() <= width && picture.height() <= height {
        return picture;
    }
    picture.resize(width, height, FilterType::Triangle)
}

fn png(picture: &DynamicImage) -> image::ImageResult<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

/// The pixels of the window, less two lines for the command and what follows; a usual window's where nobody tells.
fn room() -> (u32, u32) {
    const CELL: (u32, u32) = (8, 16);
    let (columns, rows, pixels) = window().unwrap_or((80, 24, (0, 0)));
    let (columns, rows) = (columns.max(20), rows.max(8));
    let cell = if pixels.0 == 0 || pixels.1 == 0 { CELL } else { (pixels.0 / columns, pixels.1 / rows) };
    ((columns * cell.0).max(64), ((rows - 2) * cell.1).max(64))
}

/// Columns, rows, and pixels where the terminal tells them.
#[cfg(unix)]
fn window() -> Option<(u32, u32, (u32, u32))> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout())
        .or_else(|_| rustix::termios::tcgetwinsize(std::io::stderr()))
        .ok()?;
    let pixels = (u32::from(size.ws_xpixel), u32::from(size.ws_ypixel));
    // some terminals tell nothing, and say so with zeros
    (size.ws_col > 0 && size.ws_row > 0).then_some((u32::from(size.ws_col), u32::from(size.ws_row), pixels))
}

#[cfg(not(unix))]
fn window() -> Option<(u32, u32, (u32, u32))> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_told_by_their_variables() {
        let of = |variables: &[(&str, &str)]| {
            let variables = variables.to_vec();
            Protocol::of(&move |name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        for (variables, protocol) in [
            (&[("TERM", "xterm-kitty")][..], Protocol::Kitty),
            (&[("TERM", "xterm-256color"), ("KITTY_WINDOW_ID", "1")], Protocol::Kitty),
            (&[("TERM", "xterm-ghostty")], Protocol::Kitty),
            (&[("KONSOLE_VERSION", "230805")], Protocol::Kitty),
            (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")], Protocol::Iterm),
            (&[("LC_TERMINAL", "iTerm2")], Protocol::Iterm),
            (&[("TERM_PROGRAM", "WezTerm")], Protocol::Iterm),
            (&[("TERM", "foot-extra")], Protocol::Sixel),
        ] {
            assert_eq!(of(variables), Ok(protocol), "{variables:?}");
        }
        for unknown in [&[][..], &[("TERM", "dumb")], &[("TERM", "xterm-256color")], &[("KONSOLE_VERSION", "210000")]] {
            assert!(of(unknown).is_err_and(|said| said.contains("--show=sixel")), "{unknown:?}");
        }
        let inside = of(&[("TERM", "tmux-256color"), ("TMUX", "/tmp/x"), ("KITTY_WINDOW_ID", "1")]);
        assert!(inside.is_err_and(|said| said.contains("tmux")));
    }

    #[test]
    fn large_pictures_are_made_to_fit_and_small_ones_stay() {
        let sized = |w, h| {
            let fitted = fitted(DynamicImage::new_rgb8(w, h), (640, 352));
            (fitted.width(), fitted.height())
        };
        assert_eq!(sized(256, 256), (256, 256));
        assert_eq!(sized(1024, 1024), (352, 352));
        assert_eq!(sized(2048, 64), (640, 20));
    }
}
