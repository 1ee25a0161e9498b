//! An eye for the starter's pictures: which shapes of which colours are on which background.
//!
//! So tests can check what a picture means, not only its numbers. Palette and outlines are those of
//! `starter/scenes.py`; change both together.

use std::f32::consts::PI;

/// Names and colours.
pub const PALETTE: [(&str, [u8; 3]); 12] = [
    ("red", [225, 30, 35]),
    ("orange", [250, 135, 15]),
    ("yellow", [250, 220, 35]),
    ("green", [35, 155, 60]),
    ("cyan", [40, 205, 215]),
    ("blue", [35, 75, 215]),
    ("purple", [135, 45, 175]),
    ("pink", [250, 135, 190]),
    ("brown", [125, 75, 35]),
    ("black", [15, 15, 15]),
    ("white", [250, 250, 250]),
    ("gray", [128, 128, 128]),
];

/// Every shape that the starter draws.
pub const SHAPES: [&str; 7] = ["circle", "square", "triangle", "star", "ring", "heart", "cross"];

/// Objects smaller than this share of the picture are specks.
const SPECK: f32 = 0.0015;
/// A pixel this far from the background, in 8-bit RGB, belongs to something.
const APART: f32 = 48.0;

/// What is in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The colour around everything.
    pub background: &'static str,
    /// The objects, larger ones first.
    pub objects: Vec<Object>,
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its colour.
    pub color: &'static str,
    /// Its outline.
    pub shape: &'static str,
    /// How well the outline fits: shared area over joint area.
    pub fit: f32,
    /// Its centre as fractions of width and height.
    pub center: (f32, f32),
}

/// Whether a point of the square [-1, 1]² (y downwards) belongs to a shape.
pub fn inside(shape: &str, x: f32, y: f32) -> bool {
    match shape {
        "circle" => x * x + y * y <= 1.0,
        "square" => x.abs().max(y.abs()) <= 0.88,
        "triangle" => y <= 0.8 && y >= 1.8 * x.abs() / 0.98 - 1.0,
        "ring" => (0.52 * 0.52..=1.0).contains(&(x * x + y * y)),
        "cross" => x.abs().min(y.abs()) <= 0.32 && x.abs().max(y.abs()) <= 0.96,
        "heart" => {
            let (u, v) = (1.2 * x, -1.2 * y + 0.12);
            let s = u * u + v * v - 1.0;
            s * s * s <= u * u * v * v * v
        }
        "star" => {
            let angle = x.atan2(-y);
            let sector = ((angle + PI / 5.0).rem_euclid(2.0 * PI / 5.0) - PI / 5.0).abs();
            let r = (x * x + y * y).sqrt();
            let inner = 0.45;
            let (nx, ny) = (inner * (PI / 5.0).sin(), 1.0 - inner * (PI / 5.0).cos());
            r * (sector.cos() * nx + sector.sin() * ny) <= nx
        }
        _ => false,
    }
}

/// Reads a picture of `width` × `height` RGB pixels.
pub fn read(width: usize, height: usize, rgb: &[u8]) -> Seen {
    let picture = Picture { width, height, rgb };
    let ground = picture.border_color();
    let mut objects: Vec<(usize, Object)> =
        picture.blobs(ground).iter().filter_map(|b| picture.object(b, ground)).collect();
    objects.sort_by_key(|(area, _)| std::cmp::Reverse(*area));
    Seen { background: nearest(ground), objects: objects.into_iter().map(|(_, object)| object).collect() }
}

struct Picture<'a> {
    width: usize,
    height: usize,
    rgb: &'a [u8],
}

type Color = [f32; 3];

