//! A file without what is not drawn: profiles, texts, thumbnails, further frames.

use std::borrow::Cow;

use image::ImageFormat;

/// The signature of PNG files.
const PNG: usize = 8;

/// The file as a decoder should see it; the same where nothing is left out.
///
/// - PNG: profiles (`iCCP`) and texts (`zTXt`, `iTXt`) are packed, and small texts in large numbers take several times
///   their bytes. Only what makes pixels stays.
/// - JPEG: profiles, texts and thumbnails are copied by its decoder, some of them several times; none is packed. Only what
///   says how colours are meant stays.
/// - WebP and GIF: their decoders read nothing else until they are asked for it, and here nobody asks.
pub fn lean(bytes: &[u8], format: ImageFormat) -> Cow<'_, [u8]> {
    match format {
        ImageFormat::Png => without(bytes, PNG, png_chunk),
        ImageFormat::Jpeg => without(bytes, 2, jpeg_segment),
        _ => Cow::Borrowed(bytes),
    }
}

/// What stands at a place of a file.
enum Part {
    /// So many bytes that stay.
    Stays(usize),
    /// So many that go.
    Goes(usize),
    /// All the rest is pixels, or broken: for the decoder to judge.
    Rest,
}

/// The file without the parts that go; nothing is copied unless one does.
fn without(bytes: &[u8], begin: usize, part: fn(&[u8]) -> Part) -> Cow<'_, [u8]> {
    let (mut at, mut kept_from) = (begin.min(bytes.len()), 0);
    let mut kept: Option<Vec<u8>> = None;
    loop {
        match part(&bytes[at..]) {
            Part::Stays(length) => at = (at + length).min(bytes.len()),
            Part::Goes(length) => {
                kept.get_or_insert_default().extend_from_slice(&bytes[kept_from..at]);
                at = (at + length).min(bytes.len());
                kept_from = at;
            }
            Part::Rest => break,
        }
    }
    match kept {
        Some(mut kept) => {
            kept.extend_from_slice(&bytes[kept_from..]);
            Cow::Owned(kept)
        }
        None => Cow::Borrowed(bytes),
    }
}

/// Length, type, data, sum.
fn png_chunk(rest: &[u8]) -> Part {
    const AROUND: usize = 12;
    let Some((length, kind)) = rest.split_first_chunk::<4>().and_then(|(l, rest)| Some((l, rest.first_chunk::<4>()?)))
    else {
        return Part::Rest;
    };
    let whole = AROUND.saturating_add(u32::from_be_bytes(*length) as usize);
    match kind {
        b"IHDR" | b"PLTE" | b"tRNS" | b"IDAT" => Part::Stays(whole),
        b"IEND" => Part::Rest,
        // what the format calls critical is for the decoder to refuse
        [first, ..] if first.is_ascii_uppercase() => Part::Rest,
        _ => Part::Goes(whole),
    }
}

/// Marker, length, data.
fn jpeg_segment(rest: &[u8]) -> Part {
    // the file's form and Adobe's kind of colours
    const APP0: u8 = 0xe0;
    const APP14: u8 = 0xee;
    const COMMENT: u8 = 0xfe;
    const SCAN: u8 = 0xda;
    match rest {
        // a marker may be filled up
        [0xff, 0xff, ..] => Part::Stays(1),
        [0xff, kind, high, low, ..] => {
            let whole = 2 + usize::from(u16::from_be_bytes([*high, *low]));
            match *kind {
                APP0 | APP14 => Part::Stays(whole),
                0xe1..=0xef | COMMENT => Part::Goes(whole),
                // from here on it is pixels; markers without a length come nowhere before
                0..=0xbf | 0xd0..=0xd9 | SCAN => Part::Rest,
                _ => Part::Stays(whole),
            }
        }
        _ => Part::Rest,
    }
}
