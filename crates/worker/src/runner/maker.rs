//! A maker far away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use scumble_api::{Answers, Endpoint, ErrorAnswer, ErrorType, ImageFormat};
use scumble_meters::{Call as Called, Maker as Label, Meters};
use scumble_providers::{Call, Cost, Made, MadeFile, MakerError, MakerId, Makers, Progress, is_open};
use serde_json::{Map, Value};
use tracing::Instrument;

use super::{Bill, Drawn, Request, RunError, Runner, Submitted, Watch};
use crate::models::nothing;
use crate::picture::Picture;

/// Runs requests at a maker.
pub(crate) struct Closed {
    makers: Arc<Makers>,
    id: MakerId,
    meters: Meters,
}

impl Closed {
    pub(crate) fn new(makers: Arc<Makers>, id: MakerId, meters: Meters) -> Self {
        Self { makers, id, meters }
    }

    fn count(&self, made: &Result<Made, MakerError>, took: Duration) {
        let Some(maker) = Label::named(self.id.as_str()) else { return };
        let outcome = match made {
            Ok(_) => Called::Made,
            Err(MakerError::Cancelled) => Called::Cancelled,
            Err(_) => Called::Failed,
        };
        self.meters.makers.calls.of(maker, outcome).inc();
        self.meters.makers.seconds.of(maker).observe(took.as_secs_f64());
    }
}

#[async_trait::async_trait]
impl Runner for Closed {
    fn answers(&self, endpoint: &Endpoint) -> Answers {
        match self.makers.get(self.id).ready() {
            Ok(()) => Answers::Maker,
            Err(_) => nothing(endpoint),
        }
    }

    /// A maker ends what it works on with its deadline; a call may wait for others before it, and fetches afterwards.
    fn longest(&self) -> Option<Duration> {
        Some(3 * self.makers.deadline(self.id))
    }

    async fn run(&self, request: Request, watch: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        // as where weights are missing: the owner has to do something, and asking again is of no use
        if let Err(lack) = self.makers.get(self.id).ready() {
            return Err(RunError::Unavailable(lack.to_string()));
        }
        let call = call(&request, self.id)?;
        let bridge = Bridge { watch, maker: self.id, spent: Mutex::default() };
        let began = Instant::now();
        let span = scumble_traces::part!("maker", otel.kind = "client", maker = self.id.as_str());
        let made = self.makers.get(self.id).run(&call, &bridge).instrument(span).await;
        self.count(&made, began.elapsed());
        let bill = bridge.bill();
        match made {
            Ok(made) => drawn(made, bill),
            // it was stopped here only: the attempt that goes on with it will know what it has cost
            Err(MakerError::Cancelled) if bridge.resumes() => Err(RunError::Cancelled),
            Err(error) => Err(refused(&error, bill.as_ref())),
        }
    }
}

/// The request in a maker's terms.
fn call(request: &Request, id: MakerId) -> Result<Call, RunError> {
    let mut call = Call {
        endpoint: request.endpoint.id.to_owned(),
        values: request.values.clone(),
        seed: request.seed,
        ..Call::default()
    };
    for picture in &request.pictures {
        let place = |step: &String| step.parse::<usize>().is_ok();
        match picture.path.as_slice() {
            [field] => call.images.entry(field.clone()).or_default().push(picture.bytes.clone()),
            [field, item] if place(item) => {
                call.images.entry(field.clone()).or_default().push(picture.bytes.clone());
            }
            // deeper inside, which is fal's own: the picture itself stands where its address was
            deeper => {
                let mut values = Value::Object(std::mem::take(&mut call.values));
                if let Some(value) = values.pointer_mut(&format!("/{}", deeper.join("/"))) {
                    *value = format!("data:{};base64,{}", picture.content_type, BASE64.encode(&picture.bytes)).into();
                }
                if let Value::Object(values) = values {
                    call.values = values;
                }
            }
        }
    }
    call.resume = match &request.resume {
        Some(Submitted { maker, ticket }) if maker == id.as_str() => Some(ticket.clone()),
        // another was asked, and nothing is left there
        Some(Submitted { ticket, .. }) if !is_open(ticket) => None,
        // the settings have changed in between: what another maker may have made is paid for, and out of reach
        Some(Submitted { maker, .. }) => {
            let message = format!("The request was sent to {maker} before, which does not serve this endpoint now");
            return Err(RunError::Answered(Box::new(ErrorAnswer::typed(ErrorType::RunnerServerError, message))));
        }
        None => None,
    };
    Ok(call)
}

