//! Every kind of picture comes as its pixels, and what is written beside them refuses none.

use image::{GrayAlphaImage, ImageBuffer, Luma, LumaA, Rgba, RgbaImage};

use super::*;

fn written(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("a file");
    bytes.into_inner()
}

fn rgb_at(file: &[u8], x: u32, y: u32) -> [u8; 3] {
    decode(file, MAX).expect("a picture").into_rgb8().get_pixel(x, y).0
}

#[test]
fn grey_and_sixteen_bits_become_eight_bits_of_colour() {
    let deep = ImageBuffer::from_fn(4, 4, |x, _| Luma([x as u16 * 0x4000 + 0x1234]));
    assert_eq!(rgb_at(&written(&DynamicImage::ImageLuma16(deep), ImageFormat::Png), 1, 0), [0x52; 3]);
    let deep = ImageBuffer::from_fn(4, 4, |x, _| Rgb([x as u16 * 0x1000, 0xffff, 0]));
    assert_eq!(rgb_at(&written(&DynamicImage::ImageRgb16(deep), ImageFormat::Png), 2, 0), [0x20, 255, 0]);
    let grey = ImageBuffer::from_fn(4, 4, |x, _| Luma([x as u8 * 9]));
    assert!(rgb_at(&written(&DynamicImage::ImageLuma8(grey), ImageFormat::Jpeg), 0, 0)[0] <= 3);
    let clear = GrayAlphaImage::from_pixel(2, 2, LumaA([7, 0]));
    let clear = decode(&written(&clear.into(), ImageFormat::Png), MAX).expect("a picture");
    assert!(clear.color().has_alpha(), "what is transparent is told to whoever lays it on white");
    let clear = RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 128]));
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let clear = decode(&written(&clear.clone().into(), format), MAX).expect("a picture");
        assert_eq!(clear.into_rgba8().get_pixel(0, 0).0, [1, 2, 3, 128], "{format:?}");
    }
}

#[test]
fn palettes_become_their_colours() {
    let head = |bits: u8| chunk(b"IHDR", &[&2u32.to_be_bytes()[..], &1u32.to_be_bytes(), &[bits, 3, 0, 0, 0]].concat());
    let pixels = chunk(b"IDAT", &packed([vec![0, 0b0100_0000]].into_iter()));
    let colours = chunk(b"PLTE", &[9, 8, 7, 200, 100, 50]);
    let file = |more: &[Vec<u8>]| {
        [&b"\x89PNG\r\n\x1a\n"[..], &head(2), &colours, &more.concat(), &pixels, &chunk(b"IEND", b"")].concat()
    };
    assert_eq!([rgb_at(&file(&[]), 0, 0), rgb_at(&file(&[]), 1, 0)], [[200, 100, 50], [9, 8, 7]]);
    let clear = decode(&file(&[chunk(b"tRNS", &[0, 255])]), MAX).expect("a picture").into_rgba8();
    assert_eq!([clear.get_pixel(0, 0).0[3], clear.get_pixel(1, 0).0[3]], [255, 0]);
}

/// Eight by eight pixels whose four channels are all in the middle.
fn cmyk(adobe: bool) -> Vec<u8> {
    let segment = |kind: u8, data: &[u8]| {
        let length = u16::try_from(data.len() + 2).expect("a segment").to_be_bytes();
        [&[0xff, kind][..], &length, data].concat()
    };
    let channels: Vec<u8> = (1..=4).flat_map(|channel| [channel, 0x11, 0]).collect();
    let scanned: Vec<u8> = (1..=4).flat_map(|channel| [channel, 0]).collect();
    let table = |class: u8| [&[class, 1][..], &[0; 15], &[0]].concat();
    [
        &b"\xff\xd8"[..],
        &if adobe { segment(0xee, b"Adobe\0\x64\0\0\0\0\0") } else { Vec::new() },
        &segment(0xdb, &[&[0][..], &[1; 64]].concat()),
        &segment(0xc0, &[&[8, 0, 8, 0, 8, 4][..], &channels].concat()),
        &segment(0xc4, &[table(0), table(0x10)].concat()),
        &segment(0xda, &[&[4][..], &scanned, &[0, 63, 0]].concat()),
        b"\0\xff\xd9",
    ]
    .concat()
}

#[test]
fn cmyk_becomes_rgb() {
    for adobe in [true, false] {
        let [red, green, blue] = rgb_at(&cmyk(adobe), 3, 3);
        assert!(red == green && green == blue && (50..80).contains(&red), "{adobe}: {red} {green} {blue}");
    }
}

#[test]
fn what_is_written_beside_the_pixels_refuses_none() {
    let garbage = b"\xff\x00 no such thing \x80\x01";
    for kind in [b"eXIf", b"iCCP", b"iTXt", b"zTXt", b"tEXt", b"gAMA", b"cHRM", b"pHYs", b"tIME"] {
        let file = png(&[chunk(kind, garbage)]);
        assert!(decode(&file, MAX).is_ok(), "{}", String::from_utf8_lossy(kind));
    }
    let plain = encoded(40, 20, ImageFormat::Jpeg);
    let lies: [&[u8]; 5] = [
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01",
        b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta",
        b"",
    ];
    for data in lies {
        let length = u16::try_from(data.len() + 2).expect("a segment").to_be_bytes();
        for marker in [0xe1, 0xe2, 0xed] {
            let file = [&plain[..2], &[0xff, marker], &length, data, &plain[2..]].concat();
            let found = decode(&file, MAX).map(|image| image.dimensions());
            assert_eq!(found, Ok((40, 20)), "{marker:x} {}", String::from_utf8_lossy(data));
        }
    }
}

#[test]
fn a_webp_with_broken_metadata_is_its_pixels() {
    let simple = encoded(40, 20, ImageFormat::WebP);
    let pixels = &simple[12..];
    let part = |kind: &[u8; 4], data: &[u8]| {
        let length = u32::try_from(data.len()).expect("a chunk").to_le_bytes();
        [&kind[..], &length, data, &vec![0; data.len() % 2]].concat()
    };
    // profile, Exif and XMP are said to be there
    let head = part(b"VP8X", &[0b0010_1100, 0, 0, 0, 39, 0, 0, 19, 0, 0]);
    let body = [
        &b"WEBP"[..],
        &head,
        &part(b"ICCP", b"no profile"),
        pixels,
        &part(b"EXIF", b"no exif at all"),
        &part(b"XMP ", b"<"),
    ]
    .concat();
    let file = [&b"RIFF"[..], &u32::try_from(body.len()).expect("a file").to_le_bytes(), &body].concat();
    assert_eq!(decode(&file, MAX).map(|image| image.dimensions()), Ok((40, 20)));
    assert_eq!(rgb_at(&file, 3, 5), [3, 5, 90]);
}
