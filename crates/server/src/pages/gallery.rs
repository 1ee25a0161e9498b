//! `GET /`: every endpoint, with a picture that this installation has made, once there is one.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use minijinja::context;
use scumble_api::{ENDPOINTS, Endpoint};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::job::pictures;
use super::layout::{Frame, base};
use super::visitor::Visitor;
use super::ways::{Way, Workers};
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::state::AppState;

/// `?q=…&way=…`, for those without scripts.
#[derive(Default, Deserialize)]
pub(super) struct GalleryQuery {
    #[serde(default)]
    q: String,
    #[serde(default)]
    way: String,
    /// A picture of this server that is to be an input.
    image: Option<String>,
}

/// What the filter offers.
const WAYS: [(&str, &str); 5] = [
    ("here", "Runs here"),
    ("maker", "Through its maker"),
    ("missing", "Needs weights or a key"),
    ("not-yet", "Not yet"),
    ("stand-in", "Stand-in"),
];

#[derive(Serialize)]
struct Card {
    id: &'static str,
    title: &'static str,
    description: &'static str,
    family: &'static str,
    category: &'static str,
    way: Way,
    picture: Option<Value>,
    /// What search looks through.
    words: String,
    hidden: bool,
    /// What its link takes along.
    query: Option<String>,
    cover: Vec<Stroke>,
}

/// A brush stroke of the cover of a model that has made nothing yet.
#[derive(Serialize)]
struct Stroke {
    y: u32,
    bend: i32,
    width: u32,
    hue: u32,
    light: u32,
}

pub(super) async fn show(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    visitor: Visitor,
    Query(query): Query<GalleryQuery>,
) -> Response {
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    let cards = match cards(&state, &caller, &visitor, &query).await {
        Ok(cards) => cards,
        Err(error) => return frame.refusal(&Refusal::from(error)),
    };
    let ways: Vec<_> = WAYS
        .iter()
        .map(|(kind, text)| {
            let count = cards.iter().filter(|card| card.way.kind == *kind).count();
            context! { kind => kind, text => text, count => count }
        })
        .collect();
    let shown = cards.iter().filter(|card| !card.hidden).count();
    let content = context! {
        title => "Models", cards => cards, ways => ways, q => query.q, way => query.way, image => query.image,
        shown => shown,
    };
    frame.page("gallery.html", "models", &content)
}

async fn cards(
    state: &AppState,
    caller: &Caller,
    visitor: &Visitor,
    query: &GalleryQuery,
) -> scumble_store::Result<Vec<Card>> {
    let ids: Vec<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.id).collect();
    let latest = state.store.latest(&ids, visitor.key_id.as_deref()).await?;
    let base = base(caller);
    let mut made: HashMap<String, Value> = latest
        .into_iter()
        .filter_map(|job| {
            let picture = pictures(job.outcome.as_ref()?, &base).into_iter().next()?;
            Some((job.endpoint, picture))
        })
        .collect();
    let workers = Workers::now(state).await?;
    let card = |endpoint: &'static Endpoint| {
        let way = workers.way(endpoint);
        let words = format!(
            "{} {} {} {} {} {}",
            endpoint.id,
            endpoint.category(),
            endpoint.title,
            endpoint.description,
            endpoint.family.title(),
            way.badge
        )
        .to_lowercase();
        let asked = query.q.to_lowercase();
        let hidden = !asked.split_whitespace().all(|word| words.contains(word))
            || !query.way.is_empty() && query.way != way.kind;
        Card {
            id: endpoint.id,
            title: endpoint.title,
            description: endpoint.description,
            family: endpoint.family.title(),
            category: endpoint.category(),
            picture: made.remove(endpoint.id),
            query: query.image.as_deref().filter(|_| endpoint.edits()).map(image_query),
            cover: cover(endpoint.id),
            way,
            words,
            hidden,
        }
    };
    Ok(ENDPOINTS.iter().map(card).collect())
}

fn image_query(path: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("image", path).finish()
}

/// A few strokes that are always the same for an id, and others for another.
fn cover(id: &str) -> Vec<Stroke> {
    let mut bits = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut next = |below: u64| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 33) % below
    };
    let hue = next(360) as u32;
    let stroke = |n: u32| Stroke {
        y: 18 + 24 * n + next(12) as u32,
        bend: next(60) as i32 - 30,
        width: 26 + next(26) as u32,
        hue: (hue + [0, 24, 335, 48, 190, 12, 350][n as usize % 7] + next(16) as u32) % 360,
        light: 46 + next(26) as u32,
    };
    (0..7).map(stroke).collect()
}
