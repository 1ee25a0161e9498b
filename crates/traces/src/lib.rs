//! One trace for a job, from its submit to its webhook, across the processes that have to do with it.
//!
//! A span of a trace is a span of `tracing` with [`TARGET`]; whoever exports takes those and no others, and where nobody does
//! they cost nothing. What goes on in another process, or later, is tied to it by its [`Traceparent`], which travels with the
//! job.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use scumble_api::Traceparent;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of spans that are exported. `span!` cannot take it from here, so it is written out where spans are made.
pub const TARGET: &str = "scumble::trace";

/// Makes a span that goes on with a trace: `span!("run", follows, job.id = %id)`. Where the trace begins here, `follows` is
/// `None`. A span that nobody exports is disabled.
#[macro_export]
macro_rules! span {
    ($name:literal, $follows:expr $(, $($fields:tt)*)?) => {{
        let span = tracing::info_span!(target: "scumble::trace", $name $(, $($fields)*)?);
        $crate::follow(&span, $follows);
        span
    }};
}

/// Makes a span within the current one: `part!("decode")`.
#[macro_export]
macro_rules! part {
    ($name:literal $(, $($fields:tt)*)?) => {
        tracing::info_span!(target: "scumble::trace", $name $(, $($fields)*)?)
    };
}

/// Ties a fresh span to what it goes on with.
pub fn follow(span: &Span, before: Option<Traceparent>) {
    let Some(before) = before.filter(|_| !span.is_disabled()) else { return };
    let context = SpanContext::new(
        TraceId::from_bytes(before.trace_id()),
        SpanId::from_bytes(before.parent_id()),
        TraceFlags::new(before.flags()),
        true,
        TraceState::NONE,
    );
    // fails where nobody exports, and then there is nothing to tie
    let _ = span.set_parent(Context::new().with_remote_span_context(context));
}

/// How whoever comes after this span names it; `None` where nobody exports it.
#[must_use]
pub fn traceparent(span: &Span) -> Option<Traceparent> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    if !context.is_valid() {
        return None;
    }
    let (trace, own) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
    Traceparent::new(trace, own, context.trace_flags().to_u8())
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_span_goes_on_with_what_came_before() {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let before = Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").expect("fine");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let submit = span!("submit", Some(before), number = 1);
            let named = traceparent(&submit).expect("it is exported");
            assert_eq!((named.trace_id(), named.flags()), (before.trace_id(), 1));
            assert_ne!(named.parent_id(), before.parent_id());
            drop(submit);
            let run = span!("run", Some(named));
            run.in_scope(|| drop(part!("decode")));
        });
        let spans = exporter.get_finished_spans().expect("spans");
        let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["submit", "decode", "run"]);
        assert!(spans.iter().all(|span| span.span_context.trace_id().to_bytes() == before.trace_id()));
        assert_eq!(spans[0].parent_span_id.to_bytes(), before.parent_id());
        assert_eq!(spans[2].parent_span_id, spans[0].span_context.span_id());
        assert_eq!(spans[1].parent_span_id, spans[2].span_context.span_id());
    }

    #[test]
    fn where_nobody_exports_there_is_nothing_to_name() {
        let span = span!("submit", None);
        assert!(span.is_disabled() && traceparent(&span).is_none());
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            assert_eq!(traceparent(&span!("submit", None)), None);
        });
    }

    #[test]
    fn who_is_not_sampled_stays_so() {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let before = Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").expect("fine");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let named = traceparent(&span!("submit", Some(before))).expect("it has a name");
            assert_eq!((named.trace_id(), named.flags()), (before.trace_id(), 0));
        });
        assert_eq!(exporter.get_finished_spans().expect("spans").len(), 0);
    }
}
