//! Masks of OpenAI's: transparent where the picture is painted anew. Makers want a colour there.

use bytes::Bytes;
use image::{DynamicImage, ExtendedColorType};
use scumble_api::{Endpoint, ImageFormat, Kind, Problem, Shade};
use scumble_pictures::Undecodable;

use super::given::GivenPicture;
use super::read::Unread;
use super::{Inputs, decode};
use crate::picture::{JPEG_QUALITY, write_with};
use crate::runner::RunError;

impl Inputs {
    /// The pictures with every mask as its endpoint wants it.
    ///
    /// # Errors
    /// A mask without transparency, or of another size than its picture, or no room for it now.
    pub(crate) async fn marked_by_colour(
        &self,
        endpoint: &Endpoint,
        mut pictures: Vec<GivenPicture>,
    ) -> Result<Vec<GivenPicture>, RunError> {
        for field in endpoint.fields() {
            let Kind::Mask { of: Some(of), marks } = field.kind else { continue };
            let picture = pictures.iter().find(|picture| picture.path == [of]);
            let (size, url) = (picture.map(|picture| picture.size), picture.map(|picture| picture.url.clone()));
            let Some(mask) = pictures.iter_mut().find(|picture| picture.path == [field.name]) else { continue };
            let wrong = |msg: String| RunError::Invalid(vec![Problem::new(&[field.name], "value_error", msg)]);
            if let Some(size) = size.filter(|size| *size != mask.size) {
                return Err(wrong(format!(
                    "The mask has {} × {} pixels and the picture {} × {}; send a mask of the picture's size",
                    mask.size.width, mask.size.height, size.width, size.height
                )));
            }
            // who sends no mask means the picture's own transparency
            let clear = match url.as_ref() == Some(&mask.url) {
                true => {
                    "No mask was sent, and the picture has no transparency; send a mask of its size, a PNG that is \
                         transparent where to paint anew"
                }
                false => "The mask has no transparency; send a PNG that is transparent where to paint anew",
            };
            let coloured = self.coloured(field.name, mask, marks).await?.ok_or_else(|| wrong(clear.to_owned()))?;
            (mask.bytes, mask.content_type) = (coloured, ImageFormat::Png.content_type());
        }
        Ok(pictures)
    }

    /// The mask in black and white; none where it has no transparency.
    async fn coloured(&self, name: &str, mask: &GivenPicture, marks: Shade) -> Result<Option<Bytes>, RunError> {
        let (file, max_pixels) = (mask.bytes.clone(), self.config.max_pixels);
        // what decoding takes, and the file that a decoder may copy
        let cost = 8 * mask.size.area() + 2 * file.len() as u64;
        let done = self.aside(cost, move || coloured(scumble_pictures::decode(&file, max_pixels)?, marks)).await;
        let problem = |problem: Problem| RunError::Invalid(vec![problem]);
        match done {
            Ok(Ok(coloured)) => Ok(coloured),
            Ok(Err(undecodable)) => Err(problem(decode::problem(&undecodable, &[name], &mask.url))),
            Err(Unread::Busy) => Err(RunError::busy()),
            Err(unread) => Err(problem(unread.problem(&[name], &mask.url))),
        }
    }
}

fn coloured(mask: DynamicImage, marks: Shade) -> Result<Option<Bytes>, Undecodable> {
    if !mask.color().has_alpha() {
        return Ok(None);
    }
    let mask = mask.into_rgba8();
    let shade = |alpha: u8| if marks == Shade::White { 255 - alpha } else { alpha };
    let grey: Vec<u8> = mask.pixels().map(|pixel| shade(pixel.0[3])).collect();
    let png = write_with(&grey, mask.dimensions(), ExtendedColorType::L8, ImageFormat::Png, JPEG_QUALITY);
    Ok(Some(png.map_err(|error| Undecodable::Broken(error.to_string()))?.into()))
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    fn shades(image: RgbaImage, marks: Shade) -> Option<Vec<u8>> {
        let png = coloured(image.into(), marks).expect("a small mask")?;
        Some(image::load_from_memory(&png).expect("a PNG").into_luma8().into_raw())
    }

    #[test]
    fn what_is_transparent_has_the_colour_that_the_maker_paints_over() {
        let clear_left = || RgbaImage::from_fn(4, 1, |x, _| Rgba([9, 9, 9, if x < 2 { 0 } else { 255 }]));
        assert_eq!(shades(clear_left(), Shade::White), Some(vec![255, 255, 0, 0]));
        assert_eq!(shades(clear_left(), Shade::Black), Some(vec![0, 0, 255, 255]));
        // half transparent is half meant
        assert_eq!(shades(RgbaImage::from_pixel(1, 1, Rgba([0, 0, 0, 155])), Shade::White), Some(vec![100]));
        assert!(coloured(DynamicImage::new_rgb8(4, 1), Shade::White).expect("a picture").is_none());
    }
}
