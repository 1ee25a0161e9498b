//! Pictures in a format that their endpoint does not give by itself.

use std::io::Cursor;
use std::time::Duration;

use image::{DynamicImage, ImageReader, ImageResult};
use scumble_api::{Encoding, ImageFormat};
use scumble_fetch::Budget;

use crate::picture::{JPEG_QUALITY, Picture, write_with};
use crate::runner::{Drawn, Request, RunError};

/// Lets a runner write the format itself, where that is the same. A format with a quality is written from pixels without
/// loss.
pub(crate) fn ask_for(request: &mut Request, encoding: Option<Encoding>) {
    match encoding {
        Some(Encoding { quality: None, format }) => request.input.format = format,
        Some(Encoding { quality: Some(_), .. }) => request.input.format = ImageFormat::Png,
        None => {}
    }
}

/// How long pictures wait for room. They are made, and may be paid: that should not be for nothing.
const ROOM: Duration = Duration::from_secs(60);

/// The pictures as they were asked for, one after the other, away from the threads that serve others.
///
/// # Errors
/// What a runner made cannot be read, or there is no room for it.
pub(crate) async fn encoded(drawn: Drawn, encoding: Option<Encoding>, memory: &Budget) -> Result<Drawn, RunError> {
    let Some(encoding) = encoding else { return Ok(drawn) };
    if encoding.quality.is_none() && drawn.pictures.iter().all(|picture| is_as_asked(picture, encoding)) {
        return Ok(drawn);
    }
    // a pixel as it is read, and as it is written
    let cost = |picture: &Picture| 8 * u64::from(picture.width) * u64::from(picture.height);
    let largest = drawn.pictures.iter().map(cost).max().unwrap_or_default();
    let share = memory.take(largest, ROOM).await.map_err(|_| RunError::busy())?;
    let recode = move |drawn: Drawn| {
        let _share = share;
        let one = |picture| if is_as_asked(&picture, encoding) { Ok(picture) } else { recoded(&picture, encoding) };
        let pictures = drawn.pictures.into_iter().map(one).collect::<ImageResult<_>>()?;
        Ok(Drawn { pictures, ..drawn })
    };
    let recoded: ImageResult<Drawn> = tokio::task::spawn_blocking(move || recode(drawn))
        .await
        .map_err(|e| RunError::Failed(format!("a picture could not be written: {e}")))?;
    recoded.map_err(|e| RunError::Failed(format!("a picture could not be written as {:?}: {e}", encoding.format)))
}

/// Shapes stay shapes: nothing here turns them into pixels.
fn is_as_asked(picture: &Picture, encoding: Encoding) -> bool {
    picture.format == ImageFormat::Svg || picture.format == encoding.format && encoding.quality.is_none()
}

fn recoded(picture: &Picture, encoding: Encoding) -> ImageResult<Picture> {
    let image = ImageReader::new(Cursor::new(&picture.bytes)).with_guessed_format()?.decode()?;
    // JPEG has no transparency
    let image = match encoding.format {
        ImageFormat::Jpeg => DynamicImage::ImageRgb8(image.into_rgb8()),
        _ if image.color().has_alpha() => DynamicImage::ImageRgba8(image.into_rgba8()),
        _ => DynamicImage::ImageRgb8(image.into_rgb8()),
    };
    let (width, height) = (image.width(), image.height());
    let quality = encoding.quality.unwrap_or(JPEG_QUALITY);
    let bytes = write_with(image.as_bytes(), (width, height), image.color().into(), encoding.format, quality)?;
    Ok(Picture { bytes, format: encoding.format, width, height })
}

#[cfg(test)]
mod tests {
    use scumble_engine::Pixels;

    use super::*;

    async fn written(from: ImageFormat, format: ImageFormat, quality: Option<u8>) -> Vec<u8> {
        let rgb = (0..64 * 48 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let picture = Picture::encode(&Pixels { width: 64, height: 48, rgb }, from).expect("a picture");
        let drawn = Drawn { pictures: vec![picture], ..Drawn::default() };
        let drawn = encoded(drawn, Some(Encoding { format, quality }), &Budget::default()).await.expect("pictures");
        let picture = drawn.pictures.into_iter().next().expect("one");
        assert_eq!((picture.format, picture.width, picture.height), (format, 64, 48));
        picture.bytes
    }

    #[tokio::test]
    async fn the_bytes_are_of_the_format_that_was_asked_for() {
        use ImageFormat::{Jpeg, Png, Webp};
        for from in [Jpeg, Png, Webp] {
            for to in [Jpeg, Png, Webp] {
                let bytes = written(from, to, None).await;
                let found = image::guess_format(&bytes).expect("a picture");
                assert_eq!(found.to_mime_type(), to.content_type(), "{from:?}");
            }
        }
        let (fine, coarse) = (written(Png, Jpeg, Some(95)).await, written(Png, Jpeg, Some(5)).await);
        assert!(coarse.len() * 2 < fine.len(), "{} {}", coarse.len(), fine.len());
    }
}