fn drawn(made: Made, bill: Option<Bill>) -> Result<Drawn, RunError> {
    let Made { files, seed, units, inference, extra, .. } = made;
    let round = |seconds: f64| (seconds * 1e6).round() / 1e6;
    let timings = match extra.get("timings").and_then(Value::as_object) {
        Some(timings) => timings.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect(),
        None => BTreeMap::from([("inference".to_owned(), round(inference.as_secs_f64()))]),
    };
    let count = files.len();
    Ok(Drawn {
        pictures: files.into_iter().map(picture).collect::<Result<_, _>>()?,
        timings,
        stand_in: false,
        seed,
        prompt: extra.get("prompt").and_then(Value::as_str).map(str::to_owned),
        bill: bill.map(|bill| Bill { units, ..bill }),
        flags: flags(&extra, count),
    })
}

/// What the maker's checker has said, if it has said something of each picture.
fn flags(extra: &Map<String, Value>, pictures: usize) -> Option<Vec<bool>> {
    let said = extra.get("has_nsfw_concepts")?.as_array()?.iter().map(Value::as_bool);
    said.collect::<Option<Vec<bool>>>().filter(|flags| flags.len() == pictures)
}

fn picture(file: MadeFile) -> Result<Picture, RunError> {
    let format = match file.content_type {
        "image/jpeg" => ImageFormat::Jpeg,
        "image/png" => ImageFormat::Png,
        "image/webp" => ImageFormat::Webp,
        "image/svg+xml" => ImageFormat::Svg,
        other => return Err(RunError::Failed(format!("a maker gave a picture of the kind {other}"))),
    };
    // shapes have no pixels
    let (width, height) = file.size.unwrap_or_default();
    Ok(Picture { bytes: file.bytes.into(), format, width, height })
}

/// What the caller reads, and what it cost all the same.
fn refused(error: &MakerError, bill: Option<&Bill>) -> RunError {
    let mut answer = match (error.answer(), bill) {
        (None, None) => return RunError::Cancelled,
        (None, Some(_)) => RunError::Cancelled.answer(),
        (Some(answer), _) => answer,
    };
    answer.headers.extend(bill.into_iter().flat_map(Bill::headers));
    RunError::Answered(Box::new(answer))
}

/// Lets a watch follow a maker.
struct Bridge {
    watch: Arc<dyn Watch>,
    maker: MakerId,
    /// What the call has cost, once anything was sent.
    spent: Mutex<Option<Cost>>,
}

impl Bridge {
    fn bill(&self) -> Option<Bill> {
        let spent = *self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.map(|cost| Bill { maker: self.maker.as_str(), units: 0, usd: cost.usd() })
    }
}

#[async_trait::async_trait]
impl Progress for Bridge {
    fn log(&self, line: &str) {
        self.watch.log(line);
    }

    fn cancelled(&self) -> bool {
        self.watch.cancelled()
    }

    fn resumes(&self) -> bool {
        self.watch.resumes()
    }

    fn spent(&self, cost: Cost) {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) = Some(cost);
    }

    async fn submitted(&self, ticket: &str) -> Result<(), String> {
        self.watch.submitted(self.maker.as_str(), ticket).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_maker_is_counted() {
        for id in MakerId::ALL {
            assert!(Label::named(id.as_str()).is_some(), "{id:?}");
        }
    }

    #[test]
    fn what_a_makers_checker_has_said_is_passed_on_if_it_is_about_these_pictures() {
        let said = |value: Value| flags(&Map::from_iter([("has_nsfw_concepts".to_owned(), value)]), 2);
        assert_eq!(said(json!([true, false])), Some(vec![true, false]));
        for strange in [json!([true]), json!([true, "no"]), json!(true), json!(null), json!([])] {
            assert_eq!(said(strange), None);
        }
        assert_eq!(flags(&Map::new(), 2), None);
    }
}
