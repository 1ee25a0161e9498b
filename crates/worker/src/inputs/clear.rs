//! Masks of OpenAI's: transparent where the picture is painted anew. Makers want a colour there.

use bytes::Bytes;
use image::ExtendedColorType;
use scumble_api::{Endpoint, ImageFormat, Kind, Problem, Shade};
use scumble_fetch::Budget;

use super::ROOM;
use super::decode::{self, InputPixels};
use super::given::GivenPicture;
use crate::picture::{JPEG_QUALITY, write_with};
use crate::runner::RunError;

/// The pictures with every mask as its endpoint wants it, decoded away from the threads that serve others.
///
/// # Errors
/// A mask without transparency, or of another size than its picture; or there is no room for it now.
pub(crate) async fn mark_by_colour(
    endpoint: &'static Endpoint,
    mut pictures: Vec<GivenPicture>,
    max_pixels: u64,
    memory: &Budget,
) -> Result<Vec<GivenPicture>, RunError> {
    let share = memory.take(cost(endpoint, &pictures), ROOM).await.map_err(|_| RunError::busy())?;
    let converted = tokio::task::spawn_blocking(move || {
        let _share = share;
        for field in endpoint.fields() {
            if let Kind::Mask { of, marks } = field.kind {
                convert(&mut pictures, (field.name, of), marks, max_pixels)?;
            }
        }
        Ok(pictures)
    });
    let converted: Result<_, Problem> =
        converted.await.map_err(|e| RunError::Failed(format!("the mask could not be converted: {e}")))?;
    converted.map_err(|problem| RunError::Invalid(vec![problem]))
}

/// Bytes of memory that the masks take while they are converted, about.
fn cost(endpoint: &Endpoint, pictures: &[GivenPicture]) -> u64 {
    /// Four channels of 16 bits.
    const PIXEL_BYTES: u64 = 8;
    let is_mask = |name: &str| endpoint.fields().iter().any(|f| f.name == name && matches!(f.kind, Kind::Mask { .. }));
    let masks = pictures.iter().filter(|picture| picture.path.first().is_some_and(|name| is_mask(name)));
    masks.map(|mask| mask.size.area().saturating_mul(PIXEL_BYTES)).sum()
}

fn convert(
    pictures: &mut [GivenPicture],
    (name, of): (&str, &str),
    marks: Shade,
    max_pixels: u64,
) -> Result<(), Problem> {
    let size = pictures.iter().find(|picture| picture.path == [of]).map(|picture| picture.size);
    let Some(mask) = pictures.iter_mut().find(|picture| picture.path == [name]) else { return Ok(()) };
    let wrong = |msg: String| Err(Problem::new(&[name], "value_error", msg));
    if let Some(size) = size.filter(|size| *size != mask.size) {
        return wrong(format!(
            "The mask has {} × {} pixels and the picture {} × {}; send a mask of the picture's size",
            mask.size.width, mask.size.height, size.width, size.height
        ));
    }
    let image = decode::decode(&mask.bytes, max_pixels).map_err(|e| decode::problem(&e, &[name], &mask.url))?;
    let InputPixels::Rgba(samples) = image.pixels else {
        return wrong("The mask has no transparency; send a PNG that is transparent where to paint anew".to_owned());
    };
    let shade = |alpha: u8| if marks == Shade::White { 255 - alpha } else { alpha };
    let grey: Vec<u8> = samples.chunks_exact(4).map(|pixel| shade(pixel[3])).collect();
    let png = write_with(&grey, (image.width, image.height), ExtendedColorType::L8, ImageFormat::Png, JPEG_QUALITY);
    let png = png.or_else(|e| wrong(format!("The mask cannot be written: {e}")).map(|()| Vec::new()))?;
    (mask.bytes, mask.content_type) = (Bytes::from(png), ImageFormat::Png.content_type());
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage, Rgba, RgbaImage};
    use scumble_api::ImageSize;

    use super::*;

    fn given(name: &str, image: &DynamicImage) -> GivenPicture {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
        let size = ImageSize { width: image.width(), height: image.height() };
        let (path, url) = (vec![name.to_owned()], "data:".to_owned());
        GivenPicture { path, url, bytes: bytes.into_inner().into(), content_type: "image/png", size }
    }

    /// Left half transparent.
    fn clear_left(width: u32, height: u32) -> DynamicImage {
        RgbaImage::from_fn(width, height, |x, _| Rgba([9, 9, 9, if x < width / 2 { 0 } else { 255 }])).into()
    }

    async fn marked(id: &str, mask: &DynamicImage) -> Result<Vec<u8>, String> {
        let picture = DynamicImage::from(RgbImage::new(8, 2));
        let pictures = vec![given("image_url", &picture), given("mask_url", mask)];
        let endpoint = scumble_api::find(id).expect("an endpoint");
        let pictures = mark_by_colour(endpoint, pictures, 1000, &Budget::default()).await.map_err(|e| e.to_string())?;
        assert_eq!(image::load_from_memory(&pictures[0].bytes).expect("a PNG"), picture, "the picture stays");
        Ok(image::load_from_memory(&pictures[1].bytes).expect("a PNG").to_luma8().into_raw()[..8].to_vec())
    }

    #[tokio::test]
    async fn what_is_transparent_has_the_colour_that_the_maker_paints_over() {
        let left = [255, 255, 255, 255, 0, 0, 0, 0];
        assert_eq!(marked("fal-ai/flux-pro/v1/fill", &clear_left(8, 2)).await.as_deref(), Ok(&left[..]));
        let right = left.map(|shade| 255 - shade);
        assert_eq!(marked("fal-ai/ideogram/v3/edit", &clear_left(8, 2)).await.as_deref(), Ok(&right[..]));
        // half transparent is half meant
        let veil = RgbaImage::from_pixel(8, 2, Rgba([0, 0, 0, 155])).into();
        assert_eq!(marked("fal-ai/flux-pro/v1/fill", &veil).await, Ok(vec![100; 8]));
    }

    #[tokio::test]
    async fn a_mask_of_another_size_or_without_transparency_is_refused() {
        let other = marked("fal-ai/flux-pro/v1/fill", &clear_left(4, 2)).await.expect_err("another size");
        assert!(other.contains("mask_url") && other.contains("4 × 2 pixels and the picture 8 × 2"), "{other}");
        let opaque = marked("fal-ai/flux-pro/v1/fill", &RgbImage::new(8, 2).into()).await.expect_err("no alpha");
        assert!(opaque.contains("no transparency"), "{opaque}");
    }
}
