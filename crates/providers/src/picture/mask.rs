//! Masks: which part of a picture is drawn anew.

use bytes::Bytes;
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage};

use super::{Input, Kind, decode, encode};
use crate::core::error::MakerError;

/// From here on grey counts as white.
const WHITE: u8 = 128;

/// A grey mask of the picture's size. One of another size is scaled, if its aspect is the same within a hundredth.
pub(crate) fn grey(field: &str, mask: &Input, of: &Input) -> Result<Bytes, MakerError> {
    let mut grey = read(field, mask)?;
    if (mask.width, mask.height) != (of.width, of.height) {
        let aspect = |input: &Input| f64::from(input.width) / f64::from(input.height);
        if (aspect(mask) / aspect(of) - 1.0).abs() > 0.01 {
            return Err(apart(field, mask, of));
        }
        grey = image::imageops::resize(&grey, of.width, of.height, FilterType::Triangle);
    }
    write(field, grey)
}

/// A mask of black and white alone, of exactly the picture's size.
pub(crate) fn two_tone(field: &str, mask: &Input, of: &Input, inverted: bool) -> Result<Bytes, MakerError> {
    if (mask.width, mask.height) != (of.width, of.height) {
        return Err(apart(field, mask, of));
    }
    let mut grey = read(field, mask)?;
    for pixel in grey.iter_mut() {
        *pixel = if (*pixel >= WHITE) != inverted { 255 } else { 0 };
    }
    write(field, grey)
}

fn read(field: &str, mask: &Input) -> Result<GrayImage, MakerError> {
    let broken = |reason| MakerError::value(field, format!("The mask cannot be decoded: {reason}"));
    Ok(decode(&mask.bytes, mask.kind).map_err(broken)?.into_luma8())
}

fn write(field: &str, mask: GrayImage) -> Result<Bytes, MakerError> {
    let broken = |reason| MakerError::value(field, format!("The mask cannot be encoded: {reason}"));
    encode(&DynamicImage::ImageLuma8(mask), Kind::Png).map_err(broken)
}

fn apart(field: &str, mask: &Input, of: &Input) -> MakerError {
    let msg = format!(
        "The mask has {} × {} pixels and the image {} × {}; give a mask of the image's size",
        mask.width, mask.height, of.width, of.height
    );
    MakerError::value(field, msg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{LumaA, RgbaImage};

    fn input_of(picture: &DynamicImage) -> Input {
        let bytes = encode(picture, Kind::Png).expect("a PNG");
        Input { bytes, kind: Kind::Png, width: picture.width(), height: picture.height() }
    }

    fn shades(width: u32, height: u32) -> Input {
        let shade = |x, _| LumaA([[0u8, 127, 128, 255][x as usize % 4], 0]);
        input_of(&DynamicImage::ImageLumaA8(image::ImageBuffer::from_fn(width, height, shade)))
    }

    fn pixels(bytes: &Bytes) -> (image::ColorType, Vec<u8>) {
        let picture = decode(bytes, Kind::Png).expect("a PNG");
        (picture.color(), picture.into_luma8().into_raw())
    }

    #[test]
    fn grey_is_split_in_two_and_transparency_dropped() {
        let (mask, of) = (shades(4, 1), shades(4, 1));
        let plain = two_tone("mask_url", &mask, &of, false).expect("a mask");
        assert_eq!(pixels(&plain), (image::ColorType::L8, vec![0, 0, 255, 255]));
        let inverted = two_tone("mask_url", &mask, &of, true).expect("a mask");
        assert_eq!(pixels(&inverted).1, [255, 255, 0, 0]);
        let grey = grey("mask_url", &mask, &of).expect("a mask");
        assert_eq!(pixels(&grey), (image::ColorType::L8, vec![0, 127, 128, 255]));
    }

    #[test]
    fn sizes_have_to_agree() {
        let of = input_of(&DynamicImage::ImageRgba8(RgbaImage::new(200, 100)));
        let half = shades(100, 50);
        assert!(two_tone("mask_url", &half, &of, false).is_err());
        let grey = |mask: &Input| super::grey("mask_url", mask, &of);
        let scaled = grey(&half).expect("the same aspect");
        assert_eq!(pixels(&scaled).1.len(), 200 * 100);
        assert!(grey(&shades(100, 51)).is_err(), "off by two hundredths");
        let refusal = grey(&shades(100, 100)).expect_err("a square");
        let problem = &refusal.refusal().expect("an error").problem;
        assert_eq!((problem.kind.as_str(), problem.field()), ("value_error", "mask_url"));
    }
}
