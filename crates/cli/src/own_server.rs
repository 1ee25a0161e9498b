//! A server of one's own: this binary once more, as a child, on a free port and a data dir that is removed afterwards.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::http::{Connection, Place};

/// A server that is not ready after this time is broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// What it says once it listens (`commands/serve.rs`).
const LISTENS: &str = "http://";

/// Runs until it is dropped, then is killed: its data dir goes too.
pub(crate) struct OwnServer {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// From the start of the process to its first answer that it is ready.
    pub(crate) ready_after: Duration,
}

impl OwnServer {
    /// Starts `scumble serve` with these arguments on a data dir and waits until it is ready. Its log goes to
    /// `serve.log` in that folder.
    pub(crate) async fn start(data_dir: &Path, args: &[&str]) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|e| Failure::System(format!("where is this program? {e}")))?;
        let log = log_of(data_dir);
        let file = std::fs::File::options().create(true).append(true).open(&log);
        let began = Instant::now();
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(args)
            .env_clear()
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.map_err(|e| Failure::about("write", &log, e))?)
            .spawn()
            .map_err(|e| Failure::System(format!("cannot start a server: {e}")))?;
        match ready(&mut child, began).await {
            Ok(address) => Ok(Self { child, address, ready_after: began.elapsed() }),
            Err(problem) => {
                let _ = (child.kill(), child.wait());
                Err(Failure::Failed(format!("the server did not start: {problem}; its log is {}", log.display())))
            }
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place::at(self.address)
    }

    /// Ends the process as a power cut would: nothing is finished or flushed.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// Memory that is in RAM, in bytes, where the system tells.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok().map(|kib: u64| kib * 1024)
    }

    fn end(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where a server of one's own writes its log.
fn log_of(data_dir: &Path) -> PathBuf {
    data_dir.join("serve.log")
}

async fn ready(child: &mut Child, began: Instant) -> Result<SocketAddr, String> {
    let stdout = child.stdout.take().ok_or("it has no output")?;
    let mut line = String::new();
    // ends at the latest when the process does
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut line).map_err(|e| e.to_string())?;
    // a closed pipe would stop a server that has more to say
    child.stdout = Some(stdout.into_inner());
    let address = line.trim().rsplit_once(LISTENS).and_then(|(_, address)| address.parse().ok());
    let address: SocketAddr = address.ok_or("it did not say where it listens")?;
    let place = Place::at(address);
    while began.elapsed() < PATIENCE {
        if let Ok(mut connection) = Connection::open(&place).await
            && let Ok(answer) = connection.exchange(&place.request("GET", "/ready", None)).await
            && answer.status == 200
        {
            return Ok(address);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err("it listens but is not ready".into())
}
