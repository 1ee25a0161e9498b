//! Cards instead of pictures: for tests of programs, offline and at no cost. Only where the owner asked for them.

use std::sync::Arc;
use std::time::Duration;

use font8x8::legacy::BASIC_LEGACY;
use scumble_engine::{Pixels, Stage};

use super::{Drawn, Request, RunError, Runner, Timer, Watch, rehearsal};
use crate::picture::Picture;

/// Draws a card after a pause that is reported in steps, like a real run.
pub struct StandIn {
    pause: Duration,
}

impl StandIn {
    /// Cards after this time.
    pub fn new(pause: Duration) -> Self {
        Self { pause }
    }
}

#[async_trait::async_trait]
impl Runner for StandIn {
    async fn run(&self, request: Request, watch: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        let timer = Timer::default();
        watch.log("stand-in: no model runs; the picture is a drawn card");
        timer.begin(Stage::Denoise);
        watch.stage(Stage::Denoise);
        let steps = request.input.steps.max(1) as usize;
        for done in 1..=steps {
            pause(self.pause / steps as u32, &*watch).await?;
            watch.step(done, steps, &|| Some(ground_only(&request)));
        }
        if let Some(error) = rehearsal::failure(&request.input.prompt, request.attempt) {
            return Err(error);
        }
        let pictures = (0..request.input.images)
            .map(|index| Picture::encode_card(&card(&request, index), request.input.format))
            .collect::<Result<_, _>>()
            .map_err(|e| RunError::Failed(e.to_string()))?;
        Ok(Drawn { pictures, timings: timer.finish(), stand_in: true })
    }
}

/// Waits, but not much longer than somebody wants it to.
async fn pause(mut left: Duration, watch: &dyn Watch) -> Result<(), RunError> {
    const SLICE: Duration = Duration::from_millis(50);
    loop {
        if watch.cancelled() {
            return Err(RunError::Cancelled);
        }
        if left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(left.min(SLICE)).await;
        left = left.saturating_sub(SLICE);
    }
}

/// Endpoint, prompt, size and seed on a plain ground whose colour follows the seed.
fn card(request: &Request, index: u32) -> Pixels {
    let size = request.input.size;
    let mut canvas = Canvas::new(size.width as usize, size.height as usize, ground(request.seed, index));
    let scale = (canvas.pixels.width.min(canvas.pixels.height) / 256).max(1);
    let columns = canvas.pixels.width.saturating_sub(16 * scale) / (8 * scale);
    let mut lines = vec!["STAND-IN".to_owned(), request.endpoint.id.to_owned()];
    lines.push(format!("{}x{} seed {} #{}", size.width, size.height, request.seed, index + 1));
    lines.push(String::new());
    lines.extend(wrapped(&request.input.prompt, columns.max(1)));
    for (row, line) in lines.iter().enumerate() {
        canvas.text(8 * scale, (8 + 12 * row) * scale, scale, line);
    }
    canvas.pixels
}

/// What a preview shows: the card before anything is written on it.
fn ground_only(request: &Request) -> Pixels {
    const SIDE: usize = 64;
    Canvas::new(SIDE, SIDE, ground(request.seed, 0)).pixels
}

fn ground(seed: u64, index: u32) -> [u8; 3] {
    let mixed = (seed ^ u64::from(index).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [0, 8, 16].map(|shift| 40 + (mixed >> (40 + shift)) as u8 % 96)
}

/// Lines of at most `columns` characters, broken at spaces where there are any.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let line = lines.last_mut().map_or(0, |l| l.chars().count());
            let room = columns.saturating_sub(line + usize::from(line > 0));
            if word.len() > room && line > 0 {
                lines.push(String::new());
                continue;
            }
            let rest = word.split_off(word.len().min(room.max(1)));
            let text: String = word.into_iter().collect();
            if let Some(last) = lines.last_mut() {
                if line > 0 {
                    last.push(' ');
                }
                last.push_str(&text);
            }
            word = rest;
        }
    }
    lines
}

struct Canvas {
    pixels: Pixels,
}

impl Canvas {
    fn new(width: usize, height: usize, ground: [u8; 3]) -> Self {
        Self { pixels: Pixels { width, height, rgb: ground.repeat(width * height) } }
    }

    /// Writes one line; what does not fit is cut, what the font lacks is a question mark.
    fn text(&mut self, left: usize, top: usize, scale: usize, line: &str) {
        for (column, c) in line.chars().enumerate() {
            let glyph = BASIC_LEGACY[if c.is_ascii() { c as usize } else { usize::from(b'?') }];
            for (y, bits) in glyph.iter().enumerate() {
                for x in (0..8).filter(|x| bits >> x & 1 == 1) {
                    self.block(left + (column * 8 + x) * scale, top + y * scale, scale);
                }
            }
        }
    }

    fn block(&mut self, left: usize, top: usize, side: usize) {
        let Pixels { width, height, rgb } = &mut self.pixels;
        for y in top..(top + side).min(*height) {
            for x in left..(left + side).min(*width) {
                rgb[(y * *width + x) * 3..][..3].fill(240);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_prompts_wrap_and_endless_words_break() {
        assert_eq!(wrapped("two red stars", 8), ["two red", "stars"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
