//! Ideogram 3: forms, each path with fields of its own.

use scumble_api::Problem;
use serde_json::{Value, json};

use super::resolutions::resolution;
use super::v2::on_or_off;
use super::{Order, seed};
use crate::core::call::Call;
use crate::core::error::MakerError;
use crate::picture::{Input, Takes, Wish, input, two_tone};
use crate::settings::IdeogramSettings;
use crate::sizes::{Size, written};
use crate::wire::{Body, Form};

/// 10 MB for each file, and for all style references together.
const FILE_MAX: u64 = 10 * 1024 * 1024;
const TAKES: Takes = Takes { bytes: FILE_MAX, least: 1, pixels: 100_000_000 };

const PALETTES: &[&str] = &["EMBER", "FRESH", "JUNGLE", "MAGIC", "MELON", "MOSAIC", "PASTEL", "ULTRAMARINE"];
const SPEEDS: &[&str] = &["TURBO", "BALANCED", "QUALITY"];
const STYLES: &[&str] = &["AUTO", "GENERAL", "REALISTIC", "DESIGN"];

/// A form that is being filled in.
struct Draft<'a> {
    call: &'a Call,
    form: Form,
    notes: Vec<String>,
    exact: bool,
}

pub(super) fn order(call: &Call, settings: &IdeogramSettings) -> Result<Order, MakerError> {
    let exact = settings.exact_size.unwrap_or(false);
    let mut draft = Draft { call, form: Form::default(), notes: Vec::new(), exact };
    let (path, size) = match call.endpoint.as_str() {
        "fal-ai/ideogram/v3" => {
            draft.prompt()?;
            let size = draft.resolution(Some((1024, 1024)))?;
            draft.negative_prompt();
            draft.style()?;
            ("/v1/ideogram-v3/generate", Some(size))
        }
        "fal-ai/ideogram/v3/remix" => {
            draft.picture()?;
            draft.prompt()?;
            let strength = call.number("strength").unwrap_or(0.8);
            draft.form.text("image_weight", ((100.0 * strength).round().clamp(1.0, 100.0) as u32).to_string());
            let size = draft.resolution(Some((1024, 1024)))?;
            draft.negative_prompt();
            draft.style()?;
            ("/v1/ideogram-v3/remix", Some(size))
        }
        "fal-ai/ideogram/v3/edit" => {
            let image = draft.picture()?;
            draft.mask(&image, settings.fal_mask_white_is_edited)?;
            draft.prompt()?;
            draft.preset_alone();
            (settings.inpaint_path.as_str(), None)
        }
        "fal-ai/ideogram/v3/reframe" => {
            draft.picture()?;
            let size = draft.resolution(None)?;
            draft.styleless();
            ("/v1/ideogram-v3/reframe", Some(size))
        }
        "fal-ai/ideogram/v3/replace-background" => {
            draft.picture()?;
            draft.prompt()?;
            draft.styleless();
            ("/v1/ideogram-v3/replace-background", None)
        }
        other => return Err(MakerError::internal(format!("Ideogram has nothing for {other}"))),
    };
    draft.finish(path, size)
}

/// Where the maker has dropped its second model: the third, with what it has of the second's fields.
pub(super) fn instead_of_v2(call: &Call, settings: &IdeogramSettings) -> Result<Order, MakerError> {
    let mut later = call.clone();
    later.endpoint = "fal-ai/ideogram/v3".to_owned();
    let aspect = call.text("aspect_ratio").unwrap_or("1:1");
    let side = |text: &str| text.parse::<u32>().ok().filter(|n| (1..=100).contains(n));
    let sides = aspect.split_once(':').and_then(|(w, h)| Some((side(w)?, side(h)?)));
    let (w, h) = sides.ok_or_else(|| MakerError::one_of("aspect_ratio", &["1:1", "16:9", "9:16"], &aspect.into()))?;
    later.values.insert("image_size".into(), json!({ "width": w * 100, "height": h * 100 }));
    let style = match call.text("style").unwrap_or("auto") {
        "render_3D" | "anime" => "GENERAL".to_owned(),
        style => style.to_uppercase(),
    };
    later.values.insert("style".into(), style.into());
    order(&later, settings)
}

