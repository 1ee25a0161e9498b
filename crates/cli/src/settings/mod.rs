//! Flag over environment over scumble.toml over default: what was typed becomes what is meant.

mod adapters;
mod bucket;
mod database;
mod declared;
mod file;
mod hub;
mod isa;
mod listen;
mod makers;
mod models;
mod own;
mod place;
mod plain;
mod prompts;
mod safety;
pub(crate) mod secret;
mod sections;
mod tls;
mod units;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use scumble_api::OpenAiAliases;
use scumble_meters::Meters;
use scumble_server::listen::ConnectionLimits;
use scumble_server::{Hosts, Origins};
use scumble_store::{Limits, Retention};
use scumble_worker::{Budget, FetchConfig, ModelsConfig, RunLimits, WebhooksConfig};

pub(crate) use adapters::Sources;
pub(crate) use bucket::open_files;
pub(crate) use database::{Database, find_store, open_existing, open_store};
pub(crate) use declared::sample;
pub(crate) use file::log_format as said_log_format;
pub(crate) use hub::{HubPlace, all_fetched, fetched, fetched_models, lost, usable};
pub(crate) use isa::instruction_set;
pub(crate) use listen::Listen;
pub(crate) use own::{nowhere, own_source};
pub(crate) use place::{Named, Place, data_dir, files, folder_of};
pub(crate) use safety::useless;
pub(crate) use tls::Tls;

use crate::args::{Role, Serve};
use crate::failure::Failure;
use sections::{
    FetchSection, LimitsSection, RetentionSection, RunTimes, ServerSection, WebhooksSection, WorkerSection,
};

/// Everything that `serve` needs to know.
pub(crate) struct Settings {
    pub(crate) role: Role,
    /// Where to listen; a worker on its own does so only where it was told.
    pub(crate) listen: Option<SocketAddr>,
    /// Where the metrics have an address of their own.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// What this process counts, all of its halves.
    pub(crate) meters: Meters,
    pub(crate) data_dir: PathBuf,
    pub(crate) database: Database,
    /// How another command is told of the same database.
    pub(crate) named: Named,
    /// Where images are kept: a folder or a URL.
    pub(crate) files: String,
    pub(crate) open: bool,
    pub(crate) tls: Option<Tls>,
    pub(crate) connect: bool,
    pub(crate) connections: ConnectionLimits,
    pub(crate) server: scumble_server::Config,
    pub(crate) worker: scumble_worker::Config,
    pub(crate) models: ModelsConfig,
}

impl Settings {
    /// From flags, environment and file.
    pub(crate) fn read(args: &Serve) -> Result<Self, Failure> {
        Self::with(args, args.record.as_deref())
    }

    /// The same for who only looks: the folder of `--record` is not made.
    pub(crate) fn look(args: &Serve) -> Result<Self, Failure> {
        Self::with(args, args.record.as_deref().filter(|folder| folder.is_dir()))
    }

