//! What is done with pictures that were painted into another one: its size, and what was not masked, come back.

use scumble_api::Problem;
use scumble_engine::{Call, Pixels};
use serde_json::Value;

use super::super::{Request, RunError};

/// The pictures as the request wants them. First they get the size of the picture that was given, then what was not
/// masked: so that is the given picture's own, and not one that was scaled down and up again.
pub(super) fn finished(pictures: Vec<Pixels>, request: &Request, call: &Call) -> Vec<Pixels> {
    let wants = |name: &str| request.values.get(name).and_then(Value::as_bool).unwrap_or(false);
    let (resize, paste) = (wants("resize_to_original"), wants("paste_back"));
    let Some(given) = call.picture.as_ref().filter(|_| resize || paste) else { return pictures };
    let finish = |picture: Pixels| {
        let picture = if resize { picture.resized(given.width, given.height) } else { picture };
        match call.mask.as_ref().filter(|_| paste) {
            Some(mask) => pasted(picture, given, mask),
            None => picture,
        }
    };
    pictures.into_iter().map(finish).collect()
}

/// Refuses to give back sizes that would take too much memory for every picture.
pub(super) fn check(request: &Request) -> Result<(), RunError> {
    const FIELD: &str = "resize_to_original";
    let asked = request.values.get(FIELD).is_some_and(|asked| asked == true);
    let given = request.pictures.iter().find(|picture| picture.path == ["image_url"]).map(|picture| picture.size);
    match given.filter(|size| asked && size.area() > LARGEST) {
        Some(size) => {
            let message = format!(
                "{FIELD}: the picture has {} × {} pixels, and results of at most {LARGEST} are made as large; leave it out",
                size.width, size.height
            );
            Err(RunError::Invalid(vec![Problem::new(&[FIELD], "value_error", message)]))
        }
        None => Ok(()),
    }
}

/// Pixels of a picture that is made as large as the one that was given.
const LARGEST: u64 = 4096 * 4096;

/// The given picture where the mask is black, the new one where it is white, both where it is grey.
fn pasted(mut picture: Pixels, given: &Pixels, mask: &Pixels) -> Pixels {
    let (width, height) = (picture.width, picture.height);
    let (given, mask) = (given.resized(width, height), mask.resized(width, height));
    for ((new, old), mask) in
        picture.rgb.chunks_exact_mut(3).zip(given.rgb.chunks_exact(3)).zip(mask.rgb.chunks_exact(3))
    {
        let share = brightness(mask);
        for (new, old) in new.iter_mut().zip(old) {
            let mixed = u32::from(*new) * share + u32::from(*old) * (255 - share) + 127;
            *new = (mixed / 255) as u8;
        }
    }
    picture
}

/// 0 to 255, as Pillow makes grey of colours.
fn brightness(rgb: &[u8]) -> u32 {
    match rgb {
        [red, green, blue] => {
            (u32::from(*red) * 19595 + u32::from(*green) * 38470 + u32::from(*blue) * 7471 + 0x8000) >> 16
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, height: usize, shades: &[u8]) -> Pixels {
        Pixels { width, height, rgb: shades.iter().flat_map(|shade| [*shade; 3]).collect() }
    }

    #[test]
    fn what_is_not_masked_is_as_it_was() {
        let (new, old) = (grey(3, 1, &[200, 200, 200]), grey(3, 1, &[10, 20, 30]));
        assert_eq!(pasted(new, &old, &grey(3, 1, &[0, 255, 127])), grey(3, 1, &[10, 200, 115]));
    }
}
