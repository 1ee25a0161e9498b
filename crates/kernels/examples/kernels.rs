//! Times the kernels at shapes in use: `cargo run --release -p scumble-kernels --example kernels`.
//!
//! Products stand beside those of the `gemm` crate, in turn. `RAYON_NUM_THREADS` sets the threads, `SCUMBLE_ISA` a smaller
//! instruction set.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use scumble_kernels::{
    Attention, Conv, ConvKind, Finish, GROUP, Group, GroupNorm, GroupRows, Heads, Level, Plain, Rows, at_most,
    group_norm, group_product, layer_norm, level, product,
};

/// Rows of x, columns, rows of W.
const PRODUCTS: [(usize, usize, usize); 7] = [
    (1280, 1024, 1024),
    (1280, 1024, 4096),
    (1280, 5120, 1024),
    (1024, 3072, 3072),
    (256, 3072, 12288),
    (77, 768, 768),
    (1, 3072, 18432),
];
/// Heads, tokens, width of a head.
const ATTENTIONS: [(usize, usize, usize); 3] = [(8, 1280, 128), (24, 4608, 128), (38, 1178, 64)];
/// Kind, channels in, channels out, side.
const CONVOLUTIONS: [(ConvKind, usize, usize, usize); 7] = [
    (ConvKind::Same { kernel: 3 }, 16, 512, 64),
    (ConvKind::Same { kernel: 3 }, 512, 512, 64),
    (ConvKind::Same { kernel: 3 }, 128, 128, 512),
    (ConvKind::Same { kernel: 3 }, 128, 3, 512),
    (ConvKind::Same { kernel: 1 }, 256, 128, 256),
    (ConvKind::Halve, 128, 128, 256),
    (ConvKind::Double, 256, 256, 128),
];