    fn with(args: &Serve, record: Option<&Path>) -> Result<Self, Failure> {
        let (place, file) = Place::read(&args.place)?;
        let tls = tls::choose(args.tls_dev, file.server.tls.as_ref())?;
        let connect = args.connect || file.server.connect.unwrap_or_default();
        if connect && tls.is_none() {
            return Err(Failure::Usage(
                "CONNECT needs a certificate: --tls-dev, or [server] tls = { cert = …, key = … }".into(),
            ));
        }
        let default_listen = (args.role != Role::Worker).then_some(SocketAddr::from(([127, 0, 0, 1], 8787)));
        let private = file.fetch.allow_private.unwrap_or_default();
        let memory = units::bytes("[limits] memory_bytes", file.limits.memory_bytes.as_ref())?;
        // one for gateway, worker and makers of this process
        let memory = memory.map_or_else(Budget::default, Budget::new);
        let tape = makers::tape(record, args.replay.as_deref())?;
        let makers = makers::open(file.providers, file.limits.spend_per_day.as_ref(), private, tape, &memory)?;
        let listen = args.listen.as_ref().or(file.server.listen.as_ref()).map(Listen::resolve).transpose()?;
        let metrics_listen = args.metrics_listen.as_ref().or(file.metrics.listen.as_ref());
        let metrics_listen = metrics_listen.map(Listen::resolve).transpose()?;
        let meters = Meters::new();
        let free_bytes = units::bytes("[store] free_bytes", file.store.free_bytes.as_ref())?
            .unwrap_or(scumble_server::Config::default().free_bytes);
        let adapters = adapters::open(&file.adapters, &place.data_dir, free_bytes, private)?;
        Ok(Self {
            role: args.role,
            listen: listen.or(default_listen),
            metrics_listen,
            meters: meters.clone(),
            files: files(args.files.as_deref().or(file.files.url.as_deref()), &place.data_dir, args.role)?,
            data_dir: place.data_dir,
            database: place.database,
            named: place.named,
            open: args.open,
            tls,
            connect,
            connections: connection_limits(&file.limits)?,
            server: scumble_server::Config {
                private_webhooks: file.webhooks.allow_private.unwrap_or_default(),
                memory: memory.clone(),
                openai: OpenAiAliases::new(file.openai.aliases)
                    .map_err(|e| Failure::Usage(format!("[openai] aliases: {e}")))?,
                free_bytes,
                meters: meters.clone(),
                metrics_keys: file.metrics.keys,
                ..server_config(args, file.server, &file.limits)?
            },
            models: ModelsConfig {
                // a gateway looks at nothing, and may share its settings with workers that do
                safety: if args.role == Role::Gateway { None } else { safety::config(file.safety)? },
                meters: meters.clone(),
                ..models::config(file.models, &file.worker, &args.weights, &args.preload, args.stand_in, makers)?
            },
            worker: scumble_worker::Config {
                faults: args.fault.clone().unwrap_or_default(),
                adapters,
                memory,
                meters,
                // with --replay nothing is sent to anybody
                prompts: prompts::open(file.prompts.filter(|_| args.replay.is_none()))?,
                ..worker_config(file.worker, &file.limits, &file.webhooks, &file.fetch, &file.retention)?
            },
        })
    }
}

fn connection_limits(limits: &LimitsSection) -> Result<ConnectionLimits, Failure> {
    let all = units::positive("[limits] connections", limits.connections)?;
    let mut connections = all.map_or_else(ConnectionLimits::default, ConnectionLimits::of);
    if let Some(own) = units::positive("[limits] connections_per_address", limits.connections_per_address)? {
        connections.per_address = own;
    }
    Ok(connections)
}

