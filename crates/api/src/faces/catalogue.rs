//! `GET /v1/models`: the catalogue, page by page (protocol 10.1).

use serde_json::{Value, json};

use super::{Edition, Places, openapi};
use crate::answers::Standing;
use crate::endpoint::Endpoint;
use crate::endpoints::ENDPOINTS;

/// Entries of a page where nobody says how many, and at most.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 100;

/// What is asked of the catalogue.
#[derive(Clone, Debug, Default)]
pub struct CatalogueQuery {
    /// Entries of a page.
    pub limit: Option<usize>,
    /// Where the page begins; from an answer's `next_cursor`.
    pub cursor: Option<String>,
    /// Only these.
    pub endpoint_ids: Vec<String>,
    /// Only those that have these words in their name or description.
    pub words: Option<String>,
    /// Only those of this category.
    pub category: Option<String>,
    /// Only those with this status.
    pub status: Option<String>,
    /// Whether each entry holds its OpenAPI document.
    pub with_openapi: bool,
}

/// When the table of endpoints last changed.
const UPDATED_AT: &str = "2026-11-20T00:00:00Z";

/// One page of the catalogue.
///
/// # Errors
/// A sentence about what in the query makes no sense.
pub fn catalogue(
    query: &CatalogueQuery,
    places: &Places,
    standing: &dyn Fn(&Endpoint) -> Standing,
) -> Result<Value, String> {
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(format!("limit must be 1 to {LIMIT_MAX}"));
    }
    let found: Vec<&Endpoint> = ENDPOINTS.iter().filter(|e| query.asks_for(e)).collect();
    let first = match &query.cursor {
        None => 0,
        Some(id) => found.iter().position(|e| e.id == id).ok_or("cursor is not from an answer to this query")?,
    };
    let page = found.iter().skip(first).take(limit);
    let next = found.get(first + limit).map(|e| e.id);
    Ok(json!({
        "models": page.map(|e| entry(e, &standing(e), query, places)).collect::<Vec<_>>(),
        "next_cursor": next,
        "has_more": next.is_some(),
    }))
}

impl CatalogueQuery {
    fn asks_for(&self, endpoint: &Endpoint) -> bool {
        let text = format!("{} {} {}", endpoint.id, endpoint.title, endpoint.description).to_lowercase();
        let words = self.words.as_deref().unwrap_or_default().to_lowercase();
        words.split_whitespace().all(|word| text.contains(word))
            && (self.endpoint_ids.is_empty() || self.endpoint_ids.iter().any(|id| id == endpoint.id))
            && self.category.as_deref().is_none_or(|c| c == endpoint.category())
            && self.status.as_deref().is_none_or(|s| s == STATUS)
    }
}

const STATUS: &str = "active";

fn entry(endpoint: &Endpoint, standing: &Standing, query: &CatalogueQuery, places: &Places) -> Value {
    let (id, pages, family) = (endpoint.id, &places.pages, endpoint.family.title());
    let mut entry = json!({
        "endpoint_id": id,
        "metadata": {
            "display_name": endpoint.title,
            "category": endpoint.category(),
            "description": endpoint.description,
            "status": STATUS,
            "tags": [],
            "updated_at": UPDATED_AT,
            "is_favorited": null,
            "thumbnail_url": null,
            "model_url": format!("{}/{id}", places.run),
            "date": UPDATED_AT,
            "highlighted": false,
            "pinned": false,
            "license_type": null,
            "group": { "key": family.to_lowercase().replace(' ', "-"), "label": family },
            "kind": "inference",
            "stream_url": format!("{}/{id}/stream", places.run),
            "duration_estimate": null,
            "documentation_url": format!("{pages}/models/{id}/llms.txt"),
            // fal's `status` knows only active and deprecated; this is ours
            "x-scumble-standing": standing,
        },
    });
    if query.with_openapi {
        entry["openapi"] = openapi(endpoint, places, Edition::V3_0);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &CatalogueQuery) -> Value {
        let places = Places { run: String::new(), queue: String::new(), pages: String::new() };
        catalogue(query, &places, &|endpoint| Standing::of(endpoint, None)).expect("a page")
    }

    #[test]
    fn pages_hold_what_one_answer_holds() {
        let ids = |page: &Value| -> Vec<Value> {
            page["models"].as_array().expect("a list").iter().map(|m| m["endpoint_id"].clone()).collect()
        };
        let whole = ids(&page(&CatalogueQuery::default()));
        assert_eq!(whole.len(), ENDPOINTS.len());
        let (mut all, mut query) = (Vec::new(), CatalogueQuery { limit: Some(1), ..CatalogueQuery::default() });
        loop {
            let one = page(&query);
            all.extend(ids(&one));
            query.cursor = one["next_cursor"].as_str().map(str::to_owned);
            if query.cursor.is_none() {
                break;
            }
        }
        assert_eq!(all, whole);
    }

    #[test]
    fn words_ids_and_categories_narrow_it_down() {
        let count = |query| page(&query)["models"].as_array().map(Vec::len);
        let words = |words: &str| CatalogueQuery { words: Some(words.into()), ..CatalogueQuery::default() };
        assert_eq!(count(words("FLUX guided careful")), Some(1));
        assert_eq!(count(words("nothing like that")), Some(0));
        let ids = vec!["fal-ai/flux/dev".into(), "no/such".into()];
        assert_eq!(count(CatalogueQuery { endpoint_ids: ids, ..CatalogueQuery::default() }), Some(1));
        assert_eq!(count(CatalogueQuery { category: Some("training".into()), ..CatalogueQuery::default() }), Some(0));
        for bad in [
            CatalogueQuery { limit: Some(0), ..CatalogueQuery::default() },
            CatalogueQuery { cursor: Some("?".into()), ..CatalogueQuery::default() },
        ] {
            let places = Places { run: String::new(), queue: String::new(), pages: String::new() };
            assert!(catalogue(&bad, &places, &|endpoint| Standing::of(endpoint, None)).is_err());
        }
    }
}
