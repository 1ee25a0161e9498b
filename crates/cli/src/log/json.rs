//! A line as a JSON object: `timestamp`, `level`, `target`, `message`, then the fields of the spans around it and its own.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::{out, text};

/// Writes events so. The fields of spans have to be kept as JSON.
pub(super) struct Objects;

impl<S, N> FormatEvent<S, N> for Objects
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let about = event.metadata();
        let mut line = begin(about.level().as_str(), about.target());
        // in its place already; the event has the words
        line.insert("message".to_owned(), Value::Null);
        for span in context.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            let kept = span.extensions();
            let fields = kept.get::<FormattedFields<N>>().map_or("", |fields| fields.fields.as_str());
            if let Ok(Value::Object(fields)) = serde_json::from_str(fields) {
                line.extend(fields);
            }
        }
        event.record(&mut Fields(&mut line));
        if line["message"].is_null() {
            line.insert("message".to_owned(), about.name().into());
        }
        writeln!(to, "{}", finished(line))
    }
}

/// A line without the log.
pub(super) fn write<const N: usize>(level: &str, target: &str, message: &str, fields: [(&str, Value); N]) {
    let mut line = begin(level, target);
    line.insert("message".to_owned(), message.into());
    let fields = fields.into_iter().filter(|(_, value)| value.as_str() != Some(""));
    line.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    out::raw_line(&finished(line));
}

fn begin(level: &str, target: &str) -> Map<String, Value> {
    let mut now = String::new();
    // a String takes everything
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    Map::from_iter(
        [("timestamp", now.as_str()), ("level", level), ("target", target)]
            .map(|(name, value)| (name.to_owned(), Value::from(value))),
    )
}

/// In one line, with nothing in it that a terminal would follow.
fn finished(line: Map<String, Value>) -> String {
    text::json(&Value::Object(line).to_string()).into_owned()
}

/// Takes the fields of an event.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