fn server_config(
    args: &Serve,
    section: ServerSection,
    limits: &LimitsSection,
) -> Result<scumble_server::Config, Failure> {
    let mut config = scumble_server::Config {
        public_url: place::public_url(args.public_url.clone().or(section.public_url))?,
        trusted_proxy: section.trusted_proxy.unwrap_or_default(),
        base_path: place::base_path(section.base_path.as_deref())?,
        hosts: Arc::new(Hosts::with(&section.hosts).map_err(|e| Failure::Usage(format!("[server] hosts: {e}")))?),
        origins: Arc::new(
            Origins::with(&section.origins).map_err(|e| Failure::Usage(format!("[server] origins: {e}")))?,
        ),
        open: args.open,
        queue_length: units::positive("[limits] queue_length", limits.queue_length)?,
        per_key_concurrency: units::positive("[limits] per_key_concurrency", limits.per_key_concurrency)?,
        ..Default::default()
    };
    if let Some(calls) = units::positive("[limits] direct_calls", limits.direct_calls)? {
        config.direct_calls = calls;
    }
    if let Some(bytes) = units::bytes("[limits] body_bytes", limits.body_bytes.as_ref())? {
        config.body_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(bytes) = units::bytes("[limits] upload_bytes", limits.upload_bytes.as_ref())? {
        config.upload_bytes = bytes;
    }
    if let Some(time) = units::seconds("[limits] realtime_idle_s", limits.realtime_idle_s.as_ref())? {
        config.realtime_idle = time;
    }
    Ok(config)
}

fn worker_config(
    section: WorkerSection,
    limits: &LimitsSection,
    webhooks: &WebhooksSection,
    fetch: &FetchSection,
    retention: &RetentionSection,
) -> Result<scumble_worker::Config, Failure> {
    let WorkerSection {
        devices: _,
        memory: _,
        keep_alive_s: _,
        concurrency,
        far_concurrency,
        heartbeat_s,
        max_attempts,
        max_crashes,
        run_s,
    } = section;
    let default = scumble_worker::Config::default();
    Ok(scumble_worker::Config {
        concurrency: units::positive("[worker] concurrency", concurrency)?.unwrap_or(default.concurrency),
        far_concurrency: units::positive("[worker] far_concurrency", far_concurrency)?
            .unwrap_or(default.far_concurrency),
        heartbeat: units::seconds("[worker] heartbeat_s", heartbeat_s.as_ref())?.unwrap_or(default.heartbeat),
        limits: Limits {
            max_attempts: units::positive("[worker] max_attempts", max_attempts)?
                .unwrap_or(default.limits.max_attempts),
            max_crashes: units::positive("[worker] max_crashes", max_crashes)?.unwrap_or(default.limits.max_crashes),
        },
        per_key: units::positive("[limits] per_key_concurrency", limits.per_key_concurrency)?,
        webhooks: webhooks_config(webhooks, &default.webhooks)?,
        fetch: fetch_config(fetch, &default.fetch)?,
        runs: run_limits(run_s.as_ref())?,
        retention: retention_config(retention, default.retention)?,
        // who says how long means all of them
        keeps_older: retention.results_s.is_none(),
        ..default
    })
}

fn run_limits(run_s: Option<&RunTimes>) -> Result<RunLimits, Failure> {
    const NAME: &str = "[worker] run_s";
    match run_s {
        None => Ok(RunLimits::default()),
        Some(RunTimes::Each(time)) => {
            Ok(RunLimits { usual: units::seconds(NAME, Some(time))?, ..RunLimits::default() })
        }
        Some(RunTimes::By(times)) => {
            let mut own = HashMap::new();
            for (id, time) in times {
                if scumble_api::find(id).is_none() {
                    let hint = "`scumble models list` shows those that there are";
                    return Err(Failure::Usage(format!("{NAME}: there is no endpoint {id}; {hint}")));
                }
                own.extend(units::seconds(&format!("{NAME} of {id}"), Some(time))?.map(|time| (id.clone(), time)));
            }
            Ok(RunLimits { usual: None, own })
        }
    }
}

fn webhooks_config(section: &WebhooksSection, default: &WebhooksConfig) -> Result<WebhooksConfig, Failure> {
    let WebhooksSection { allow_private, timeout_s } = section;
    Ok(WebhooksConfig {
        allow_private: allow_private.unwrap_or(default.allow_private),
        timeout: units::seconds("[webhooks] timeout_s", timeout_s.as_ref())?.unwrap_or(default.timeout),
    })
}

fn fetch_config(section: &FetchSection, default: &FetchConfig) -> Result<FetchConfig, Failure> {
    let FetchSection { allow_private, max_bytes, max_pixels, timeout_s } = section;
    Ok(FetchConfig {
        allow_private: allow_private.unwrap_or(default.allow_private),
        max_bytes: units::bytes("[fetch] max_bytes", max_bytes.as_ref())?.unwrap_or(default.max_bytes),
        max_pixels: units::positive("[fetch] max_pixels", *max_pixels)?.unwrap_or(default.max_pixels),
        time: units::seconds("[fetch] timeout_s", timeout_s.as_ref())?.unwrap_or(default.time),
    })
}

fn retention_config(section: &RetentionSection, default: Retention) -> Result<Retention, Failure> {
    let RetentionSection { results_s, unkept_s } = section;
    let kept = units::seconds("[retention] results_s", results_s.as_ref())?.map(units::millis);
    let unkept = units::seconds("[retention] unkept_s", unkept_s.as_ref())?.map(units::millis);
    Ok(Retention { kept_ms: kept.or(default.kept_ms), unkept_ms: unkept.unwrap_or(default.unkept_ms) })
}

/// The async runtime of a command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Runtime::new().map_err(|e| Failure::System(format!("cannot start threads: {e}")))
}
