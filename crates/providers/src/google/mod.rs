//! Google: what was Imagen 4 is served by Gemini's image models, through the Gemini API or Vertex AI.

mod account;
mod gemini;
mod predict;

use std::time::Duration;

use scumble_fetch::{HeaderName, HeaderValue, Method};
use serde_json::Value;

use self::account::Account;
use crate::core::call::{Call, Made, MadeFile, Maker, Progress};
use crate::core::cost::Cost;
use crate::core::desk::Run;
use crate::core::error::MakerError;
use crate::core::fan::fan_out;
use crate::core::ledger::Reserved;
use crate::core::retry::{Verdict, seconds};
use crate::makers::{Place, SettingsError};
use crate::picture::{Kind, Wish};
use crate::settings::{GoogleMode, GoogleSettings};
use crate::wire::{Answer, Ask, Body, Link};
use crate::{prices, seeds};

/// The maker behind `fal-ai/imagen4/…`.
pub(crate) struct Google {
    pub(crate) place: Place,
    settings: GoogleSettings,
    account: Option<Account>,
}

const PREVIEW: &str = "fal-ai/imagen4/preview";
const FAST: &str = "fal-ai/imagen4/preview/fast";

/// A picture, or several, from one answer.
struct Piece {
    files: Vec<MadeFile>,
    took: Duration,
}

impl Google {
    pub(crate) fn new(place: Place, settings: &GoogleSettings) -> Result<Self, SettingsError> {
        let file = settings.service_account.as_deref().filter(|_| settings.mode == GoogleMode::Vertex);
        let account = file.map(Account::read).transpose().map_err(|e| place.wrong("service_account", e))?;
        for (setting, id) in [
            ("imagen4_model", &settings.imagen4_model),
            ("imagen4_fast_model", &settings.imagen4_fast_model),
            ("location", &settings.location),
            ("project", settings.project.as_ref().unwrap_or(&settings.location)),
        ] {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
            if id.is_empty() || !id.bytes().all(plain) {
                return Err(place.wrong(setting, format!("{id:?} cannot be part of a path")));
            }
        }
        if let Some(account) = &account {
            place.desk.http.secrets().add(account.key());
        }
        Ok(Self { place, settings: settings.clone(), account })
    }

    /// Where Vertex AI is, unless the owner says otherwise.
    pub(crate) fn vertex_base(settings: &GoogleSettings) -> Option<String> {
        let location = settings.location.as_str();
        (settings.mode == GoogleMode::Vertex && settings.base_url.is_none()).then(|| match location {
            "global" => "https://aiplatform.googleapis.com".to_owned(),
            location => format!("https://{location}-aiplatform.googleapis.com"),
        })
    }

    fn model(&self, endpoint: &str) -> (&str, &str) {
        match endpoint {
            FAST => (&self.settings.imagen4_fast_model, &self.settings.thinking_fast),
            _ => (&self.settings.imagen4_model, &self.settings.thinking),
        }
    }

    /// The address of a model's method.
    fn link(&self, model: &str, method: &str) -> Link {
        if self.settings.mode == GoogleMode::Gemini {
            return self.place.at(&format!("/v1beta/models/{model}:{method}"));
        }
        let project = self.settings.project.as_deref().or(self.account.as_ref().and_then(Account::project));
        let location = &self.settings.location;
        self.place.at(&match project {
            Some(project) => {
                format!("/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:{method}")
            }
            // a key of Vertex AI's express mode knows its project
            None => format!("/v1/publishers/google/models/{model}:{method}"),
        })
    }

    /// Asks once; with a token that is not taken any more, once again with a fresh one.
    async fn ask(
        &self,
        run: &Run<'_>,
        index: u32,
        (link, body, pictures): (Link, Value, u32),
        reserved: &mut Reserved<'_>,
    ) -> Result<Answer, MakerError> {
        let deadline = run.deadline();
        let mut fresh = false;
        loop {
            let (headers, renewable) = self.key_header(run, fresh).await?;
            let body = Body::Json(body.clone());
            let ask = Ask { method: Method::POST, link: link.clone(), headers, body, pictures };
            let again = renewable && !fresh;
            let read = |answer: &Answer| match answer.status {
                401 if again => Verdict::Fine,
                _ => read(run, answer),
            };
            let answer = run.order(index, &ask, deadline, &read, reserved).await?;
            if answer.status != 401 {
                return Ok(answer);
            }
            run.log("Google no longer accepts the token; a new one is fetched");
            fresh = true;
        }
    }

