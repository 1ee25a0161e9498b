//! What pictures can be computed on.

use scumble_api::published::gigabytes;
use scumble_engine::{Card, cards, device, devices, instruction_set, runs_plain};

use super::{Finding, Purpose};

/// Who only looks has each card opened, which tries our kernels there; a server opens those that it computes on.
pub(super) fn check(purpose: Purpose) -> Finding {
    let threads = rayon::current_num_threads();
    let cpu = format!("cpu with {threads} threads ({})", instruction_set().name());
    if !devices().contains(&"cuda:0") {
        return Finding::Well(cpu);
    }
    match cards() {
        Ok(cards) => {
            let said = told(&cpu, &cards);
            match (0..cards.len()).filter(|_| purpose == Purpose::Look).find_map(wrong) {
                Some(wrong) => Finding::Odd(format!("{said}; {wrong}")),
                None => Finding::Well(said),
            }
        }
        Err(missing) => Finding::Odd(format!("{cpu}; no NVIDIA card: {missing}")),
    }
}

/// What is wrong with a card, or with our kernels there.
fn wrong(index: usize) -> Option<String> {
    match device(&format!("cuda:{index}")) {
        Ok(device) => {
            runs_plain(&device).map(|why| format!("our kernels are wrong on cuda:{index} and are not used: {why}"))
        }
        Err(error) => Some(error.to_string()),
    }
}

/// The processor and the cards; what nobody has tried on a card is said with them.
fn told(cpu: &str, cards: &[Card]) -> String {
    let card = |(index, Card { name, capability: (major, minor), memory }): (usize, &Card)| {
        let [free, total] = [memory.free, memory.total].map(gigabytes);
        format!("cuda:{index} {name}, compute capability {major}.{minor}, {free} of {total} free")
    };
    let cards: Vec<String> = cards.iter().enumerate().map(card).collect();
    format!("{cpu}; {} (what runs on cards was compiled, not run on hardware: /docs/gpu)", cards.join("; "))
}

#[cfg(test)]
mod tests {
    use scumble_engine::Memory;

    use super::*;

    #[test]
    fn every_card_is_told_with_its_number() {
        let memory = Memory { free: 20_000_000_000, total: 24_000_000_000 };
        let cards = ["NVIDIA A", "NVIDIA B"].map(|name| Card { name: name.into(), capability: (8, 9), memory });
        let said = told("cpu with 2 threads (avx2)", &cards);
        assert!(said.contains("cuda:0 NVIDIA A, compute capability 8.9, 20.0 GB of 24.0 GB free; cuda:1"), "{said}");
    }
}
