//! Writes a tiny checkpoint, for a look at it or for the scripts beside the golden files:
//! `cargo run -p scumble-testkit --example write_tiny flux-dev FOLDER`.

use scumble_testkit::tiny::{self, Variant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder] = &args[..] else {
        panic!("usage: write_tiny flux-schnell|flux-dev|flux-fill|sd35|auraflow FOLDER")
    };
    let variant = Variant::ALL
        .into_iter()
        .find(|v| v.name() == name)
        .expect("flux-schnell, flux-dev, flux-fill, sd35 or auraflow");
    tiny::of(variant).write(folder);
}