impl Draft<'_> {
    fn prompt(&mut self) -> Result<(), MakerError> {
        let prompt = self.call.prompt()?;
        self.form.text("prompt", prompt);
        self.form.text("magic_prompt", on_or_off(self.call.flag("expand_prompt").unwrap_or(true)));
        Ok(())
    }

    fn negative_prompt(&mut self) {
        if let Some(negative) = self.call.text("negative_prompt").filter(|text| !text.is_empty()) {
            self.form.text("negative_prompt", negative);
        }
    }

    fn picture(&mut self) -> Result<Input, MakerError> {
        let image = required(self.call, "image_url")?;
        let name = format!("image.{}", image.kind.extension());
        self.form.file("image", &name, image.kind.content_type(), image.bytes.clone());
        Ok(image)
    }

    /// Ideogram draws anew what is black.
    fn mask(&mut self, image: &Input, white_is_edited: bool) -> Result<(), MakerError> {
        let mask = required(self.call, "mask_url")?;
        let bytes = two_tone("mask_url", &mask, image, white_is_edited)?;
        self.form.file("mask", "mask.png", "image/png", bytes);
        Ok(())
    }

    /// The size that is drawn; the caller's own is returned.
    fn resolution(&mut self, default: Option<Size>) -> Result<(Size, Size), MakerError> {
        let missing = || MakerError::field(Problem::new(&["image_size"], "missing", "Field required"));
        let size = self.call.size().or(default).ok_or_else(missing)?;
        let drawn = resolution(size);
        self.form.text("resolution", written(drawn));
        if drawn != size {
            let ((width, height), (w, h)) = (size, drawn);
            self.notes.push(format!("{width} × {height} pixels become {w} × {h}: Ideogram draws certain sizes only"));
        }
        Ok((size, drawn))
    }

    fn style(&mut self) -> Result<(), MakerError> {
        if let Some(preset) = self.call.text("style_preset") {
            self.form.text("style_preset", preset);
            return Ok(());
        }
        let Some(style) = self.call.text("style") else { return Ok(()) };
        if !STYLES.contains(&style) {
            return Err(MakerError::one_of("style", STYLES, &style.into()));
        }
        self.form.text("style_type", style);
        Ok(())
    }

    /// A path that takes presets and no styles.
    fn preset_alone(&mut self) {
        if let Some(preset) = self.call.text("style_preset") {
            self.form.text("style_preset", preset);
        }
    }

    fn styleless(&mut self) {
        self.preset_alone();
        if let Some(style) = self.call.text("style") {
            self.notes.push(format!("style {style} has no effect: Ideogram has no such field here"));
        }
    }

    /// What all paths have.
    fn finish(mut self, path: &str, size: Option<(Size, Size)>) -> Result<Order, MakerError> {
        let speed = self.speed()?;
        self.form.text("rendering_speed", speed);
        let pictures = self.call.count();
        self.form.text("num_images", pictures.to_string());
        self.form.text("seed", seed(self.call)?.to_string());
        self.style_codes()?;
        self.references()?;
        self.palette()?;
        let wish = Wish { size: size.filter(|_| self.exact), ..Wish::named("image") };
        Ok(Order {
            path: path.to_owned(),
            body: Body::Form(self.form),
            model: format!("ideogram-v3/{speed}"),
            pictures,
            wish,
            notes: self.notes,
        })
    }

    fn speed(&self) -> Result<&'static str, MakerError> {
        match self.call.text("rendering_speed").unwrap_or("BALANCED") {
            "TURBO" => Ok("TURBO"),
            "BALANCED" => Ok("DEFAULT"),
            "QUALITY" => Ok("QUALITY"),
            other => Err(MakerError::one_of("rendering_speed", SPEEDS, &other.into())),
        }
    }

    fn style_codes(&mut self) -> Result<(), MakerError> {
        let codes = list(self.call, "style_codes");
        if codes.is_empty() {
            return Ok(());
        }
        if self.call.text("style").is_some() || self.call.images.get("image_urls").is_some_and(|urls| !urls.is_empty())
        {
            let msg = "style_codes cannot be used together with style or image_urls; give one of them";
            return Err(MakerError::value("style_codes", msg));
        }
        for code in codes {
            let text = code.as_str().unwrap_or_default();
            if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                let msg = "A style code has 8 hexadecimal digits, such as AAFF5733";
                return Err(MakerError::value("style_codes", msg));
            }
            self.form.text("style_codes", text);
        }
        Ok(())
    }

    fn references(&mut self) -> Result<(), MakerError> {
        let files = self.call.images.get("image_urls").map_or(&[][..], Vec::as_slice);
        if files.is_empty() {
            return Ok(());
        }
        if let Some(style @ ("REALISTIC" | "DESIGN")) = self.call.text("style") {
            let msg =
                format!("image_urls cannot be used together with style {style}; use AUTO or GENERAL, or no style");
            return Err(MakerError::value("image_urls", msg));
        }
        let mut total = 0;
        for bytes in files {
            let image = input("image_urls", bytes, TAKES)?;
            total += image.bytes.len() as u64;
            if total > FILE_MAX {
                let msg = format!("The style references have more than {FILE_MAX} bytes together");
                let problem = Problem::new(&["image_urls"], "file_too_large", msg).with("max_size", FILE_MAX);
                return Err(MakerError::field(problem));
            }
            let name = format!("image.{}", image.kind.extension());
            self.form.file("style_reference_images", &name, image.kind.content_type(), image.bytes);
        }
        Ok(())
    }

    fn palette(&mut self) -> Result<(), MakerError> {
        let Some(palette) = self.call.values.get("color_palette").filter(|value| value.is_object()) else {
            return Ok(());
        };
        let name = palette["name"].as_str();
        let members = palette["members"].as_array().filter(|members| !members.is_empty());
        match (name, members) {
            (Some(_), Some(_)) => {
                let msg = "color_palette takes either name or members, not both";
                Err(MakerError::value("color_palette", msg))
            }
            (Some(name), None) if !PALETTES.contains(&name) => {
                Err(MakerError::one_of("color_palette", PALETTES, &name.into()))
            }
            (Some(name), None) => {
                self.form.json("color_palette", &json!({ "name": name }));
                Ok(())
            }
            (None, Some(members)) => {
                self.form.json("color_palette", &json!({ "members": colours(members)? }));
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }
}

/// The members of a palette, heaviest first.
fn colours(members: &[Value]) -> Result<Vec<Value>, MakerError> {
    const MOST: usize = 8;
    if members.len() > MOST {
        let msg = format!("A palette has at most {MOST} colours");
        let problem = Problem::new(&["color_palette", "members"], "sequence_too_long", msg);
        return Err(MakerError::field(problem.with("max_length", MOST)));
    }
    let mut colours = Vec::new();
    for member in members {
        let weight = member["color_weight"].as_f64().unwrap_or(0.5).clamp(0.05, 1.0);
        let [r, g, b] = crate::recraft::rgb(&member["rgb"], &["color_palette", "members"])?;
        colours.push((weight, format!("#{r:02X}{g:02X}{b:02X}")));
    }
    colours.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(colours.into_iter().map(|(weight, hex)| json!({ "color_hex": hex, "color_weight": weight })).collect())
}

fn required(call: &Call, field: &str) -> Result<Input, MakerError> {
    let missing = || MakerError::field(Problem::new(&[field], "missing", "Field required"));
    input(field, call.image(field).ok_or_else(missing)?, TAKES)
}

fn list<'a>(call: &'a Call, field: &str) -> &'a [Value] {
    call.values.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
