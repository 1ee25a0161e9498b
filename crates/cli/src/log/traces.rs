//! Traces over OTLP, where the environment names a collector: `OTEL_EXPORTER_OTLP_ENDPOINT` and its relatives.
//!
//! Spans that have ended go into a queue with a limit; a thread of its own sends them. Where the queue is full they are dropped,
//! and where the collector does not answer in time they are lost: nothing waits for either of them.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tracing::Subscriber;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::args::Role;
use crate::failure::Failure;

/// Who waits longest for the last spans to be sent, when the process ends.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// How long one request to the collector may take, where the environment says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// More of an answer is not read.
const ANSWER_BYTES: usize = 64 * 1024;

/// The export under way. It ends with [`Traces::end`].
pub(crate) struct Traces(SdkTracerProvider);

/// What the environment says.
struct Wanted {
    timeout: Duration,
}

impl Traces {
    /// Begins to export, where a collector is named.
    ///
    /// # Errors
    /// A variable that cannot be followed.
    pub(super) fn begin(role: Role) -> Result<Option<Self>, Failure> {
        let Some(Wanted { timeout }) = wanted(|name| std::env::var(name).ok())? else { return Ok(None) };
        let unusable = |why: String| Failure::Usage(format!("traces cannot be exported (OTEL_…): {why}"));
        let client = Client::new(timeout).map_err(unusable)?;
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
        let exporter = exporter.map_err(|error| unusable(error.to_string()))?;
        let resource = Resource::builder().with_attributes(own(role, |name| std::env::var(name).ok()));
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        Ok(Some(Self(provider.build())))
    }

    /// What takes the spans of traces, and nothing else.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("scumble"));
        let layer = layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
        layer.with_filter(filter_fn(|about| about.is_span() && about.target() == scumble_traces::TARGET))
    }

    /// Sends what is left, for a few seconds at most.
    pub(crate) fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// What these variables ask for; `None` where traces are not wanted.
fn wanted(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Wanted>, Failure> {
    let set = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let for_traces = |name: &str| {
        let own = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
        let all = format!("OTEL_EXPORTER_OTLP_{name}");
        set(&own).map(|value| (own, value)).or_else(|| set(&all).map(|value| (all, value)))
    };
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let Some((name, endpoint)) = for_traces("ENDPOINT").filter(|_| !disabled) else { return Ok(None) };
    match set("OTEL_TRACES_EXPORTER").as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(other) => {
            return Err(Failure::Usage(format!("OTEL_TRACES_EXPORTER={other}: this program exports otlp, or none")));
        }
    }
    if let Some((name, protocol)) = for_traces("PROTOCOL").filter(|(_, protocol)| protocol != "http/protobuf") {
        return Err(Failure::Usage(format!(
            "{name}={protocol}: this program speaks http/protobuf, which collectors take on port 4318"
        )));
    }
    if !(endpoint.starts_with("http://") || endpoint.starts_with("https://")) {
        return Err(Failure::Usage(format!("{name}={endpoint}: expected a URL such as http://127.0.0.1:4318")));
    }
    if let Some((name, how)) = for_traces("COMPRESSION").filter(|(_, how)| !["gzip", "none"].contains(&how.as_str())) {
        return Err(Failure::Usage(format!("{name}={how}: this program compresses with gzip, or not at all")));
    }
    let timeout = match for_traces("TIMEOUT") {
        None => PATIENCE,
        Some((name, text)) => match text.parse() {
            Ok(ms) if ms > 0 => Duration::from_millis(ms),
            _ => return Err(Failure::Usage(format!("{name}={text}: expected milliseconds, such as 10000"))),
        },
    };
    Ok(Some(Wanted { timeout }))
}

/// What is told of this process, beside what `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say.
fn own(role: Role, variable: impl Fn(&str) -> Option<String>) -> Vec<KeyValue> {
    let named = variable("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty())
        || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
    let name = (!named).then(|| KeyValue::new("service.name", "scumble"));
    let own = [KeyValue::new("service.version", env!("CARGO_PKG_VERSION")), KeyValue::new("scumble.role", role.name())];
    name.into_iter().chain(own).collect()
}

/// Sends to the collector, on the exporting thread and a runtime of its own: whatever else happens in the process, it neither
/// waits for this nor is waited for.
struct Client {
    http: reqwest::Client,
    runtime: Runtime,
    timeout: Duration,
    away: std::sync::atomic::AtomicBool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    fn new(timeout: Duration) -> Result<Self, String> {
        // somebody else may have done it
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            http: http.map_err(|error| error.to_string())?,
            runtime: runtime.map_err(|error| error.to_string())?,
            timeout,
            away: std::sync::atomic::AtomicBool::new(false),
        })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request: reqwest::Request = request.try_into()?;
        let mut answer = self.http.execute(request).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await?
            && body.len() + piece.len() <= ANSWER_BYTES
        {
            body.extend_from_slice(&piece);
        }
        let mut response = Response::new(Bytes::from(body));
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }

    /// Says when the collector goes away and when it is back, once each.
    fn tell(&self, answer: &Result<Response<Bytes>, HttpError>) {
        use std::sync::atomic::Ordering::Relaxed;
        let trouble = match answer {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        match trouble {
            Some(why) if !self.away.swap(true, Relaxed) => {
                tracing::warn!(why, "traces are not exported: the collector does not take them; jobs go on");
            }
            None if self.away.swap(false, Relaxed) => tracing::info!("traces are exported again"),
            Some(_) | None => {}
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = async { tokio::time::timeout(self.timeout, self.send(request)).await };
        let answer = self.runtime.block_on(sent);
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout).into()));
        self.tell(&answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Duration>, String> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        wanted(value).map(|wanted| wanted.map(|wanted| wanted.timeout)).map_err(|failure| failure.message())
    }

    #[test]
    fn traces_are_exported_where_a_collector_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[(endpoint.0, " ")]), Ok(None));
        assert_eq!(of(&[endpoint]), Ok(Some(PATIENCE)));
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/v1/traces")]), Ok(Some(PATIENCE)));
        assert_eq!(of(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), Ok(None));
        assert_eq!(of(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        let timeouts = [("OTEL_EXPORTER_OTLP_TIMEOUT", "500"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250")];
        assert_eq!(of(&[endpoint, timeouts[0], timeouts[1]]), Ok(Some(Duration::from_millis(250))));
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        for (name, value, hint) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317", "http://"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "milliseconds"),
        ] {
            let said = of(&[endpoint, (name, value)]).expect_err(name);
            assert!(said.contains(name) && said.contains(value) && said.contains(hint), "{said}");
        }
    }

    #[test]
    fn a_service_has_one_name() {
        let names = |name: &'static str, value: &'static str| {
            let all = own(Role::Worker, |asked| (asked == name).then(|| value.to_owned()));
            all.iter().filter(|pair| pair.key.as_str() == "service.name").count()
        };
        assert_eq!(names("", ""), 1);
        assert_eq!(names("OTEL_SERVICE_NAME", "images"), 0);
        assert_eq!(names("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=images"), 0);
    }
}
