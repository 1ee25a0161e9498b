//! What the log of a job says of a request that does not get all it asks for.

use scumble_api::{Family, STARTER_WORDS};

use super::{Request, Watch};

/// So many unknown words are named.
const WORDS: usize = 20;
/// Characters of one of them.
const LENGTH: usize = 40;

/// Says that nobody looks at the pictures, where the request wants that.
pub(super) fn unchecked(request: &Request, watch: &dyn Watch) {
    if request.values.get("enable_safety_checker").is_some_and(|asked| asked == true) {
        watch.log(
            "enable_safety_checker: this server has no checker; nothing is checked, and has_nsfw_concepts is false for \
             that reason",
        );
    }
}

/// Names the words of the prompt that the model cannot read.
pub(super) fn unknown_words(request: &Request, words: &[String], watch: &dyn Watch) {
    if words.is_empty() {
        return;
    }
    let list = list(words);
    watch.warn(&match request.endpoint.family {
        Family::Starter => {
            format!("the starter does not know: {list}. It draws as if they were not there. It knows these words. {STARTER_WORDS}")
        }
        _ => format!("the model does not know: {list}. To it, each of them is the same unknown character"),
    });
}

fn list(words: &[String]) -> String {
    let short = |word: &String| match word.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.clone(),
    };
    let named = words.iter().take(WORDS).map(short).collect::<Vec<_>>().join(", ");
    match words.len().saturating_sub(WORDS) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_stays_short() {
        let words: Vec<String> = (0..1000).map(|n| format!("{n}{}", "x".repeat(1000))).collect();
        let list = list(&words);
        assert!(list.len() < 1000 && list.starts_with("0xxx") && list.ends_with("… and 980 more"), "{list}");
    }
}
