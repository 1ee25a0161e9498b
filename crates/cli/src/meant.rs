//! What somebody meant who mistyped a name.

use scumble_api::ENDPOINTS;
use strsim::damerau_levenshtein;

use crate::failure::Failure;

/// At most so many suggestions.
const MOST: usize = 3;

/// That there is no endpoint of this id, and which one may have been meant.
pub(crate) fn unknown_endpoint(id: &str) -> Failure {
    Failure::Usage(no_endpoint(id))
}

/// The same as text.
pub(crate) fn no_endpoint(id: &str) -> String {
    let hint = did_you_mean(&endpoints(id));
    format!("there is no endpoint {id}{hint}; `scumble models list` shows all of them")
}

/// The ids that are close to what was typed, or end with it.
pub(crate) fn endpoints(typed: &str) -> Vec<&'static str> {
    let typed = typed.trim_matches('/').to_lowercase();
    let ids = || ENDPOINTS.iter().map(|endpoint| endpoint.id);
    let near = nearest(&typed, ids(), |id| {
        // what both begin with says nothing about how far apart the rest is
        let alike = id.split('/').zip(typed.split('/')).take_while(|(a, b)| a == b).map(|(a, _)| a.len() + 1).sum();
        allowed(typed.get(alike..).unwrap_or_default())
    });
    if !near.is_empty() {
        return near;
    }
    // `schnell`, `flux/schnel`
    let tail = |id: &'static str| {
        let start = id.rmatch_indices('/').nth(typed.matches('/').count()).map_or(0, |(at, _)| at + 1);
        &id[start..]
    };
    let mut tails: Vec<(usize, &'static str)> = ids()
        .map(|id| (damerau_levenshtein(tail(id), &typed), id))
        .filter(|(far, _)| *far <= allowed(&typed))
        .collect();
    tails.sort();
    tails.into_iter().map(|(_, id)| id).take(MOST).collect()
}

/// The names that are close to what was typed, or have its words among their own: `steps` for `num_inference_steps`.
pub(crate) fn names<'a>(typed: &str, known: &[&'a str]) -> Vec<&'a str> {
    let typed = typed.to_lowercase().replace('-', "_");
    let near = nearest(&typed, known.iter().copied(), |_| allowed(&typed));
    if !near.is_empty() {
        return near;
    }
    let words: Vec<&str> = typed.split('_').filter(|word| !word.is_empty()).collect();
    let has = |name: &&str| !words.is_empty() && words.iter().all(|word| name.split('_').any(|own| own == *word));
    known.iter().copied().filter(has).take(MOST).collect()
}

/// `, did you mean a or b?` is what a list of suggestions reads like in a sentence.
pub(crate) fn did_you_mean(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!(" (did you mean {one}?)"),
        [first @ .., last] => format!(" (did you mean {} or {last}?)", first.join(", ")),
    }
}

/// A third of what was typed may be wrong.
fn allowed(typed: &str) -> usize {
    (typed.chars().count() / 3).max(1)
}

/// Those within the distance that is allowed for each, nearest first.
fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>, allowed: impl Fn(&str) -> usize) -> Vec<&'a str> {
    let mut found: Vec<(usize, &'a str)> = names
        .map(|name| (damerau_levenshtein(name, typed), name))
        .filter(|(far, name)| *far <= allowed(name))
        .collect();
    found.sort();
    let best = found.first().map_or(0, |(far, _)| *far);
    found.into_iter().take_while(|(far, _)| *far <= best + 1).map(|(_, name)| name).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_guessed_from_small_mistakes_and_from_their_ends() {
        for (typed, meant) in [
            ("fal-ai/flux/schnel", "fal-ai/flux/schnell"),
            ("fal-ai/flx/schnell", "fal-ai/flux/schnell"),
            ("fal/flux/dev", "fal-ai/flux/dev"),
            ("FAL-AI/FLUX/DEV", "fal-ai/flux/dev"),
            ("scumble/startr", "scumble/starter"),
            ("fal-ai/aura-flw", "fal-ai/aura-flow"),
            ("fal-ai/aura_flow", "fal-ai/aura-flow"),
            ("flux/schnell", "fal-ai/flux/schnell"),
            ("starter", "scumble/starter"),
            ("startr", "scumble/starter"),
        ] {
            assert_eq!(endpoints(typed).first(), Some(&meant), "{typed}: {:?}", endpoints(typed));
        }
        for unlike in ["nobody/nothing", "fal-ai/nothing", "two", "a", "", "/", "fal-ai/"] {
            assert_eq!(endpoints(unlike), Vec::<&str>::new(), "{unlike}");
        }
    }

    #[test]
    fn names_are_guessed_from_small_mistakes_and_from_their_words() {
        let known = ["prompt", "image_size", "num_inference_steps", "guidance_scale", "num_images", "seed"];
        for (typed, meant) in [
            ("promt", "prompt"),
            ("num_inference_step", "num_inference_steps"),
            ("num-images", "num_images"),
            ("steps", "num_inference_steps"),
            ("size", "image_size"),
            ("guidance", "guidance_scale"),
        ] {
            assert_eq!(names(typed, &known), [meant], "{typed}");
        }
        assert_eq!(names("nonsense", &known), Vec::<&str>::new());
        assert_eq!(names("", &known), Vec::<&str>::new());
        assert_eq!(did_you_mean(&["a", "b", "c"]), " (did you mean a, b or c?)");
    }
}
