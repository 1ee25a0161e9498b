//! Prompts for the starter that its training never saw, with what their pictures must show.
//!
//! Training leaves out every caption whose CRC-32 is a multiple of ten (`held_out` in `starter/scenes.py`, which says why
//! by the text); all prompts here are such captions.

use flate2::Crc;

use crate::picture::{PALETTE, SHAPES, Seen};

/// A prompt and what it asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// The colour around everything.
    pub background: &'static str,
    /// Colour and shape of each object.
    pub objects: Vec<(&'static str, &'static str)>,
    /// Where the only group should be, if the prompt says.
    pub place: Option<&'static str>,
}

/// What a picture got right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// As many objects as asked for.
    pub count: bool,
    /// Every object of an asked-for colour.
    pub color: bool,
    /// Every object of an asked-for shape.
    pub shape: bool,
    /// The asked-for background.
    pub background: bool,
    /// Colours and shapes belong together as asked, and everything above holds.
    pub right: bool,
    /// Where the prompt said; true if it did not say.
    pub place: bool,
}

impl Prompt {
    /// Compares a picture with the prompt.
    pub fn judge(&self, seen: &Seen) -> Verdict {
        let sorted = |mut items: Vec<(&'static str, &'static str)>| {
            items.sort_unstable();
            items
        };
        let asked = sorted(self.objects.clone());
        let found = sorted(seen.objects.iter().map(|o| (o.color, o.shape)).collect());
        let same = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
            let one = |items: &[(&'static str, &'static str)]| {
                let mut items: Vec<_> = items.iter().map(pick).collect();
                items.sort_unstable();
                items.dedup();
                items
            };
            one(&asked) == one(&found)
        };
        let background = seen.background == self.background;
        Verdict {
            count: asked.len() == found.len(),
            color: same(|o| o.0),
            shape: same(|o| o.1),
            background,
            right: asked == found && background,
            place: self.place.is_none_or(|place| seen.objects.iter().all(|o| is_at(place, o.center))),
        }
    }
}

fn is_at(place: &str, (x, y): (f32, f32)) -> bool {
    place.split(' ').all(|word| match word {
        "left" => x < 0.45,
        "right" => x > 0.55,
        "top" => y < 0.45,
        "bottom" => y > 0.55,
        _ => (0.3..0.7).contains(&x) && (0.3..0.7).contains(&y),
    })
}

/// `count` different prompts; the same ones every time.
pub fn held_out(count: usize) -> Vec<Prompt> {
    let mut dice = Dice(0x5c0_4b1e);
    let mut prompts: Vec<Prompt> = Vec::new();
    while prompts.len() < count {
        let prompt = if dice.one_in(4) { two_groups(&mut dice) } else { one_group(&mut dice) };
        if let Some(prompt) = prompt
            && crc32(&prompt.text).is_multiple_of(10)
            && !prompts.iter().any(|p| p.text == prompt.text)
        {
            prompts.push(prompt);
        }
    }
    prompts
}

fn one_group(dice: &mut Dice) -> Option<Prompt> {
    let (background, count) = (dice.color(), 1 + dice.below(3));
    let (color, shape) = dice.object(background)?;
    let places = if count == 1 { &PLACES[..] } else { &PLACES[..4] };
    let place = dice.one_in(3).then(|| dice.pick(places));
    let size = dice.pick(&["", "", "small ", "large "]);
    let name = if count == 1 { shape.to_owned() } else { plural(shape) };
    let number = dice.pick(&[["a", "one", "a single"], ["two", "2", "two"], ["three", "3", "three"]][count - 1]);
    let body = match dice.below(8) {
        0 => format!("{number} {size}{name} in {color}"),
        1 => format!("{number} {color} {size}{name}"),
        _ => format!("{number} {size}{color} {name}"),
    };
    let body = place.map_or(body.clone(), |(_, words)| format!("{body} {words}"));
    let text = with_background(dice, &body, background);
    Some(Prompt { text, background, objects: vec![(color, shape); count], place: place.map(|(name, _)| name) })
}

fn two_groups(dice: &mut Dice) -> Option<Prompt> {
    let background = dice.color();
    let (first, second) = (dice.object(background)?, dice.object(background)?);
    if first == second {
        return None;
    }
    let link = dice.pick(&["and", "and", "next to", "with"]);
    let body = format!("a {} {} {link} a {} {}", first.0, first.1, second.0, second.1);
    let text = with_background(dice, &body, background);
    Some(Prompt { text, background, objects: vec![first, second], place: None })
}

const PLACES: [(&str, &str); 9] = [
    ("left", "on the left"),
    ("right", "on the right"),
    ("top", "at the top"),
    ("bottom", "at the bottom"),
    ("center", "in the center"),
    ("top left", "in the top left corner"),
    ("top right", "in the top right corner"),
    ("bottom left", "in the bottom left corner"),
    ("bottom right", "in the bottom right corner"),
];

fn with_background(dice: &mut Dice, body: &str, color: &str) -> String {
    match dice.below(8) {
        0 => format!("{color} background, {body}"),
        1 => format!("{body} on {color}"),
        2 => format!("{body}, {color} background"),
        3 => format!("a picture of {body} against a {color} background"),
        _ => format!("{body} on a {color} background"),
    }
}

fn plural(shape: &str) -> String {
    if shape == "cross" { "crosses".into() } else { format!("{shape}s") }
}

/// A small generator (SplitMix64), so that the prompts never change.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn color(&mut self) -> &'static str {
        self.pick(&PALETTE).0
    }

    /// Colour and shape of something that can be seen.
    fn object(&mut self, background: &str) -> Option<(&'static str, &'static str)> {
        let (color, shape) = (self.color(), self.pick(&SHAPES));
        (color != background).then_some((color, shape))
    }
}

fn crc32(text: &str) -> u32 {
    let mut crc = Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Object;

    #[test]
    fn prompts_differ_and_repeat() {
        let prompts = held_out(300);
        assert_eq!(prompts, held_out(300));
        assert!(prompts.iter().all(|p| (1..=3).contains(&p.objects.len())));
        assert!(prompts.iter().all(|p| crc32(&p.text).is_multiple_of(10)));
    }

    #[test]
    fn a_verdict_needs_everything_and_in_the_right_combination() {
        let prompt = Prompt {
            text: String::new(),
            background: "white",
            objects: vec![("red", "star"), ("blue", "ring")],
            place: None,
        };
        let object = |color, shape| Object { color, shape, fit: 1.0, center: (0.5, 0.5) };
        let judge = |objects: Vec<Object>| prompt.judge(&Seen { background: "white", objects });
        assert!(judge(vec![object("blue", "ring"), object("red", "star")]).right);
        let swapped = judge(vec![object("red", "ring"), object("blue", "star")]);
        assert!(swapped.color && swapped.shape && swapped.count && !swapped.right);
        assert!(!judge(vec![object("red", "star")]).count);
    }
}
