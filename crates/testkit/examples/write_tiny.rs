//! Writes a tiny checkpoint, for a look at it or for suites in other languages, and a LoRA for it beside its folders:
//! `cargo run -p scumble-testkit --example write_tiny flux-dev FOLDER`. A third word makes it fit for pictures of real sizes:
//! a table of positions with so many rows and columns, and one block of each kind.

use std::path::Path;

use scumble_testkit::tiny::{self, Variant, loras};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let names = || Variant::ALL.map(Variant::name).join("|");
    let [name, folder, side @ ..] = &args[..] else { panic!("usage: write_tiny {} FOLDER [SIDE]", names()) };
    let variant = Variant::ALL.into_iter().find(|v| v.name() == name).unwrap_or_else(|| panic!("one of {}", names()));
    let tiny = tiny::of(variant);
    let tiny =
        side.first().map_or(tiny, |side| tiny.shallow().side(side.parse().expect("a number of rows and columns")));
    tiny.write(folder);
    if let Some(mut file) = loras::sets(variant).into_iter().find_map(|mut set| set.files.remove("peft")) {
        if !side.is_empty() {
            file.tensors.retain(|name, _| is_in_first_blocks(name));
        }
        file.write(&Path::new(folder).join("lora.safetensors"), 1.0);
    }
}

/// Whether a shallow checkpoint has the module of this tensor.
fn is_in_first_blocks(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    parts.windows(2).all(|pair| !pair[0].ends_with("blocks") || pair[1] == "0")
}
