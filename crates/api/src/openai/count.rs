//! How many jobs make so many pictures.

use serde_json::{Map, Value};

use super::errors::OpenAiError;
use super::words::whole;
use crate::endpoint::Endpoint;
use crate::field::Kind;

/// Pictures of one call, as OpenAI limits them.
const IMAGES_MAX: u64 = 10;

/// The pictures of each job, as few jobs as possible.
pub(super) fn of_jobs(endpoint: &Endpoint, given: &Map<String, Value>) -> Result<Vec<u64>, OpenAiError> {
    let mut left = whole(given, "n", (1, IMAGES_MAX))?.unwrap_or(1);
    let most = match endpoint.field("num_images").map(|field| field.kind) {
        Some(Kind::Integer { max, .. }) => u64::try_from(max).unwrap_or(1).max(1),
        _ => 1,
    };
    let mut counts = Vec::new();
    while left > 0 {
        let count = left.min(most);
        counts.push(count);
        left -= count;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::endpoints::{ENDPOINTS, find};

    fn counts(id: &str, n: Value) -> Option<Vec<u64>> {
        of_jobs(find(id).expect("an endpoint"), &Map::from_iter([("n".to_owned(), n)])).ok()
    }

    #[test]
    fn many_pictures_are_several_jobs() {
        assert_eq!(counts("fal-ai/aura-flow", json!(10)), Some(vec![2; 5]));
        assert_eq!(counts("scumble/starter", json!(10)), Some(vec![4, 4, 2]));
        assert_eq!(counts("fal-ai/ideogram/v2", json!(3)), Some(vec![1, 1, 1]));
        assert_eq!(counts("scumble/starter", Value::Null), Some(vec![1]));
        for bad in [json!(0), json!(11), json!("2"), json!(1.5), json!(-1)] {
            assert_eq!(counts("scumble/starter", bad), None);
        }
        for endpoint in ENDPOINTS {
            let counts = counts(endpoint.id, json!(10)).expect("counts");
            assert_eq!(counts.iter().sum::<u64>(), 10, "{}", endpoint.id);
        }
    }
}