fn main() -> std::io::Result<()> {
    let wanted = std::env::var("SCUMBLE_ISA").ok();
    Level::ALL.into_iter().filter(|level| wanted.as_deref() == Some(level.name())).for_each(|level| {
        at_most(level);
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} with {} threads; least of several runs", level().name(), rayon::current_num_threads())?;
    writeln!(out, "{:>34} {:>10} {:>10} {:>18}", "kernel", "ms", "GFLOP/s", "time / gemm's time")?;
    for (n, columns, rows) in PRODUCTS {
        let (x, w, mut y) = (ramp(n * columns), ramp(rows * columns), vec![0f32; n * rows]);
        let matrix = Plain::new(&w, columns);
        let ours = least(|| product(&x, &matrix, &Finish::default(), black_box(&mut y)));
        let theirs = least(|| theirs(&x, &w, columns, black_box(&mut y)));
        let name = format!("product {n}x{columns}x{rows}");
        let work = 2.0 * (n * columns * rows) as f64;
        line(&mut out, &name, ours, work, Some(ours / theirs))?;
        let matrix = Groups::of(&w, columns);
        let small = least(|| group_product(&x, &matrix, &Finish::default(), black_box(&mut y)));
        line(&mut out, "the same in groups", small, work, Some(small / theirs))?;
    }
    for (heads, tokens, width) in ATTENTIONS {
        let [q, k, v] = [1, 2, 3].map(|_| ramp(heads * tokens * width));
        let mut y = vec![0f32; q.len()];
        let shape =
            Attention { batch: 1, heads, shared: heads, queries: tokens, keys: tokens, width, scale: 1.0 / 16.0 };
        let of = |values| Heads { values, strides: [heads * tokens * width, width, heads * width] };
        let time = least(|| shape.run(of(&q), of(&k), of(&v), None, black_box(&mut y)));
        let name = format!("attention {heads}x{tokens}x{width}");
        line(&mut out, &name, time, 4.0 * (heads * tokens * tokens * width) as f64, None)?;
    }
    for (kind, input, output, side) in CONVOLUTIONS {
        let taps = kind.kernel() * kind.kernel();
        let conv = Conv::new(kind, &ramp(output * input * taps), &ramp(output));
        let x = ramp(input * side * side);
        let mut y = vec![0f32; output * kind.side(side) * kind.side(side)];
        let time = least(|| conv.run(&x, (side, side), None, black_box(&mut y)));
        let name = format!("{kind:?} {input}->{output} @{side}").replace("Same { kernel: 3 }", "3x3");
        line(&mut out, &name.replace("Same { kernel: 1 }", "1x1"), time, 2.0 * (y.len() * input * taps) as f64, None)?;
    }
    norms(&mut out)
}

fn norms(out: &mut impl Write) -> std::io::Result<()> {
    let (x, gain) = (ramp(1024 * 3072), ramp(3072));
    let mut y = vec![0f32; x.len()];
    let time = least(|| layer_norm(&x, 3072, 1e-6, &gain, &gain, black_box(&mut y)));
    line(out, "layer norm 1024x3072", time, 8.0 * x.len() as f64, None)?;
    let (area, channels) = (512 * 512, 128);
    let (x, gain) = (ramp(area * channels), ramp(channels));
    let mut y = vec![0f32; x.len()];
    let shape = GroupNorm { area, groups: 32, eps: 1e-6, gain: &gain, offset: &gain, silu: true };
    let time = least(|| group_norm(&shape, &x, black_box(&mut y)));
    line(out, "group norm and SiLU 128 @512", time, 20.0 * x.len() as f64, None)
}

/// A matrix of whole numbers.
struct Groups {
    groups: Vec<Group>,
    columns: usize,
}

impl Groups {
    fn of(values: &[f32], columns: usize) -> Self {
        let group = |values: &[f32; GROUP]| {
            let scale = values.iter().fold(0f32, |largest, x| largest.max(x.abs())) / 127.0;
            Group { numbers: values.map(|x| (x / scale).round() as i8), scale, floor: 0.0 }
        };
        Self { groups: values.as_chunks().0.iter().map(group).collect(), columns }
    }
}

impl Rows for Groups {
    fn rows(&self) -> usize {
        self.groups.len() * GROUP / self.columns
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read(&self, row: usize, first: usize, to: &mut [f32]) {
        let groups = &self.groups[(row * self.columns + first) / GROUP..];
        for (to, group) in to.chunks_mut(GROUP).zip(groups) {
            to.iter_mut().zip(group.numbers).for_each(|(to, number)| *to = f32::from(number) * group.scale);
        }
    }
}

impl GroupRows for Groups {
    fn groups(&self, row: usize, first: usize, to: &mut [Group]) {
        to.copy_from_slice(&self.groups[row * self.columns / GROUP + first..][..to.len()]);
    }
}

/// `x Wᵀ` by the crate that candle multiplies with.
fn theirs(x: &[f32], w: &[f32], columns: usize, y: &mut [f32]) {
    let (n, rows) = (x.len() / columns, w.len() / columns);
    let (sums, stride, column) = (y.as_mut_ptr(), rows as isize, columns as isize);
    #[expect(unsafe_code, reason = "the crate takes pointers")]
    // SAFETY: the three matrices are whole, row-major, and of these sizes.
    unsafe {
        let threads = gemm::Parallelism::Rayon(0);
        let (x, w) = (x.as_ptr(), w.as_ptr());
        gemm::gemm(
            n, rows, columns, sums, 1, stride, false, x, 1, column, w, column, 1, 0.0, 1.0, false, false, false,
            threads,
        );
    }
}

/// Other programs only ever add time.
fn least(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    for round in 0.. {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        if round >= 3 && begin.elapsed().as_secs_f64() > 1.5 {
            break;
        }
    }
    best
}

fn line(out: &mut impl Write, name: &str, seconds: f64, work: f64, ratio: Option<f64>) -> std::io::Result<()> {
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    writeln!(out, "{name:>34} {:>10.2} {:>10.1} {ratio:>18}", seconds * 1e3, work / seconds / 1e9)
}

fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 500.0).collect()
}
