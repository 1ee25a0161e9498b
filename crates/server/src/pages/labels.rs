//! Names of fields, and moments, as people write them.

use time::OffsetDateTime;
use time::macros::format_description;

/// `num_inference_steps` as `Number of inference steps`.
pub(super) fn label(name: &str) -> String {
    if name == "ip_adapter" {
        return "IP-Adapter".to_owned();
    }
    let words = name.split('_').map(|word| match word {
        "num" => "number of",
        "url" => "URL",
        "urls" => "URLs",
        "id" => "ID",
        "ip" => "IP",
        "rgb" => "RGB",
        "cfg" => "CFG",
        "lora" => "LoRA",
        "loras" => "LoRAs",
        "controlnet" => "ControlNet",
        word => word,
    });
    let text = words.collect::<Vec<_>>().join(" ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `2026-11-20 18:30:05`, in UTC.
pub(super) fn moment(ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    at(ms).and_then(|time| time.format(format).ok()).unwrap_or_default()
}

/// The same for programs.
pub(super) fn iso(ms: i64) -> String {
    at(ms).and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default()
}

fn at(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

/// `0.8 s`, `12 s`, `3 min 5 s`.
pub(super) fn duration(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, ms.max(0) % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words() {
        assert_eq!(label("num_inference_steps"), "Number of inference steps");
        assert_eq!(label("image_url"), "Image URL");
        assert_eq!(["lora", "loras", "ip_adapter"].map(label), ["LoRA", "LoRAs", "IP-Adapter"]);
        assert_eq!(label("r"), "R");
        assert_eq!(label(""), "");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(
            [850, 12_345, 185_000, 7_260_000, -1].map(duration),
            ["0.8 s", "12 s", "3 min 5 s", "2 h 1 min", "0.0 s"]
        );
        assert_eq!(moment(0), "1970-01-01 00:00:00");
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
    }
}
