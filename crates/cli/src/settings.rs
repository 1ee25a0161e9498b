//! Flag over environment over scumble.toml over default: what was typed becomes what is meant.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use scumble_engine::DType;
use scumble_store::{Limits, Options, SqliteStore, Store, SystemClock};
use scumble_worker::{ModelConfig, ModelsConfig};
use serde::Deserialize;

use crate::args::{DataDir, Serve};
use crate::failure::Failure;

/// Everything that `serve` needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) open: bool,
    pub(crate) server: scumble_server::Config,
    pub(crate) worker: scumble_worker::Config,
    pub(crate) models: ModelsConfig,
}

/// scumble.toml. A word that means nothing is an error: a setting that is silently ignored is worse.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    server: ServerSection,
    worker: WorkerSection,
    limits: LimitsSection,
    models: HashMap<String, ModelSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ServerSection {
    listen: Option<SocketAddr>,
    public_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WorkerSection {
    devices: Option<Vec<String>>,
    concurrency: Option<usize>,
    heartbeat_s: Option<u64>,
    max_attempts: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsSection {
    body_bytes: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ModelSection {
    weights: Option<PathBuf>,
    dtype: Option<DtypeName>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DtypeName {
    Float32,
    Bfloat16,
    Float16,
}

impl Settings {
    /// From flags, environment and file.
    pub(crate) fn read(args: &Serve) -> Result<Self, Failure> {
        let File { server, worker, limits, models } = match &args.config {
            Some(path) => read_file(path)?,
            None => File::default(),
        };
        let default_listen = SocketAddr::from(([127, 0, 0, 1], 8787));
        let mut server_config = scumble_server::Config { public_url: server.public_url, ..Default::default() };
        if let Some(bytes) = limits.body_bytes {
            server_config.body_bytes = bytes;
        }
        Ok(Self {
            listen: args.listen.or(server.listen).unwrap_or(default_listen),
            data_dir: data_dir(&args.data)?,
            open: args.open,
            server: server_config,
            models: models_config(models, &worker, args)?,
            worker: scumble_worker::Config {
                faults: args.fault.clone().unwrap_or_default(),
                ..worker_config(&worker)?
            },
        })
    }
}

fn read_file(path: &Path) -> Result<File, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::about("read", path, e))?;
    toml::from_str(&text).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
}

fn worker_config(section: &WorkerSection) -> Result<scumble_worker::Config, Failure> {
    let positive = |name: &str, value: u64| match value {
        0 => Err(Failure::Usage(format!("[worker] {name} must be at least 1"))),
        _ => Ok(()),
    };
    let mut config = scumble_worker::Config::default();
    if let Some(n) = section.concurrency {
        positive("concurrency", n as u64)?;
        config.concurrency = n;
    }
    if let Some(seconds) = section.heartbeat_s {
        positive("heartbeat_s", seconds)?;
        config.heartbeat = Duration::from_secs(seconds);
    }
    if let Some(n) = section.max_attempts {
        positive("max_attempts", n.max(0).unsigned_abs())?;
        config.limits = Limits { max_attempts: n, ..config.limits };
    }
    Ok(config)
}

fn models_config(
    sections: HashMap<String, ModelSection>,
    worker: &WorkerSection,
    args: &Serve,
) -> Result<ModelsConfig, Failure> {
    let device = match worker.devices.as_deref() {
        None | Some([]) => None,
        Some([device]) => Some(device.clone()),
        Some(_) => return Err(Failure::Usage("[worker] devices: one device is used for now".into())),
    };
    let mut models: HashMap<String, ModelConfig> = sections
        .into_iter()
        .map(|(id, ModelSection { weights, dtype })| (id, ModelConfig { weights, dtype: dtype.map(dtype_of) }))
        .collect();
    for (id, folder) in &args.weights {
        models.entry(id.clone()).or_default().weights = Some(folder.clone());
    }
    Ok(ModelsConfig { models, device, stand_in: args.stand_in })
}

fn dtype_of(name: DtypeName) -> DType {
    match name {
        DtypeName::Float32 => DType::F32,
        DtypeName::Bfloat16 => DType::BF16,
        DtypeName::Float16 => DType::F16,
    }
}

/// `--data-dir`, else the user's data folder.
pub(crate) fn data_dir(args: &DataDir) -> Result<PathBuf, Failure> {
    if let Some(dir) = &args.data_dir {
        return Ok(dir.clone());
    }
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")));
    base.map(|b| b.join("scumble")).ok_or_else(|| {
        Failure::Usage("neither XDG_DATA_HOME nor HOME is set; say where data goes with --data-dir DIR".into())
    })
}

/// Opens the database of a data dir, made if it is not there.
pub(crate) async fn open_store(data_dir: &Path) -> Result<Arc<dyn Store>, Failure> {
    std::fs::create_dir_all(data_dir).map_err(|e| Failure::about("make the folder", data_dir, e))?;
    let path = data_dir.join("scumble.db");
    let options = Options { clock: Arc::new(SystemClock), ..Options::default() };
    Ok(Arc::new(SqliteStore::open(&path, options).await?))
}

/// The async runtime of a command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Runtime::new().map_err(|e| Failure::System(format!("cannot start threads: {e}")))
}
