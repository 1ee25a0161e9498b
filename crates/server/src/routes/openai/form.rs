//! Forms: words as text, pictures as files.

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use scumble_api::{OpenAiError, openai_form_value};

use super::refused::Refused;
use super::said::{Picture, Said};
use crate::answer::Refusal;
use crate::state::AppState;

/// Most parts of a form.
const PARTS_MAX: usize = 64;
/// Longest text of a part, in bytes; prompts have a lower limit of their own.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Reads a form, part by part; all of it is as long as a body may be.
pub(super) async fn read(request: Request, state: &AppState) -> Result<Said, Refused> {
    let mut form = Multipart::from_request(request, state).await.map_err(|rejection| {
        OpenAiError::invalid(None, format!("The form cannot be read: {}", rejection.body_text()))
    })?;
    let mut said = Said::default();
    let mut parts = 0;
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
        parts += 1;
        if parts > PARTS_MAX {
            return Err(OpenAiError::invalid(None, format!("The form has more than {PARTS_MAX} parts")).into());
        }
        take(&mut said, field).await?;
    }
    Ok(said)
}

async fn take(said: &mut Said, field: Field<'_>) -> Result<(), Refused> {
    let name = field.name().unwrap_or_default().to_owned();
    match name.as_str() {
        "mask" | "mask[]" => said.mask = Some(picture("mask", field).await?),
        name if is_picture(name) => {
            let picture = picture("image", field).await?;
            said.add(picture)?;
        }
        // a file that means nothing here is passed over with the next part
        _ if field.file_name().is_some() => {}
        name => {
            let text = text(name, field).await?;
            said.fields.insert(name.to_owned(), openai_form_value(name, &text));
        }
    }
    Ok(())
}

/// `image`, `image[]`, `image[0]`, and the same with an s.
fn is_picture(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("image") else { return false };
    let rest = rest.strip_prefix('s').unwrap_or(rest);
    let index = |rest: &str| Some(rest.strip_prefix('[')?.strip_suffix(']')?.bytes().all(|b| b.is_ascii_digit()));
    rest.is_empty() || index(rest) == Some(true)
}

async fn picture(param: &str, field: Field<'_>) -> Result<Picture, Refused> {
    let bytes = field.bytes().await.map_err(|error| unreadable(&error))?;
    Ok(Picture::here(param, bytes)?)
}

async fn text(name: &str, mut field: Field<'_>) -> Result<String, Refused> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|error| unreadable(&error))? {
        if bytes.len() + piece.len() > TEXT_BYTES_MAX {
            let message = format!("{name} is longer than {TEXT_BYTES_MAX} bytes");
            return Err(OpenAiError::invalid(Some(name), message).into());
        }
        bytes.extend_from_slice(&piece);
    }
    let not_text = |_| OpenAiError::invalid(Some(name), format!("{name} is not text in UTF-8"));
    Ok(String::from_utf8(bytes).map_err(not_text)?)
}

fn unreadable(error: &MultipartError) -> Refused {
    let status = error.status().as_u16();
    Refusal::plain(status, &format!("The form cannot be read: {}", error.body_text())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_have_several_names() {
        for name in ["image", "image[]", "images", "images[]", "image[0]", "image[12]"] {
            assert!(is_picture(name), "{name}");
        }
        for name in ["imag", "image_url", "image[a]", "image[", "mask", ""] {
            assert!(!is_picture(name), "{name}");
        }
    }
}
