//! The list of models.

use serde_json::{Value, json};

use super::names::OpenAiAliases;
use crate::answers::Answers;
use crate::endpoint::Endpoint;
use crate::endpoints::ENDPOINTS;

/// Names of OpenAI's that programs offer their users only where the list has them. Others of the kind work as well.
const LISTED: [&str; 3] = ["gpt-image-1", "dall-e-3", "dall-e-2"];

/// Every name that can be called: endpoints, the owner's aliases, OpenAI's own.
pub fn openai_list(aliases: &OpenAiAliases, answers: &dyn Fn(&Endpoint) -> Option<Answers>) -> Vec<Value> {
    let endpoints = ENDPOINTS.iter().map(|endpoint| openai_model(endpoint.id, endpoint));
    let own = aliases.all().map(|(name, endpoint)| openai_model(name, endpoint));
    let theirs = LISTED.iter().filter(|name| aliases.all().all(|(own, _)| own != **name));
    let theirs = theirs.filter_map(|name| Some(openai_model(name, aliases.known(name, answers)?)));
    endpoints.chain(own).chain(theirs).collect()
}

/// One entry of it: a name, and the endpoint that it stands for.
pub fn openai_model(name: &str, endpoint: &Endpoint) -> Value {
    // when the table was begun; the field is required and means nothing here
    const CREATED_S: i64 = 1_760_000_000;
    let owner = endpoint.id.split('/').next().unwrap_or_default();
    json!({ "id": name, "object": "model", "created": CREATED_S, "owned_by": owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_listed_once() {
        let pairs = [("house", "scumble/starter"), ("dall-e-3", "fal-ai/flux/dev")];
        let aliases = OpenAiAliases::new(pairs.map(|(name, id)| (name.into(), id.into()))).expect("aliases");
        let list = openai_list(&aliases, &|_| None);
        assert_eq!(list.len(), ENDPOINTS.len() + 4);
        let mut names: Vec<&str> = list.iter().filter_map(|model| model["id"].as_str()).collect();
        assert!(["house", "gpt-image-1", "dall-e-2", "dall-e-3"].iter().all(|name| names.contains(name)));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), list.len());
        assert_eq!(aliases.known("gpt-image-1.5", &|_| None).map(|e| e.id), Some("scumble/starter"));
        assert!(aliases.known("gpt-4", &|_| None).is_none());
    }
}
