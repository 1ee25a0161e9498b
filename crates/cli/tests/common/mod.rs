//! A folder to type commands in, and a server started there.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder of its own for each test; commands run inside it with a bare environment.
pub(crate) struct Desk(TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scumble"));
        command.args(args).current_dir(self.0.path()).env_clear().env("HOME", self.0.path());
        command
    }

    pub(crate) fn scumble(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Expects an exit code and words on stderr, and nothing on stdout.
    pub(crate) fn refuses(&self, args: &[&str], code: i32, words: &[&str]) -> String {
        let out = self.scumble(args);
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?} should mention {word:?}: {stderr}");
        }
        assert_eq!(String::from_utf8_lossy(&out.stdout), "", "{args:?}");
        stderr
    }

    /// `scumble serve` in this folder, on a port of the system's choice and the data dir `data`.
    pub(crate) fn serve(&self, args: &[&str]) -> Serving {
        let listen = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"];
        Serving::start(self.command(&[&listen, args].concat()))
    }

    /// `scumble serve` in this folder, with a data dir of this name and stand-ins.
    pub(crate) fn serve_there(&self, data_dir: &str) -> Serving {
        let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir, "--stand-in=0"];
        Serving::start(self.command(&args))
    }

    /// `scumble serve` with these arguments and no others; `None` where it ends instead of listening.
    pub(crate) fn try_serve(&self, args: &[&str]) -> Option<Serving> {
        let mut child = self.command(&[&["serve"], args].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("Scumble listens on http://") else {
            assert!(!child.wait().unwrap().success(), "{line:?}");
            return None;
        };
        let address = address.parse().unwrap();
        Some(Serving { child, stdout, address })
    }

    /// The same with these variables, and with what it says about itself in a file of this name.
    pub(crate) fn serve_logging(&self, args: &[&str], variables: &[(&str, &str)], log: &str) -> Serving {
        let listen = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"];
        let mut command = self.command(&[&listen, args].concat());
        command.envs(variables.iter().copied()).stderr(std::fs::File::create(self.path(log)).unwrap());
        Serving::start(command)
    }

    /// `scumble serve --role worker` in this folder, with a data dir of this name.
    pub(crate) fn worker(&self, name: &str, args: &[&str]) -> Worker {
        let mut command = self.command(&[&["serve", "--role", "worker", "--data-dir", name], args].concat());
        Worker(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

/// A worker without an address; ends with the test.
pub(crate) struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn succeeded(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout.clone()).unwrap()
}

/// A server; ends with the test.
pub(crate) struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Serving {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (said, line) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = said.send(stdout.read_line(&mut line).map(|_| (line, stdout)));
        });
        let Ok(Ok((line, stdout))) = line.recv_timeout(PATIENCE) else {
            let _ = (child.kill(), child.wait());
            panic!("the server does not say where it listens");
        };
        let address = line.trim().strip_prefix("Scumble listens on http://");
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).parse().unwrap();
        Self { child, stdout, address }
    }

    /// Starts it with this umask.
    #[cfg(unix)]
    pub(crate) fn start_in(command: &Command, umask: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("umask {umask:04o}; exec \"$0\" \"$@\"")).arg(command.get_program());
        shell.args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        Self::start(shell)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it prints up to the first line that has `word` in it.
    pub(crate) fn prints(&mut self, word: &str) -> String {
        let mut text = String::new();
        while !text.contains(word) {
            assert_ne!(self.stdout.read_line(&mut text).unwrap(), 0, "{word:?} is missing in {text}");
        }
        text
    }

    /// Sends bytes on a connection of their own; the status and the JSON that come back.
    pub(crate) fn raw(&self, request: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = Vec::new();
        // a server that refuses a request without reading all of it may end the connection hard, after its answer
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// A file of Linux about its process.
    pub(crate) fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// Asks it to stop, and waits until it has.
    #[cfg(unix)]
    pub(crate) fn stop(mut self) {
        self.asks_to_stop();
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return assert!(status.success());
            }
            assert!(began.elapsed() < PATIENCE, "the server does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to stop.
    #[cfg(unix)]
    pub(crate) fn asks_to_stop(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An input that is drawn at once.
pub(crate) fn star() -> Value {
    json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 }, "seed": 5 })
}

/// A client that trusts the authority at `ca` and nobody else, and finds every service name at `address`.
pub(crate) fn client(address: SocketAddr, ca: &Path) -> reqwest::Client {
    let builder = trusting(ca).no_proxy();
    HOSTS.iter().fold(builder, |builder, host| builder.resolve(host, address)).build().unwrap()
}

pub(crate) fn trusting(ca: &Path) -> reqwest::ClientBuilder {
    // of several tests in one process the first installs it for all
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap();
    reqwest::Client::builder().tls_certs_only([ca]).timeout(Duration::from_secs(60))
}

/// fal's service names.
pub(crate) const HOSTS: [&str; 11] = [
    "fal.run",
    "queue.fal.run",
    "rest.fal.ai",
    "rest.alpha.fal.ai",
    "v3.fal.media",
    "v3b.fal.media",
    "ws.fal.run",
    "api.fal.ai",
    "fal.ai",
    "falrun.com",
    "queue.falrun.com",
];

/// A client for plain HTTP.
pub(crate) fn plain() -> reqwest::Client {
    // the client asks for one even where it will not encrypt anything
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}
