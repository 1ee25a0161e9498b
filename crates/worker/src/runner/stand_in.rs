//! Cards instead of pictures: for tests of programs, offline and at no cost. Only where the owner asked for them.

use std::sync::Arc;
use std::time::Duration;

use font8x8::legacy::BASIC_LEGACY;
use image::ImageResult;
use scumble_api::{Answers, Endpoint, ImageFormat, ImageSize, Size, SizeLimits};
use scumble_engine::{Pixels, Stage};

use super::{Drawn, Needs, Request, RunError, Runner, Timer, Watch, rehearsal};
use crate::picture::Picture;

/// So many pixels are drawn in less time than it takes to hand the work to another thread and back.
const AT_ONCE: u64 = 64 * 64;

/// Cards are no larger than this, whatever the picture that they follow.
const LARGEST: SizeLimits = SizeLimits { min: 1, max: 14142, area: 16_777_216, step: 1 };

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
    fn needs(&self) -> Needs {
        Needs::Near
    }

    fn answers(&self, _endpoint: &Endpoint) -> Answers {
        Answers::StandIn
    }

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
        let ImageSize { width, height } = size(&request);
        let pictures = if u64::from(width) * u64::from(height) * u64::from(request.input.images) <= AT_ONCE {
            cards(&request, &*watch)?
        } else {
            // answers to others should not wait for it
            let drawing = tokio::task::spawn_blocking(move || cards(&request, &*watch)).await;
            drawing.map_err(|e| RunError::Failed(format!("the drawing panicked: {e}")))??
        };
        Ok(Drawn { pictures, timings: timer.finish(), stand_in: true, ..Drawn::default() })
    }
}

/// The pictures of a request, as long as somebody wants them.
fn cards(request: &Request, watch: &dyn Watch) -> Result<Vec<Picture>, RunError> {
    let card = |index| match watch.cancelled() {
        true => Err(RunError::Cancelled),
        false => {
            let picture = Card::new(request, index).picture(request.input.format);
            picture.map_err(|e| RunError::Failed(e.to_string()))
        }
    };
    (0..request.input.images).map(card).collect()
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
struct Card {
    size: ImageSize,
    ground: [u8; 3],
    /// Pixels of the page per pixel of a letter.
    scale: usize,
    lines: Vec<String>,
}

impl Card {
    fn new(request: &Request, index: u32) -> Self {
        let size = size(request);
        let scale = (size.width.min(size.height) as usize / 256).max(1);
        let columns = (size.width as usize).saturating_sub(16 * scale) / (8 * scale);
        let rows = size.height as usize / (12 * scale);
        let mut lines = vec!["STAND-IN".to_owned(), request.endpoint.id.to_owned()];
        lines.push(format!("{}x{} seed {} #{}", size.width, size.height, request.seed, index + 1));
        lines.push(String::new());
        lines.extend(wrapped(&request.input.prompt, columns.max(1), rows.max(1)));
        Self { size, ground: ground(request.seed, index), scale, lines }
    }

    fn picture(&self, format: ImageFormat) -> ImageResult<Picture> {
        if format == ImageFormat::Svg {
            let ImageSize { width, height } = self.size;
            return Ok(Picture { bytes: self.shapes().into_bytes(), format, width, height });
        }
        let mut canvas = Canvas::new(self.size.width as usize, self.size.height as usize, self.ground);
        for (row, line) in self.lines.iter().enumerate() {
            canvas.text(8 * self.scale, (8 + 12 * row) * self.scale, self.scale, line);
        }
        Picture::encode_card(&canvas.pixels, format)
    }

    /// The card as SVG.
    fn shapes(&self) -> String {
        let (ImageSize { width, height }, [r, g, b], scale) = (self.size, self.ground, self.scale);
        let escaped = |line: &str| line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let row = |(row, line): (usize, &String)| {
            let (x, y) = (8 * scale, (16 + 12 * row) * scale);
            format!("<text x=\"{x}\" y=\"{y}\">{}</text>\n", escaped(line))
        };
        let rows: String = self.lines.iter().enumerate().map(row).collect();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<rect width=\"100%\" height=\"100%\" fill=\"rgb({r},{g},{b})\"/>\n\
             <g fill=\"#f0f0f0\" font-family=\"monospace\" font-size=\"{}\">\n{rows}</g>\n</svg>\n",
            10 * scale
        )
    }
}

/// What was asked for; as large as the picture that the input starts from, where that was read.
fn size(request: &Request) -> ImageSize {
    let measured = match &request.input.size {
        Size::Like(url) => request.pictures.iter().find(|p| p.url == *url).map(|p| p.size),
        Size::Pixels(_) => None,
    };
    let asked = request.input.size.pixels(measured);
    asked.fit(LARGEST).unwrap_or(ImageSize { width: 1024, height: 1024 })
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

/// At most so many lines of at most `columns` characters, broken at spaces where there are any. Each character is looked at
/// once, and none behind the last line.
fn wrapped(text: &str, columns: usize, rows: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut filled = 0;
    for word in text.split_whitespace() {
        let length = word.chars().take(columns + 1).count();
        let gap = usize::from(filled > 0);
        if filled + gap + length > columns && filled > 0 {
            lines.push(String::new());
            filled = 0;
        }
        if filled > 0 {
            push(&mut lines, ' ');
            filled += 1;
        }
        for c in word.chars() {
            if filled == columns {
                lines.push(String::new());
                filled = 0;
            }
            if lines.len() > rows {
                lines.truncate(rows);
                return lines;
            }
            push(&mut lines, c);
            filled += 1;
        }
    }
    lines
}

fn push(lines: &mut [String], c: char) {
    if let Some(line) = lines.last_mut() {
        line.push(c);
    }
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
        assert_eq!(wrapped("two red stars", 8, 9), ["two red", "stars"]);
        assert_eq!(wrapped("abcdefghij k", 4, 9), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("", 4, 9), [""]);
        assert_eq!(wrapped("a b c d", 1, 2), ["a", "b"], "what does not fit is not looked at");
        let endless = "x".repeat(10_000_000);
        assert_eq!(wrapped(&endless, 3, 2), ["xxx", "xxx"]);
    }
}
