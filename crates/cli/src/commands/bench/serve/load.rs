//! The generator: so many connections, each one request after the other, for so long.

use std::time::{Duration, Instant};

use crate::commands::bench::serve::shape::{Call, Shape, Status, Submitted};
use crate::http::{Answer, Connection, Place};

/// How long a request may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// One measurement to make.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) place: Place,
    pub(crate) shape: Shape,
    pub(crate) endpoint: String,
    pub(crate) call: Call,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    /// Pause between two looks at the status of a request that has not ended.
    pub(crate) poll: Duration,
    /// Threads of the generator, which share the connections.
    pub(crate) threads: usize,
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How long each call took, in nanoseconds; sorted when it leaves [`run`].
    pub(crate) nanoseconds: Vec<u64>,
    /// Answers that were none.
    pub(crate) refused: usize,
    /// What the first of them said.
    pub(crate) first_refusal: Option<String>,
    /// How many calls ended while they were counted.
    pub(crate) ended: usize,
    /// How long calls were counted.
    pub(crate) seconds: f64,
}

impl Tally {
    /// The duration below which this share of all calls stayed.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let last = self.nanoseconds.len().checked_sub(1)?;
        let place = ((self.nanoseconds.len() as f64 * share).ceil() as usize).saturating_sub(1).min(last);
        Some(Duration::from_nanos(self.nanoseconds[place]))
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.ended as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    fn refuse(&mut self, why: impl FnOnce() -> String) {
        self.refused += 1;
        self.first_refusal.get_or_insert_with(why);
    }

    fn add(&mut self, other: Self) {
        self.nanoseconds.extend(other.nanoseconds);
        self.ended += other.ended;
        self.refused += other.refused;
        self.first_refusal = self.first_refusal.take().or(other.first_refusal);
    }
}

/// When calls count: what comes before warms up. The duration of a call counts when it began in the window, however
/// late it ended (else slow calls would be missing); the rate is of those that ended in it.
#[derive(Clone, Copy)]
struct Window {
    from: Instant,
    until: Instant,
}

/// Makes the measurement. Each thread has a runtime of its own, so that connections never wait for a lock.
pub(crate) fn run(load: &Load) -> std::io::Result<Tally> {
    let now = Instant::now();
    let warm_up = (load.seconds / 5.0).clamp(0.1, 1.0);
    let from = now + Duration::from_secs_f64(warm_up);
    let window = Window { from, until: from + Duration::from_secs_f64(load.seconds) };
    let threads = load.threads.clamp(1, load.connections.max(1));
    let mut tally = std::thread::scope(|scope| {
        let share = |thread| load.connections / threads + usize::from(thread < load.connections % threads);
        let workers: Vec<_> = (0..threads).map(|t| scope.spawn(move || drive(load, share(t), window))).collect();
        let mut sum = Tally::default();
        for worker in workers {
            sum.add(worker.join().map_err(|_| std::io::Error::other("a thread of the generator panicked"))??);
        }
        Ok::<_, std::io::Error>(sum)
    })?;
    tally.nanoseconds.sort_unstable();
    tally.seconds = load.seconds;
    Ok(tally)
}

fn drive(load: &Load, connections: usize, window: Window) -> std::io::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..connections {
            clients.spawn(client(load.clone(), window));
        }
        let mut sum = Tally::default();
        let all = async {
            while let Some(ended) = clients.join_next().await {
                sum.add(ended.map_err(std::io::Error::other)??);
            }
            Ok::<_, std::io::Error>(())
        };
        let deadline = tokio::time::Instant::from_std(window.until + PATIENCE);
        tokio::time::timeout_at(deadline, all)
            .await
            .map_err(|_| std::io::Error::other("the server stopped answering"))??;
        Ok(sum)
    })
}

/// One connection's calls.
async fn client(load: Load, window: Window) -> std::io::Result<Tally> {
    let mut connection = Connection::open(&load.place).await?;
    let mut caller = Caller::prepare(&load, &mut connection).await?;
    let mut tally = Tally::default();
    loop {
        let began = Instant::now();
        if began >= window.until {
            return Ok(tally);
        }
        let refusal = caller.call(&mut connection).await?;
        let ended = Instant::now();
        if let Some(why) = refusal {
            tally.refuse(|| why);
            continue;
        }
        if began >= window.from {
            tally.nanoseconds.push(u64::try_from((ended - began).as_nanos()).unwrap_or(u64::MAX));
        }
        tally.ended += usize::from((window.from..=window.until).contains(&ended));
    }
}

/// The requests of one connection, built beforehand where they are always the same.
struct Caller<'a> {
    load: &'a Load,
    request: Vec<u8>,
}

impl<'a> Caller<'a> {
    async fn prepare(load: &'a Load, connection: &mut Connection) -> std::io::Result<Self> {
        let Load { place, shape, endpoint, call, .. } = load;
        let request = match call {
            Call::Direct => shape.direct(place, endpoint),
            Call::Submit | Call::SubmitToResult => shape.submit(place, endpoint),
            Call::Status => {
                let id = submitted(load, connection).await?;
                until_ended(load, connection, &id).await?;
                shape.status(place, endpoint, &id)
            }
        };
        Ok(Self { load, request })
    }

    /// One call; says why when the server refused it.
    async fn call(&mut self, connection: &mut Connection) -> std::io::Result<Option<String>> {
        let answer = connection.exchange(&self.request).await?;
        if !good(&answer) {
            return Ok(Some(refusal(&answer)));
        }
        if self.load.call == Call::SubmitToResult {
            let id = answer.json::<Submitted>()?.request_id;
            until_ended(self.load, connection, &id).await?;
            let request = self.load.shape.result(&self.load.place, &self.load.endpoint, &id);
            let answer = connection.exchange(&request).await?;
            return Ok((!good(&answer)).then(|| refusal(&answer)));
        }
        Ok(None)
    }
}

async fn submitted(load: &Load, connection: &mut Connection) -> std::io::Result<String> {
    let answer = connection.exchange(&load.shape.submit(&load.place, &load.endpoint)).await?;
    if !good(&answer) {
        return Err(std::io::Error::other(refusal(&answer)));
    }
    Ok(answer.json::<Submitted>()?.request_id)
}

/// Looks at once, and then after each pause.
async fn until_ended(load: &Load, connection: &mut Connection, id: &str) -> std::io::Result<()> {
    let request = load.shape.status(&load.place, &load.endpoint, id);
    let began = Instant::now();
    loop {
        let answer = connection.exchange(&request).await?;
        if !good(&answer) {
            return Err(std::io::Error::other(refusal(&answer)));
        }
        let status: Status<'_> = serde_json::from_slice(answer.body)?;
        if status.status == "COMPLETED" {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(std::io::Error::other(
                "a request did not end; are others still waiting in this server's queue?",
            ));
        }
        if !load.poll.is_zero() {
            tokio::time::sleep(load.poll).await;
        }
    }
}

fn good(answer: &Answer<'_>) -> bool {
    (200..300).contains(&answer.status)
}

fn refusal(answer: &Answer<'_>) -> String {
    format!("status {}: {}", answer.status, answer.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let tally = Tally { nanoseconds: (1..=100).collect(), ended: 100, seconds: 2.0, ..Tally::default() };
        let at = |share| tally.quantile(share).map(|d| d.as_nanos());
        assert_eq!((at(0.5), at(0.99), at(1.0)), (Some(50), Some(99), Some(100)));
        assert_eq!(tally.per_second(), 50.0);
        assert_eq!(Tally::default().quantile(0.5), None);
    }
}