impl Picture<'_> {
    fn at(&self, index: usize) -> Color {
        let p = &self.rgb[index * 3..index * 3 + 3];
        [f32::from(p[0]), f32::from(p[1]), f32::from(p[2])]
    }

    /// The mean of the border pixels of the border's most frequent colour.
    fn border_color(&self) -> Color {
        let (w, h) = (self.width, self.height);
        let border: Vec<usize> =
            (0..w * h).filter(|i| i / w < 2 || i / w >= h - 2 || i % w < 2 || i % w >= w - 2).collect();
        let mut votes = [0usize; PALETTE.len()];
        for i in &border {
            votes[nearest_index(self.at(*i))] += 1;
        }
        let winner = (0..votes.len()).max_by_key(|c| votes[*c]).unwrap_or(0);
        let same: Vec<Color> = border.iter().map(|i| self.at(*i)).filter(|c| nearest_index(*c) == winner).collect();
        mean(&same)
    }

    /// Connected pixels that differ from the background.
    fn blobs(&self, ground: Color) -> Vec<Vec<usize>> {
        let count = self.width * self.height;
        let mut open: Vec<bool> = (0..count).map(|i| distance(self.at(i), ground) > APART).collect();
        let mut blobs = Vec::new();
        for start in 0..count {
            if !open[start] {
                continue;
            }
            let (mut blob, mut stack) = (Vec::new(), vec![start]);
            open[start] = false;
            while let Some(i) = stack.pop() {
                blob.push(i);
                for n in self.neighbours(i) {
                    if std::mem::take(&mut open[n]) {
                        stack.push(n);
                    }
                }
            }
            if blob.len() as f32 > SPECK * count as f32 {
                blobs.push(blob);
            }
        }
        blobs
    }

    fn neighbours(&self, i: usize) -> impl Iterator<Item = usize> {
        let (x, y, w, h) = (i % self.width, i / self.width, self.width, self.height);
        let sides =
            [(x > 0).then(|| i - 1), (x + 1 < w).then(|| i + 1), (y > 0).then(|| i - w), (y + 1 < h).then(|| i + w)];
        sides.into_iter().flatten()
    }

    /// The object behind a blob, and its area. The blob's rim is a mixture; its edge is where half of it is object.
    fn object(&self, blob: &[usize], ground: Color) -> Option<(usize, Object)> {
        let mut far: Vec<usize> = blob.to_vec();
        far.sort_by(|a, b| distance(self.at(*b), ground).total_cmp(&distance(self.at(*a), ground)));
        let core: Vec<Color> = far[..far.len().div_ceil(2)].iter().map(|i| self.at(*i)).collect();
        let color = mean(&core);
        let axis: Color = std::array::from_fn(|c| color[c] - ground[c]);
        let length: f32 = axis.iter().map(|a| a * a).sum();
        let share = |i: &usize| {
            let p = self.at(*i);
            (0..3).map(|c| (p[c] - ground[c]) * axis[c]).sum::<f32>() / length
        };
        let solid: Vec<usize> = blob.iter().copied().filter(|i| share(i) > 0.5).collect();
        let frame = Frame::around(solid.iter().map(|i| (i % self.width, i / self.width)))?;
        let (shape, fit) = frame.best_shape(&solid, self.width);
        let center = (frame.center().0 / self.width as f32, frame.center().1 / self.height as f32);
        Some((solid.len(), Object { color: nearest(color), shape, fit, center }))
    }
}

/// A bounding box in pixels, the far sides excluded.
struct Frame {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Frame {
    fn around(points: impl Iterator<Item = (usize, usize)>) -> Option<Self> {
        let mut frame: Option<Self> = None;
        for (x, y) in points {
            let f = frame.get_or_insert(Self { left: x, top: y, right: x + 1, bottom: y + 1 });
            f.left = f.left.min(x);
            f.top = f.top.min(y);
            f.right = f.right.max(x + 1);
            f.bottom = f.bottom.max(y + 1);
        }
        frame
    }

    fn center(&self) -> (f32, f32) {
        ((self.left + self.right) as f32 / 2.0, (self.top + self.bottom) as f32 / 2.0)
    }

    /// The shape that fills this frame most like the pixels do.
    fn best_shape(&self, solid: &[usize], width: usize) -> (&'static str, f32) {
        let mut filled = vec![false; (self.right - self.left) * (self.bottom - self.top)];
        let row = self.right - self.left;
        for i in solid {
            filled[(i / width - self.top) * row + (i % width - self.left)] = true;
        }
        let fits = SHAPES.map(|shape| (shape, self.fit(shape, &filled)));
        fits.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("circle", 0.0))
    }

