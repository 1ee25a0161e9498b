//! `POST /rest/tokens/` and `POST /rest/tokens/realtime`: short-lived tokens for those who must not see a key.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use scumble_api::{ErrorAnswer, ErrorType, Problem, read_value};
use serde_json::{Map, Value, json};

use crate::answer::Refusal;
use crate::auth::Authorized;
use crate::sent::{SMALL, Sent};
use crate::state::AppState;
use crate::token::{App, Claims, Token, issue};

/// Seconds that a token lasts where nothing is said.
const SECONDS: i64 = 120;
/// The longest that a token may last: a day.
const SECONDS_MAX: i64 = 24 * 60 * 60;
/// The most apps in one token.
const APPS_MAX: usize = 64;

/// What the clients ask for themselves. The answer is a bare JSON string: anything else ends up in their URLs.
pub(super) async fn bare(
    State(state): State<AppState>,
    Sent { by: authorized, body }: Sent<Authorized, SMALL>,
) -> Result<Response, Refusal> {
    let token = make(&state, authorized, &body, "token_expiration").await?;
    Ok(Json(token.reveal()).into_response())
}

/// What back ends of applications ask for.
pub(super) async fn realtime(
    State(state): State<AppState>,
    Sent { by: authorized, body }: Sent<Authorized, SMALL>,
) -> Result<Response, Refusal> {
    let token = make(&state, authorized, &body, "duration").await?;
    Ok(Json(json!({ "token": token.reveal() })).into_response())
}

async fn make(state: &AppState, authorized: Authorized, body: &[u8], duration: &str) -> Result<Token, Refusal> {
    let body = match read_value(body) {
        Ok(Value::Object(body)) => body,
        Ok(_) => return Err(ErrorAnswer::bad_json("expected an object").into()),
        Err(unread) => return Err(ErrorAnswer::bad_json(&unread.to_string()).into()),
    };
    let (apps, seconds) = (apps(&body), seconds(&body, duration));
    let (apps, seconds) = match (apps, seconds) {
        (Ok(apps), Ok(seconds)) => (apps, seconds),
        (apps, seconds) => {
            let problems: Vec<_> = [apps.err(), seconds.err()].into_iter().flatten().collect();
            return Err(ErrorAnswer::invalid(&problems).into());
        }
    };
    let claims = Claims::lasting(seconds, state.clock.now_ms(), apps, authorized.key_id);
    issue(&*state.store, &claims).await?.ok_or_else(|| {
        tracing::error!("no token can be signed");
        ErrorAnswer::typed(ErrorType::InternalError, "The server cannot sign tokens; its log says why").into()
    })
}

pub(crate) fn apps(body: &Map<String, Value>) -> Result<Vec<App>, Problem> {
    let problem = |kind: &str, text: &str| Problem::new(&["allowed_apps"], kind, text);
    let names = match body.get("allowed_apps") {
        None => return Err(problem("missing", "Field required")),
        Some(Value::Array(names)) => names,
        Some(other) => return Err(problem("list_type", "Input should be a list of names of apps").given(other)),
    };
    if names.is_empty() {
        return Err(problem("sequence_too_short", "Name at least one app").with("min_length", 1));
    }
    if names.len() > APPS_MAX {
        let text = format!("Name at most {APPS_MAX} apps");
        return Err(problem("sequence_too_long", &text).with("max_length", APPS_MAX));
    }
    let app = |name: &Value| {
        let wrong = || problem("value_error", "Not the name of an app, such as flux or fal-ai/flux/dev").given(name);
        name.as_str().and_then(App::parse).ok_or_else(wrong)
    };
    names.iter().map(app).collect()
}

pub(crate) fn seconds(body: &Map<String, Value>, field: &str) -> Result<i64, Problem> {
    let given = match body.get(field) {
        None | Some(Value::Null) => return Ok(SECONDS),
        Some(given) => given,
    };
    let problem = |kind: &str, text: String| Problem::new(&[field], kind, text).given(given);
    match given.as_i64() {
        None => Err(problem("int_type", "Input should be a whole number of seconds".into())),
        Some(..1) => Err(problem("greater_than_equal", "A token lasts at least 1 second".into()).with("ge", 1)),
        Some(seconds @ 1..=SECONDS_MAX) => Ok(seconds),
        Some(_) => {
            let text = format!("A token lasts at most {SECONDS_MAX} seconds");
            Err(problem("less_than_equal", text).with("le", SECONDS_MAX))
        }
    }
}
