//! How a picture is written.

use serde::{Deserialize, Serialize};

/// A file format of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// Lossy, small.
    Jpeg,
    /// Lossless.
    Png,
    /// Lossless here, and smaller than PNG.
    Webp,
    /// Shapes instead of pixels; only makers of vector pictures give it.
    Svg,
}

/// How pictures are to be written, whatever their endpoint gives by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// The format.
    pub format: ImageFormat,
    /// 1 to 100; JPEG only, and the usual one where nobody says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quality: Option<u8>,
}

impl ImageFormat {
    /// The MIME type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Svg => "image/svg+xml",
        }
    }

    /// The usual end of a file's name, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Svg => "svg",
        }
    }

    /// By the end of a file's name, in any letter case.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "png" => Some(Self::Png),
            "webp" => Some(Self::Webp),
            "svg" => Some(Self::Svg),
            _ => None,
        }
    }

    /// By its MIME type.
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        [Self::Jpeg, Self::Png, Self::Webp, Self::Svg].into_iter().find(|f| f.content_type() == content_type)
    }
}
