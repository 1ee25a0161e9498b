//! Prompts that were made longer before.

use hashlink::LruCache;

/// Prompts and answers in all, in bytes.
const BYTES: usize = 4 * 1024 * 1024;

/// The answers by their prompts; what was not asked for longest goes first.
pub(super) struct Kept {
    answers: LruCache<String, String>,
    bytes: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self { answers: LruCache::new_unbounded(), bytes: 0 }
    }
}

impl Kept {
    pub(super) fn get(&mut self, prompt: &str) -> Option<String> {
        self.answers.get(prompt).cloned()
    }

    pub(super) fn put(&mut self, prompt: &str, answer: &str) {
        self.bytes += prompt.len() + answer.len();
        if let Some(before) = self.answers.insert(prompt.to_owned(), answer.to_owned()) {
            self.bytes -= prompt.len() + before.len();
        }
        while self.bytes > BYTES
            && let Some((prompt, answer)) = self.answers.remove_lru()
        {
            self.bytes -= prompt.len() + answer.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_bytes_have_a_limit() {
        let mut kept = Kept::default();
        let long = "x".repeat(30_000);
        kept.put("first", "a fox");
        for n in 0..1_000 {
            kept.put(&format!("{n} {long}"), &long);
            assert_eq!(kept.get("first").as_deref(), Some("a fox"));
            assert!(kept.bytes <= BYTES);
        }
        assert_eq!(kept.get(&format!("0 {long}")), None);
        let held: usize = kept.answers.iter().map(|(prompt, answer)| prompt.len() + answer.len()).sum();
        assert_eq!(kept.bytes, held);
    }

    #[test]
    fn a_new_answer_takes_the_place_of_the_old_one() {
        let mut kept = Kept::default();
        kept.put("a", "long answer");
        kept.put("a", "b");
        assert_eq!((kept.bytes, kept.get("a").as_deref()), (2, Some("b")));
    }
}
