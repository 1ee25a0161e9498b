#![allow(warnings, clippy::all)]
use candle_core::{Device, Tensor};
use scumble_kernels::{Conv, ConvKind};
use std::time::Instant;
fn cpu() -> f64 {
    let mut t = 0u64;
    for e in std::fs::read_dir("/proc/self/task").unwrap() {
        let s = std::fs::read_to_string(e.unwrap().path().join("schedstat")).unwrap();
        t += s.split(' ').next().unwrap().parse::<u64>().unwrap();
    }
    t as f64 * 1e-9
}
const SHAPES: [(ConvKind, usize, usize, usize); 11] = [
    (ConvKind::Same { kernel: 3 }, 16, 16, 256),
    (ConvKind::Same { kernel: 3 }, 32, 32, 128),
    (ConvKind::Same { kernel: 3 }, 64, 64, 32),
    (ConvKind::Same { kernel: 3 }, 64, 64, 8),
    (ConvKind::Same { kernel: 3 }, 128, 128, 512),
    (ConvKind::Same { kernel: 3 }, 512, 512, 64),
    (ConvKind::Same { kernel: 3 }, 128, 3, 512),
    (ConvKind::Same { kernel: 3 }, 16, 3, 256),
    (ConvKind::Same { kernel: 3 }, 3, 128, 512),
    (ConvKind::Same { kernel: 1 }, 256, 128, 256),
    (ConvKind::Halve, 128, 128, 256),
];
fn main() {
    println!(
        "{:>40} | candle: wall ms, cpu ms | kernel: wall ms, cpu ms (with output allocation) | GF/cpu-s before, after",
        ""
    );
    for (kind, input, output, side) in SHAPES {
        let k = kind.kernel();
        let (wv, bv, xv) = (ramp(output * input * k * k), ramp(output), ramp(input * side * side));
        let conv = Conv::new(kind, &wv, &bv);
        let w = Tensor::from_slice(&wv, (output, input, k, k), &Device::Cpu).unwrap();
        let b = Tensor::from_slice(&bv, (1, output, 1, 1), &Device::Cpu).unwrap();
        let x = Tensor::from_slice(&xv, (1, input, side, side), &Device::Cpu).unwrap();
        let n = output * kind.side(side) * kind.side(side);
        let work = 2.0 * (n * input * k * k) as f64;
        let mut best = [f64::INFINITY; 4];
        for _ in 0..(1e11 / work).clamp(3.0, 30.0) as usize {
            let (t, s) = (Instant::now(), cpu());
            let y = match kind {
                ConvKind::Same { .. } => x.conv2d(&w, k / 2, 1, 1, 1).unwrap(),
                ConvKind::Halve => {
                    x.pad_with_zeros(2, 0, 1).unwrap().pad_with_zeros(3, 0, 1).unwrap().conv2d(&w, 0, 2, 1, 1).unwrap()
                }
            }
            .broadcast_add(&b)
            .unwrap();
            best[0] = best[0].min(t.elapsed().as_secs_f64());
            best[1] = best[1].min(cpu() - s);
            let yv = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            drop(y);
            let (t, s) = (Instant::now(), cpu());
            let mut out = vec![0f32; n];
            conv.run(&xv, (side, side), &mut out);
            best[2] = best[2].min(t.elapsed().as_secs_f64());
            best[3] = best[3].min(cpu() - s);
            assert!(out.iter().zip(&yv).all(|(a, b)| (a - b).abs() < 1e-2));
        }
        println!(
            "{:>40} | {:9.3} {:9.3} | {:9.3} {:9.3} | {:6.1} {:6.1} | x{:.2} cpu",
            format!("{kind:?} {input}->{output} @{side}"),
            best[0] * 1e3,
            best[1] * 1e3,
            best[2] * 1e3,
            best[3] * 1e3,
            work / best[1] / 1e9,
            work / best[3] / 1e9,
            best[1] / best[3]
        );
    }
}
fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 1000.0).collect()
}