    /// The header that proves who asks, and whether a fresh one could be had.
    async fn key_header(
        &self,
        run: &Run<'_>,
        fresh: bool,
    ) -> Result<(Vec<(HeaderName, HeaderValue)>, bool), MakerError> {
        if let Some(account) = self.account.as_ref().filter(|_| !run.desk.http.is_replay()) {
            let token = account.token(run, fresh).await?;
            let header = token.header("Bearer ").map(|token| (HeaderName::from_static("authorization"), token));
            return Ok((header.into_iter().collect(), true));
        }
        let key = self.place.key()?.and_then(|key| key.header(""));
        Ok((key.map(|key| (HeaderName::from_static("x-goog-api-key"), key)).into_iter().collect(), false))
    }

    fn wish(&self, call: &Call) -> Wish {
        let kind = match call.text("output_format") {
            Some("jpeg") => Some(Kind::Jpeg),
            Some("png") => Some(Kind::Png),
            _ => (!self.settings.keep_jpeg).then_some(Kind::Png),
        };
        Wish { kind, ..Wish::named("output") }
    }
}

#[async_trait::async_trait]
impl Maker for Google {
    fn serves(&self, endpoint: &str) -> bool {
        matches!(endpoint, PREVIEW | FAST)
    }

    fn ready(&self) -> Result<(), MakerError> {
        self.place.switched_on()?;
        match (self.settings.mode, &self.account, self.place.key()) {
            (GoogleMode::Vertex, Some(account), _)
                if self.settings.project.is_none() && account.project().is_none() =>
            {
                let msg = "Google's project is not set on this server: set project in [providers.google]";
                Err(MakerError::unavailable(msg, false))
            }
            (GoogleMode::Vertex, Some(_), _) | (_, _, Ok(_)) => Ok(()),
            (GoogleMode::Vertex, None, Err(_)) => {
                let or =
                    ", or service_account (the key file of a service account; also GOOGLE_APPLICATION_CREDENTIALS)";
                Err(self.place.missing(or))
            }
            (GoogleMode::Gemini, _, Err(error)) => Err(error),
        }
    }

    async fn run(&self, call: &Call, progress: &dyn Progress) -> Result<Made, MakerError> {
        self.ready()?;
        call.prompt()?;
        let (model, thinking) = self.model(&call.endpoint);
        let run = self.place.desk.run(call, model, progress);
        run.log(&format!("{} is answered by {model}: Google has retired Imagen 4", call.endpoint));
        let pieces = match model.starts_with("imagen-") {
            true => vec![self.predict(&run, call, model).await?],
            false => fan_out(call.count(), |index| self.generate(&run, call, (model, thinking), index)).await?,
        };
        let files: Vec<MadeFile> = pieces.iter().flat_map(|piece| piece.files.clone()).collect();
        Ok(Made {
            seed: Some(seeds::reduced(call.seed)),
            units: u32::try_from(files.len()).unwrap_or(u32::MAX),
            inference: pieces.iter().map(|piece| piece.took).max().unwrap_or_default(),
            model: model.to_owned(),
            extra: Default::default(),
            files,
        })
    }
}

/// The price of a picture of this size.
fn price(model: &str, size: &str) -> Cost {
    prices::of(&format!("{model}/{size}")).unwrap_or_default()
}

/// The wanted size in Google's words.
fn image_size(call: &Call) -> &str {
    call.text("resolution").unwrap_or("1K")
}

const REFUSALS: &[&str] =
    &["responsible ai", "support codes", "sensitive words", "usage guidelines", "safety filter", "violat"];

/// What an answer means.
fn read(run: &Run<'_>, answer: &Answer) -> Verdict {
    let body = answer.json().unwrap_or_default();
    let error = &body["error"];
    let details = error["details"].as_array().map_or(&[][..], Vec::as_slice);
    let words = error["message"].as_str().map_or_else(|| answer.words(), str::to_lowercase);
    let any = |list: &[&str]| list.iter().any(|word| words.contains(word));
    match answer.status {
        400 if details.iter().any(|detail| detail["reason"] == "API_KEY_INVALID") => run.denied_key(),
        400 if error["status"] == "FAILED_PRECONDITION" => run.denied_key(),
        400 if any(REFUSALS) => Verdict::Refused(MakerError::moderated("prompt")),
        400 if any(&["credit", "billing", "payment"]) => run.denied_key(),
        429 => Verdict::Limited(details.iter().find_map(|detail| seconds(detail["retryDelay"].as_str()?))),
        500 | 503 | 504 => Verdict::Down { again: 2 },
        _ => run.usual(answer).unwrap_or_else(|| Verdict::Refused(run.failed(false))),
    }
}

/// Everything that is read of an answer.
#[cfg(feature = "fuzz")]
pub(crate) fn read_any(run: &Run<'_>, answer: &Answer) -> Vec<Verdict> {
    gemini::read_picture(run, answer);
    account::read_token(answer);
    vec![read(run, answer)]
}
