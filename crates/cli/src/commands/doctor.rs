//! `scumble doctor`: would `serve` work like this, and if not, what to do.

use scumble_store::{Clock, JobFilter, Store, SystemClock};
use scumble_worker::makers::MakerId;
use tokio::net::TcpListener;

use crate::args::{Role, Serve};
use crate::failure::Failure;
use crate::private;
use crate::settings::{Settings, Tls, open_files, open_store, runtime};

/// The beginning of 2026: no clock that goes right shows less.
const SOONEST_MS: i64 = 1_767_225_600_000;
/// Clocks of several machines may differ by as much without anything going wrong.
const DRIFT_MS: i64 = 60_000;

/// What a check found: a fact, or what to do.
type Finding = Result<String, String>;

/// Checks everything that `serve` with the same flags needs; one line each.
pub(crate) fn doctor(args: &Serve) -> Result<(), Failure> {
    let settings = Settings::read(args)?;
    private::begin(&settings);
    let findings = runtime()?.block_on(examine(&settings));
    print(&findings);
    match findings.iter().filter(|(_, finding)| finding.is_err()).count() {
        0 => Ok(()),
        n => Err(Failure::System(format!("{n} of {} checks failed", findings.len()))),
    }
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(findings: &[(&str, Finding)]) {
    for (what, finding) in findings {
        match finding {
            Ok(fact) => println!("ok     {what:9}  {fact}"),
            Err(advice) => println!("FAILS  {what:9}  {advice}"),
        }
    }
}

async fn examine(settings: &Settings) -> Vec<(&'static str, Finding)> {
    let mut findings = vec![("data dir", data_dir(settings))];
    match open_store(&settings.database).await {
        Ok(store) => {
            findings.push(("database", database(settings, &*store).await));
            findings.push(("keys", keys(settings, &*store).await));
            findings.push(("clock", clock(&*store).await));
            store.close().await;
        }
        Err(failure) => findings.push(("database", Err(failure.message()))),
    }
    findings.push(("files", files(&settings.files).await));
    if let Some(address) = settings.listen {
        findings.push(("address", listen(address).await));
    }
    if let Some(tls) = &settings.tls {
        findings.push(("https", https(tls)));
    }
    findings.push(("weights", weights(settings)));
    findings.push(("makers", Ok(makers(settings))));
    findings
}

/// Whether it can be written, and is nobody else's to read.
fn data_dir(settings: &Settings) -> Finding {
    let folder = &settings.data_dir;
    private::make_folder(folder).map_err(|failure| format!("{}; choose another with --data-dir", failure.message()))?;
    // looked at before there is a file of our own in it
    let open: Vec<String> = private::too_open(settings).iter().map(ToString::to_string).collect();
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, "written").and_then(|()| std::fs::remove_file(&probe));
    let advice = |error| format!("{}: {error}; choose another with --data-dir, or change its owner", folder.display());
    written.map_err(advice)?;
    if open.is_empty() {
        return Ok(format!("{} can be written", folder.display()));
    }
    Err(format!(
        "others on this machine may look into {}: `scumble serve` closes them when it starts, or chmod does",
        open.join(", ")
    ))
}

async fn database(settings: &Settings, store: &dyn Store) -> Finding {
    let counted = store.counts().await.map_err(|e| e.to_string())?;
    let alive: u64 = counted.iter().map(|count| count.jobs).sum();
    Ok(format!("{}, {alive} jobs wait or run; {}", settings.database, super::serve::kept(&settings.worker)))
}

