//! Sixels (DEC's VT340, as vt100.net documents them): a palette, then bands of six rows; in each band every colour draws
//! its pixels over the same columns, six rows a character.

use std::fmt::Write;

use color_quant::NeuQuant;
use image::RgbaImage;

/// What every terminal with sixels has.
const COLOURS: usize = 256;
const ROWS: u32 = 6;
/// How many of the pixels are looked at for the palette: 1 is all of them, 30 the fewest.
const SAMPLING: i32 = 10;

pub(super) fn sent(picture: &RgbaImage) -> String {
    let quantizer = NeuQuant::new(SAMPLING, COLOURS, picture.as_raw());
    let (width, height) = picture.dimensions();
    let places: Vec<usize> = picture.pixels().map(|pixel| quantizer.index_of(&pixel.0)).collect();
    // aspect 1:1, so many pixels
    let mut text = format!("\x1bP0;1q\"1;1;{width};{height}");
    for (place, rgb) in quantizer.color_map_rgb().chunks_exact(3).enumerate() {
        let percent = |value: u8| (u32::from(value) * 100 + 127) / 255;
        let _ = write!(text, "#{place};2;{};{};{}", percent(rgb[0]), percent(rgb[1]), percent(rgb[2]));
    }
    for band in places.chunks((width * ROWS) as usize) {
        band_of(band, width as usize, &mut text);
    }
    text + "\x1b\\"
}

/// One band: `$` goes back to its left edge for the next colour, `-` to the next band.
fn band_of(places: &[usize], width: usize, text: &mut String) {
    let mut used: Vec<usize> = places.to_vec();
    used.sort_unstable();
    used.dedup();
    for (turn, colour) in used.into_iter().enumerate() {
        if turn > 0 {
            text.push('$');
        }
        let _ = write!(text, "#{colour}");
        let column = |x: usize| {
            let rows = places.iter().skip(x).step_by(width).enumerate();
            rows.fold(0_u8, |bits, (row, place)| bits | u8::from(*place == colour) << row)
        };
        repeated((0..width).map(column), text);
    }
    text.push('-');
}

/// Characters from `?` on, each for six pixels; four and more equal ones as `!count`.
fn repeated(columns: impl Iterator<Item = u8>, text: &mut String) {
    let mut put = |bits: u8, count: usize| {
        let sixel = char::from(b'?' + bits);
        match count {
            0..4 => text.extend(std::iter::repeat_n(sixel, count)),
            _ => drop(write!(text, "!{count}{sixel}")),
        }
    };
    let mut run = (0, 0);
    for bits in columns {
        if run.1 > 0 && run.0 == bits {
            run.1 += 1;
        } else {
            put(run.0, run.1);
            run = (bits, 1);
        }
    }
    put(run.0, run.1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    /// What a terminal makes of it.
    fn shown(text: &str) -> (u32, u32, Vec<[u8; 3]>) {
        let body = text.strip_prefix("\x1bP0;1q\"1;1;").and_then(|t| t.strip_suffix("\x1b\\")).expect("sixels");
        let end = body.find('#').expect("a palette");
        let (width, height) = body[..end].split_once(';').expect("a size");
        let (width, height): (u32, u32) = (width.parse().expect("a width"), height.parse().expect("a height"));
        let mut pixels = vec![[0; 3]; (width * height) as usize];
        let (mut palette, mut colour) = (std::collections::HashMap::new(), 0_usize);
        let (mut x, mut band) = (0, 0);
        let bytes = body.as_bytes();
        let mut at = end;
        let number = |at: &mut usize| {
            let begin = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            body[begin..*at].parse::<usize>().expect("a number")
        };
        while at < bytes.len() {
            let byte = bytes[at];
            at += 1;
            let (count, sixel) = match byte {
                b'#' => {
                    colour = number(&mut at);
                    if bytes.get(at) == Some(&b';') {
                        let mut rgb = [0; 3];
                        at += 2; // the kind, 2 for RGB
                        for channel in &mut rgb {
                            at += 1;
                            *channel = (number(&mut at) * 255 / 100) as u8;
                        }
                        palette.insert(colour, rgb);
                    }
                    continue;
                }
                b'$' => {
                    x = 0;
                    continue;
                }
                b'-' => {
                    (x, band) = (0, band + 1);
                    continue;
                }
                b'!' => {
                    let count = number(&mut at);
                    at += 1;
                    (count, bytes[at - 1])
                }
                sixel => (1, sixel),
            };
            for _ in 0..count {
                for row in (0..6).filter(|row| (sixel - b'?') >> row & 1 == 1) {
                    pixels[(band * 6 + row) * width as usize + x] = palette[&colour];
                }
                x += 1;
            }
        }
        (width, height, pixels)
    }

    #[test]
    fn a_terminal_shows_what_was_sent() {
        // quarters of plain colours, of a size that no band and no run divides
        let picture = RgbaImage::from_fn(37, 23, |x, y| match (x < 20, y < 9) {
            (true, true) => Rgba([250, 10, 10, 255]),
            (false, true) => Rgba([10, 240, 10, 255]),
            (true, false) => Rgba([10, 10, 230, 255]),
            (false, false) => Rgba([128, 128, 128, 255]),
        });
        let (width, height, pixels) = shown(&sent(&picture));
        assert_eq!((width, height), picture.dimensions());
        for (pixel, shown) in picture.pixels().zip(&pixels) {
            let far = pixel.0.iter().zip(shown).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(far.is_some_and(|far| far <= 12), "{pixel:?} is shown as {shown:?}");
        }
    }
}
