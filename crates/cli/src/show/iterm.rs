//! iTerm2's inline images (iterm2.com/documentation-images.html): a whole file in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

pub(super) fn sent(png: &[u8], (width, height): (u32, u32)) -> String {
    let (size, data) = (png.len(), BASE64.encode(png));
    format!("\x1b]1337;File=inline=1;size={size};width={width}px;height={height}px;preserveAspectRatio=1:{data}\x07")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sent_as_it_is() {
        let text = sent(b"png", (640, 480));
        assert_eq!(text, "\x1b]1337;File=inline=1;size=3;width=640px;height=480px;preserveAspectRatio=1:cG5n\x07");
    }
}
