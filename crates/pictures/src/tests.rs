//! Bombs and broken files.

mod kinds;

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{GenericImageView, ImageBuffer, Rgb};

use super::*;

const MAX: u64 = 1024 * 1024;

fn packed(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    for piece in pieces {
        encoder.write_all(&piece).expect("room");
    }
    encoder.finish().expect("room")
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    let length = u32::try_from(data.len()).expect("a chunk");
    [&length.to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
}

/// A PNG of 16 × 16 pixels with chunks of one's own before its pixels.
fn png(extra: &[Vec<u8>]) -> Vec<u8> {
    let head = chunk(b"IHDR", &[&16u32.to_be_bytes()[..], &16u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat());
    let pixels = chunk(b"IDAT", &packed([vec![0; 784]].into_iter()));
    [&b"\x89PNG\r\n\x1a\n"[..], &head, &extra.concat(), &pixels, &chunk(b"IEND", b"")].concat()
}

fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let shade = |x: u32, y: u32| Rgb([x as u8, y as u8, 90]);
    DynamicImage::ImageRgb8(ImageBuffer::from_fn(width, height, shade)).write_to(&mut bytes, format).expect("a file");
    bytes.into_inner()
}

#[test]
fn what_inflates_is_not_read() {
    let bomb = [b"k\0\0".to_vec(), packed((0..64).map(|_| vec![b'A'; 1_000_000]))].concat();
    let texts = (0..1000).flat_map(|n| chunk(b"tEXt", format!("k{n}\0v").as_bytes())).collect();
    for extra in
        [vec![chunk(b"iCCP", &bomb)], vec![chunk(b"zTXt", &bomb)], vec![chunk(b"iTXt", b"k\0\x01\0\0\0z")], vec![texts]]
    {
        let file = png(&extra);
        let lean = lean::lean(&file, ImageFormat::Png);
        assert_eq!(lean, png(&[]), "nothing but pixels is left");
        assert_eq!(head(&file, MAX), Ok(Head { format: ImageFormat::Png, width: 16, height: 16 }));
        assert_eq!(decode(&file, MAX).map(|image| image.dimensions()), Ok((16, 16)));
    }
    assert!(matches!(lean::lean(&png(&[]), ImageFormat::Png), Cow::Borrowed(_)), "what is lean is not copied");
}

#[test]
fn segments_of_a_jpeg_that_are_not_drawn_are_not_copied() {
    let plain = encoded(40, 20, ImageFormat::Jpeg);
    let segment = |kind: u8, data: &[u8]| {
        let length = u16::try_from(data.len() + 2).expect("a segment").to_be_bytes();
        [&[0xff, kind][..], &length, data].concat()
    };
    let profile = segment(0xe2, &[&b"ICC_PROFILE\0\x01\x01"[..], &[7; 60_000]].concat());
    // turned by a quarter
    let exif = segment(0xe1, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
    let fat = [&plain[..2], &profile.repeat(100), &segment(0xfe, b"a comment"), &exif, &plain[2..]].concat();
    assert_eq!(lean::lean(&fat, ImageFormat::Jpeg), plain);
    assert_eq!(head(&fat, MAX), Ok(Head { format: ImageFormat::Jpeg, width: 20, height: 40 }));
    assert_eq!(decode(&fat, MAX).map(|image| image.dimensions()), Ok((20, 40)));
}

#[test]
fn exif_turns_pictures_in_every_format_that_has_it() {
    let exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let file = encoded(40, 20, ImageFormat::Png);
    let turned = [&file[..33], &chunk(b"eXIf", exif), &file[33..]].concat();
    assert_eq!(head(&turned, MAX).map(|head| (head.width, head.height)), Ok((20, 40)));
    assert_eq!(decode(&turned, MAX).map(|image| image.dimensions()), Ok((20, 40)));
}

#[test]
fn a_frame_larger_than_its_canvas_gets_no_room() {
    // a canvas of 1 × 1 with a frame of 65535 × 65535
    let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    gif.extend(b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0\x3b");
    assert!(head(&gif, MAX).is_ok());
    assert!(matches!(decode(&gif, MAX), Err(Undecodable::TooLarge { .. })), "{:?}", decode(&gif, MAX).err());
}

#[test]
fn pixels_are_counted_before_there_is_room_for_them() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
        let file = encoded(64, 32, format);
        assert_eq!(decode(&file, 2048).map(|image| image.dimensions()), Ok((64, 32)), "{format:?}");
        for found in [head(&file, 2047).map(drop), decode(&file, 2047).map(drop)] {
            assert_eq!(found, Err(Undecodable::TooLarge { width: 64, height: 32, max_pixels: 2047 }), "{format:?}");
        }
        for cut in 0..file.len().min(400) {
            let _ = (head(&file[..cut], MAX), decode(&file[..cut], MAX));
        }
    }
    assert_eq!(head(b"no picture", MAX), Err(Undecodable::Unknown));
    assert_eq!(head(b"BM\0\0", MAX), Err(Undecodable::Unsupported(ImageFormat::Bmp)));
}
