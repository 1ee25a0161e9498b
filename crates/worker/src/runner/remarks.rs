//! What the log of a job says of a request that does not get all it asks for.

use scumble_api::{Endpoint, Family, SAFETY_CHECKER, STARTER_WORDS, Size};
use scumble_engine::families;
use scumble_engine::weights::Source;

use super::{Drawn, Request, Watch};

/// So many unknown words are named.
const WORDS: usize = 20;
/// Characters of one of them.
const LENGTH: usize = 40;

/// That weights are of the other one of two models that share a class, where an endpoint is answered from them. Somebody may
/// have trained one from the other, so it is no error.
pub fn swapped_guidance(endpoint: &Endpoint, source: &Source) -> Option<String> {
    let wants = match endpoint.family {
        _ if endpoint.pipeline() == Some("FluxFillPipeline") => true,
        Family::FluxDev => true,
        Family::FluxSchnell => false,
        _ => return None,
    };
    match (wants, families::is_guided(source)?) {
        (true, false) => Some(
            "these weights are of a model without guidance, as FLUX.1 [schnell] is: guidance_scale counts for nothing"
                .to_owned(),
        ),
        (false, true) => Some(
            "these weights are of a model with guidance, as FLUX.1 [dev] is: it needs more steps than this endpoint takes"
                .to_owned(),
        ),
        _ => None,
    }
}

/// That the pictures are of another size than was asked, where a model here made them: its sides are multiples of
/// something. What follows the size of a picture is not asked for by anybody.
pub fn other_size(request: &Request, drawn: &Drawn) -> Option<String> {
    let Size::Pixels(asked) = &request.input.size else { return None };
    let is_elsewhere = drawn.stand_in || drawn.bill.is_some() || request.endpoint.field(ORIGINAL_SIZE).is_some();
    let picture = drawn.pictures.first().filter(|_| !is_elsewhere)?;
    if request.endpoint.family == Family::OmniGen2 && request.pictures.len() == 1 {
        return Some(format!(
            "image_size had no effect: with one input picture, the result has the size in which the model looks at it, \
             {}x{} pixels",
            picture.width, picture.height
        ));
    }
    (picture.width != asked.width || picture.height != asked.height).then(|| {
        format!(
            "the picture has {}x{} pixels in place of {}x{}: this model draws sides that are multiples of a number of \
             pixels, and rounds others down",
            picture.width, picture.height, asked.width, asked.height
        )
    })
}

/// That nobody has looked at the pictures, where the input says that somebody should. Of models that their makers run, the
/// makers know.
pub fn unchecked(request: &Request, drawn: &Drawn) -> Option<&'static str> {
    const SAID: &str = "enable_safety_checker: this server has no checker for these pictures; nothing is checked, and has_nsfw_concepts is \
                        false for that reason";
    let is_asked = request.values.get(SAFETY_CHECKER).is_some_and(|asked| asked == true);
    let is_elsewhere = drawn.bill.is_some() || request.endpoint.family.maker().is_some();
    (is_asked && !is_elsewhere && drawn.flags.is_none()).then_some(SAID)
}

/// Where this is asked, results are of the size of a picture.
const ORIGINAL_SIZE: &str = "resize_to_original";

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
