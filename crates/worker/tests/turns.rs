//! Two models that do not fit together, called in turn a hundred times. Alone in its process, whose memory is measured.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "common/pair.rs"]
mod pair;

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pair::{FLUX, Pair, SD35, answer, body, draw, picture};
use reqwest::Method;
use scumble_api::published::gigabytes;
use scumble_testkit::server::{Setup, TestServer};
use scumble_worker::{Models, ModelsConfig};
use serde_json::Value;

/// How often two models take turns; a build that is not optimised takes longer for each.
const TURNS: usize = if cfg!(debug_assertions) { 25 } else { 100 };

/// The most that this process has held since it began to look, looked at all the time.
struct Peak {
    stop: mpsc::Sender<()>,
    seen: JoinHandle<u64>,
}

impl Peak {
    fn begin() -> Self {
        let (stop, stopped) = mpsc::channel();
        let look = move || {
            let mut most = held();
            while stopped.recv_timeout(Duration::from_millis(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
                most = most.max(held());
            }
            most
        };
        Self { stop, seen: std::thread::spawn(look) }
    }

    fn end(self) -> u64 {
        drop(self.stop);
        self.seen.join().unwrap()
    }
}

/// One of them is large in what draws, the other in what reads: the first goes as a whole, of the second the encoders alone.
#[tokio::test]
async fn two_models_that_do_not_fit_together_take_turns_a_hundred_times() {
    let pair = Pair::large();
    let roomy = TestServer::answering(Setup::default(), Models::new(&pair.config()).unwrap()).await;
    // a prompt that was read before needs no encoder
    let mut expected = Vec::with_capacity(TURNS);
    for turn in 0..TURNS {
        expected.push([draw(&roomy, FLUX, turn).await, draw(&roomy, SD35, turn).await]);
    }
    // with all that it has loaded
    roomy.stopped().await;
    let memory = pair.memory_for_one();
    let config = ModelsConfig { memory: Some(memory), ..pair.config() };
    let mut peaks = Vec::new();
    for cancels in [false, true] {
        let server = TestServer::answering(Setup::default(), Models::new(&config).unwrap()).await;
        let (before, began, peak) = (held(), Instant::now(), Peak::begin());
        let mut loading = 0.0;
        for (turn, expected) in expected.iter().enumerate() {
            for (endpoint, expected) in [FLUX, SD35].into_iter().zip(expected) {
                let gone = if cancels { Some(forsaken(&server, endpoint, turn).await) } else { None };
                let answer = answer(&server, endpoint, turn).await;
                assert_eq!(&picture(&answer), expected, "turn {turn} of {endpoint}");
                loading += answer["timings"]["load"].as_f64().unwrap();
                if let Some(gone) = gone {
                    server.ended(&gone).await;
                }
            }
        }
        let (took, most) = (began.elapsed().as_secs_f64(), peak.end().saturating_sub(before));
        eprintln!(
            "{} calls of two models in turn, cancelled ones between: {cancels}: {took:.1} s, of which {loading:.1} s loading; at \
             most {} more than before, of {}",
            2 * TURNS,
            gigabytes(most),
            gigabytes(memory)
        );
        assert!(loading > 0.0 && loading < took);
        peaks.push(most);
        server.stopped().await;
    }
    assert!(peaks.iter().all(|most| *most < memory), "{peaks:?}, and models may take {memory} bytes");
}

/// A job that somebody asks for and gives up at once, wherever it is by then.
async fn forsaken(server: &TestServer, endpoint: &str, turn: usize) -> Value {
    let sent = server.request(Method::POST, &format!("/queue/{endpoint}")).json(&body(endpoint, turn));
    let sent: Value = sent.send().await.unwrap().json().await.unwrap();
    let cancel = format!("/queue/{endpoint}/requests/{}/cancel", sent["request_id"].as_str().unwrap());
    server.request(Method::PUT, &cancel).send().await.unwrap();
    sent
}

/// What this process holds that no file backs, in bytes.
fn held() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    1024 * (of("VmRSS:") - of("RssFile:"))
}
