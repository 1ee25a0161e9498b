//! Times the convolution kernel: `RAYON_NUM_THREADS=2 cargo run --release -p scumble-kernels --example conv_bench`.

use std::io::Write;
use std::time::Instant;

use scumble_kernels::{Conv, ConvKind};

/// Kind, input channels, output channels, side of the picture.
const SHAPES: [(ConvKind, usize, usize, usize); 10] = [
    (ConvKind::Same { kernel: 3 }, 16, 16, 256),
    (ConvKind::Same { kernel: 3 }, 32, 32, 128),
    (ConvKind::Same { kernel: 3 }, 64, 64, 32),
    (ConvKind::Same { kernel: 3 }, 64, 64, 8),
    (ConvKind::Same { kernel: 3 }, 128, 128, 512),
    (ConvKind::Same { kernel: 3 }, 512, 512, 64),
    (ConvKind::Same { kernel: 3 }, 128, 3, 512),
    (ConvKind::Same { kernel: 3 }, 3, 128, 512),
    (ConvKind::Same { kernel: 1 }, 256, 128, 256),
    (ConvKind::Halve, 128, 128, 256),
];

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:>28} {:>10} {:>10}", "shape", "ms", "GFLOP/s")?;
    for (kind, input, output, side) in SHAPES {
        let taps = kind.kernel() * kind.kernel();
        let conv = Conv::new(kind, &ramp(output * input * taps), &ramp(output));
        let x = ramp(input * side * side);
        let mut y = vec![0f32; output * kind.side(side) * kind.side(side)];
        let work = 2.0 * (y.len() * input * taps) as f64;
        let mut best = f64::INFINITY;
        // the least of several runs: other programs only ever add time
        for _ in 0..(4e10 / work).clamp(5.0, 500.0) as usize {
            let start = Instant::now();
            conv.run(&x, (side, side), &mut y);
            best = best.min(start.elapsed().as_secs_f64());
        }
        let name = match kind {
            ConvKind::Same { kernel } => format!("{kernel}x{kernel} {input}->{output} @{side}"),
            ConvKind::Halve => format!("halve {input}->{output} @{side}"),
        };
        writeln!(out, "{name:>28} {:>10.3} {:>10.1}", best * 1e3, work / best / 1e9)?;
    }
    Ok(())
}

/// Numbers without a pattern that would make sums exact.
fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 1000.0).collect()
}