async fn keys(settings: &Settings, store: &dyn Store) -> Finding {
    if store.keys_required().await.map_err(|e| e.to_string())? {
        let keys = store.list_keys().await.map_err(|e| e.to_string())?;
        return match keys.iter().filter(|key| key.revoked_ms.is_none()).count() {
            0 => Err("callers need a key, and all are revoked; make one with `scumble keys create`".into()),
            n => Ok(format!("callers need one of {n}")),
        };
    }
    match settings.listen {
        Some(address) if !address.ip().is_loopback() && settings.role != Role::Worker && !settings.open => {
            Err(format!(
                "others can reach {address}, and no key was made; make one with `scumble keys create`, or allow it with --open"
            ))
        }
        Some(address) if !address.ip().is_loopback() => Ok("none: everybody who reaches this server may call".into()),
        _ => Ok("none: programs on this machine may call".into()),
    }
}

/// Whose closed models can be asked for. None has to be.
fn makers(settings: &Settings) -> String {
    let Some(makers) = &settings.models.makers else { return "none are asked".to_owned() };
    let (with, without): (Vec<_>, Vec<_>) = MakerId::ALL.into_iter().partition(|id| makers.get(*id).ready().is_ok());
    let list = |ids: Vec<MakerId>| ids.into_iter().map(MakerId::name).collect::<Vec<_>>().join(", ");
    match (with.is_empty(), without.is_empty()) {
        (true, _) => "no keys, so closed models are not answered (docs/MAKERS.md)".to_owned(),
        (false, true) => format!("keys for {}", list(with)),
        (false, false) => format!("keys for {}; none for {}", list(with), list(without)),
    }
}

/// Leases, deadlines and certificates depend on it.
async fn clock(store: &dyn Store) -> Finding {
    let now_ms = SystemClock.now_ms();
    let newest = JobFilter { endpoint: None, state: None, key_id: None, before: None, limit: 1 };
    let newest = store.recent(&newest).await.map_err(|e| e.to_string())?;
    let latest_ms = newest.first().map_or(SOONEST_MS, |job| job.created_ms - DRIFT_MS);
    if now_ms >= latest_ms.max(SOONEST_MS) {
        return Ok(super::time::iso(now_ms));
    }
    Err(format!("it shows {}, which was before; set it, by NTP for example", super::time::iso(now_ms)))
}

/// Writes, reads and removes a file.
async fn files(url: &str) -> Finding {
    let files =
        open_files(url).map_err(|failure| format!("{}; choose another place with --files", failure.message()))?;
    let tried = async {
        let stored = files.put("doctor".into(), "text/plain", "doctor.txt").await?;
        let read = files.get(&stored.path, None).await?.bytes().await;
        files.delete(&stored.path).await?;
        read
    };
    match tried.await {
        Ok(bytes) if bytes == "doctor" => Ok(format!("{url} can be written and read")),
        Ok(_) => Err(format!("{url} gives back other bytes than were written; do not use it")),
        Err(error) => Err(format!("{error}; choose another place with --files")),
    }
}

async fn listen(address: std::net::SocketAddr) -> Finding {
    match TcpListener::bind(address).await {
        Ok(_) => Ok(format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(format!("{address} is in use, by a server that runs already perhaps; choose another with --listen"))
        }
        Err(error) => Err(format!("{address}: {error}; choose another with --listen")),
    }
}

fn https(tls: &Tls) -> Finding {
    match tls {
        Tls::Files { cert, key } => scumble_server::tls::check_files(cert, key, SystemClock.now_ms())
            .map(|()| format!("{} and its key can be used", cert.display()))
            .map_err(|e| e.to_string()),
        Tls::Local => Ok("with a local authority".into()),
    }
}

fn weights(settings: &Settings) -> Finding {
    let folders = settings.models.models.iter().filter_map(|(id, model)| Some((id, model.weights.as_ref()?)));
    let missing: Vec<_> = folders
        .clone()
        .filter(|(_, folder)| !folder.join("model_index.json").is_file())
        .map(|(id, folder)| format!("{id}: {} is no diffusers folder", folder.display()))
        .collect();
    if missing.is_empty() {
        return Ok(format!("the starter's, and {} folders", folders.count()));
    }
    Err(format!("{}; a diffusers folder has a model_index.json", missing.join("; ")))
}