    fn fit(&self, shape: &str, filled: &[bool]) -> f32 {
        let [x0, y0, x1, y1] = outline_box(shape);
        let (columns, rows) = (self.right - self.left, self.bottom - self.top);
        let (mut shared, mut joint) = (0usize, 0usize);
        for (i, is_filled) in filled.iter().enumerate() {
            let x = x0 + (x1 - x0) * ((i % columns) as f32 + 0.5) / columns as f32;
            let y = y0 + (y1 - y0) * ((i / columns) as f32 + 0.5) / rows as f32;
            let is_inside = inside(shape, x, y);
            shared += usize::from(is_inside && *is_filled);
            joint += usize::from(is_inside || *is_filled);
        }
        shared as f32 / joint.max(1) as f32
    }
}

/// The box around a shape's outline: left, top, right, bottom.
fn outline_box(shape: &str) -> [f32; 4] {
    const N: i32 = 200;
    let points = (-N..=N).flat_map(|y| (-N..=N).map(move |x| (x as f32 / N as f32, y as f32 / N as f32)));
    let start = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
    points
        .filter(|(x, y)| inside(shape, *x, *y))
        .fold(start, |b, (x, y)| [b[0].min(x), b[1].min(y), b[2].max(x), b[3].max(y)])
}

fn mean(colors: &[Color]) -> Color {
    std::array::from_fn(|c| colors.iter().map(|p| p[c]).sum::<f32>() / colors.len().max(1) as f32)
}

fn distance(a: Color, b: Color) -> f32 {
    (0..3).map(|c| (a[c] - b[c]) * (a[c] - b[c])).sum::<f32>().sqrt()
}

fn nearest(color: Color) -> &'static str {
    PALETTE[nearest_index(color)].0
}

fn nearest_index(color: Color) -> usize {
    let to = |i: &usize| distance(color, PALETTE[*i].1.map(f32::from));
    (0..PALETTE.len()).min_by(|a, b| to(a).total_cmp(&to(b))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws shapes the plain way: (shape, colour, x, y, radius), in pixels of a 128² picture.
    fn drawn(background: &str, objects: &[(&str, &str, f32, f32, f32)]) -> Seen {
        let rgb_of = |name: &str| PALETTE.iter().find(|(n, _)| *n == name).expect("a colour").1;
        let mut rgb = Vec::new();
        for i in 0..128 * 128 {
            let (x, y) = ((i % 128) as f32, (i / 128) as f32);
            let hit = objects.iter().find(|(shape, _, cx, cy, r)| inside(shape, (x - cx) / r, (y - cy) / r));
            rgb.extend(rgb_of(hit.map_or(background, |h| h.1)));
        }
        read(128, 128, &rgb)
    }

    #[test]
    fn every_shape_is_told_from_every_other_at_every_size() {
        for shape in SHAPES {
            for radius in [9.0, 15.0, 30.0, 48.0] {
                let seen = drawn("white", &[(shape, "blue", 63.0, 64.0, radius)]);
                assert_eq!(seen.objects.len(), 1, "{shape} {radius}");
                assert_eq!(seen.objects[0].shape, shape, "radius {radius}");
            }
        }
    }

    #[test]
    fn colours_counts_and_places_are_read() {
        for (background, _) in PALETTE {
            for (color, _) in PALETTE.iter().filter(|(c, _)| *c != background) {
                let seen = drawn(background, &[("star", color, 32.0, 40.0, 20.0), ("ring", color, 96.0, 90.0, 14.0)]);
                assert_eq!(seen.background, background);
                let found: Vec<_> = seen.objects.iter().map(|o| (o.color, o.shape)).collect();
                assert_eq!(found, [(*color, "star"), (*color, "ring")], "on {background}");
                assert!((seen.objects[1].center.0 - 0.75).abs() < 0.02);
            }
        }
    }

    #[test]
    fn an_empty_picture_has_no_objects() {
        assert_eq!(drawn("pink", &[]), Seen { background: "pink", objects: Vec::new() });
    }
}
