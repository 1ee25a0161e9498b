//! `scumble bench serve`: how fast a server answers, from outside.

mod ceiling;
mod load;
mod report;
mod shape;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;

use crate::args::BenchServe;
use crate::failure::Failure;
use crate::http::Place;
use crate::out;
use crate::own_server::OwnServer;
use crate::settings::{runtime, secret};

use load::{Load, Tally};
use report::{Report, Row, milliseconds};
pub(crate) use shape::{Call, Shape};

/// How often a server of one's own is started, for a median.
const STARTS: usize = 5;
/// A server that has been left alone for this long is idle.
const IDLE: Duration = Duration::from_secs(1);

/// Measures.
pub(super) fn serve(args: &BenchServe) -> Result<(), Failure> {
    let mut report = Report { poll_ms: args.poll_ms, ..Report::default() };
    let runtime = runtime()?;
    let key = key(args)?;
    let (place, _own) = match &args.url {
        Some(url) => (runtime.block_on(Place::read(url, key.as_deref()))?, None),
        None if args.shape == Shape::Scumble && key.is_none() => {
            let own = runtime.block_on(start(&mut report))?;
            (own.0.place(), Some(own))
        }
        None => return Err(Failure::Usage("say where the server is: scumble bench serve URL".into())),
    };
    // the generator has threads and runtimes of its own
    drop(runtime);
    let refusal = measure(args, &place, &mut report)?;
    print(&report, args.json)?;
    match refusal {
        None => Ok(()),
        Some(why) => Err(Failure::Failed(format!("the server refused calls; the first time with {why}"))),
    }
}

/// What to call with: typed, or from the environment.
fn key(args: &BenchServe) -> Result<Option<String>, Failure> {
    let Some(key) = &args.key else { return secret::variable("SCUMBLE_KEY") };
    out::warn(
        "other users of this machine can read --key in its list of processes; put the key into SCUMBLE_KEY, or into a \
         file that SCUMBLE_KEY_FILE names",
    );
    Ok(Some(key.clone()))
}

/// A server of one's own with stand-ins, started several times; the last one stays.
async fn start(report: &mut Report) -> Result<(OwnServer, TempDir), Failure> {
    let mut times = Vec::new();
    loop {
        let folder = tempfile::tempdir().map_err(|e| Failure::System(format!("cannot make a folder: {e}")))?;
        let server = OwnServer::start(folder.path(), &["--stand-in=0"]).await?;
        times.push(milliseconds(server.ready_after));
        if times.len() < STARTS {
            continue;
        }
        tokio::time::sleep(IDLE).await;
        times.sort_by(f64::total_cmp);
        report.ready_ms = Some(times[times.len() / 2]);
        report.idle_resident_mb = server.resident_bytes().map(|bytes| bytes as f64 / 1e6);
        return Ok((server, folder));
    }
}

/// All calls with all numbers of connections. Gives the first refusal, if there was any.
fn measure(args: &BenchServe, place: &Place, report: &mut Report) -> Result<Option<String>, Failure> {
    let wanted: Vec<Call> = if args.calls.is_empty() { Call::ALL.to_vec() } else { args.calls.clone() };
    let calls: Vec<Call> = Call::ALL.into_iter().filter(|c| wanted.contains(c) && args.shape.has(*c)).collect();
    if let Some(unknown) = args.calls.iter().find(|c| !args.shape.has(**c)) {
        return Err(Failure::Usage(format!("servers of this shape know no {}", unknown.name())));
    }
    let load = |call, connections| Load {
        place: place.clone(),
        shape: args.shape,
        endpoint: args.endpoint.clone(),
        call,
        connections,
        seconds: args.seconds,
        poll: Duration::from_secs_f64(args.poll_ms / 1000.0),
        threads: args.threads,
    };
    let bar = bar((calls.len() + 1) * args.connections.len());
    let mut refusal = None;
    let mut add = |name, load: &Load, measured: std::io::Result<Tally>| {
        let tally = measured.map_err(|e| Failure::Failed(format!("{name}, {} connections: {e}", load.connections)))?;
        report.rows.push(Row::new(name, load, &tally));
        refusal = refusal.take().or(tally.first_refusal);
        bar.inc(1);
        Ok::<_, Failure>(())
    };
    for connections in &args.connections {
        let load = load(Call::Direct, *connections);
        bar.set_message(format!("the generator alone, {connections} connections"));
        add("generator alone", &load, ceiling::measure(&load))?;
    }
    for call in calls {
        for connections in &args.connections {
            let load = load(call, *connections);
            bar.set_message(format!("{}, {connections} connections", call.name()));
            add(call.name(), &load, load::run(&load))?;
        }
    }
    bar.finish_and_clear();
    Ok(refusal)
}

fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(report).map_err(|e| Failure::Failed(e.to_string()))?;
        return out::result(&text);
    }
    let again = format!("A status that is not yet COMPLETED is asked for again after {} ms.", report.poll_ms);
    out::result(&format!("{}\n{again}", report.table()))
}
