//! A runner that does what the test says, step by step.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use scumble_api::ErrorType;
use scumble_engine::weights::Precision;
use scumble_engine::{Device, Pixels, Stage};
use scumble_worker::Picture;
use scumble_worker::runner::{Drawn, Local, Model, Request, RunError, Runner, Timer, Watch};
use tokio::sync::Semaphore;

/// Draws one colour. Each step waits for a permit, so that nothing depends on time.
#[derive(Clone)]
pub struct FakeRunner {
    permits: Arc<Semaphore>,
    began: Arc<Semaphore>,
    prompts: Arc<Mutex<Vec<String>>>,
    failures: Arc<AtomicUsize>,
}

/// This prompt makes the runner panic.
pub const PANIC: &str = "panic!";

/// Of the pictures of this prompt the last is flagged, as by a checker.
pub const FLAGGED: &str = "what not everybody should see";

impl FakeRunner {
    /// Never waits.
    pub fn free() -> Self {
        Self::with_permits(Semaphore::MAX_PERMITS)
    }

    /// Waits for [`FakeRunner::allow`] before each step.
    pub fn gated() -> Self {
        Self::with_permits(0)
    }

    fn with_permits(permits: usize) -> Self {
        let semaphore = |n| Arc::new(Semaphore::new(n));
        Self { permits: semaphore(permits), began: semaphore(0), prompts: Arc::default(), failures: Arc::default() }
    }

    /// Lets this many steps happen.
    pub fn allow(&self, steps: usize) {
        self.permits.add_permits(steps);
    }

    /// Lets the next runs fail in a way that another attempt may survive.
    pub fn fail_first(&self, runs: usize) {
        self.failures.store(runs, Ordering::Relaxed);
    }

    /// Until a run that nobody has waited for has begun.
    ///
    /// # Panics
    /// Where none begins for two minutes.
    #[expect(clippy::expect_used, reason = "a test whose run does not begin cannot go on")]
    pub async fn begun(&self) {
        let begun = tokio::time::timeout(std::time::Duration::from_secs(120), self.began.acquire()).await;
        if let Ok(permit) = begun.expect("a run begins") {
            permit.forget();
        }
    }

    /// The prompts of all runs so far, in the order they began.
    pub fn prompts(&self) -> Vec<String> {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One step, or the end of the run if it was cancelled in the meantime.
    async fn step(&self, watch: &dyn Watch) -> Result<(), RunError> {
        loop {
            if watch.cancelled() {
                return Err(RunError::Cancelled);
            }
            // a cancel comes without a permit, so look up now and then
            let patience = std::time::Duration::from_millis(10);
            if let Ok(Ok(permit)) = tokio::time::timeout(patience, self.permits.acquire()).await {
                permit.forget();
                return Ok(());
            }
        }
    }
}

#[async_trait::async_trait]
impl Runner for FakeRunner {
    async fn run(&self, request: Request, watch: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        let prompt = request.input.prompt.clone();
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner).push(prompt.clone());
        self.began.add_permits(1);
        assert_ne!(prompt, PANIC, "the test asked for it");
        if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
            let kind = ErrorType::RunnerSchedulingFailure;
            return Err(RunError::Passing { kind, reason: "the test asked for it".into() });
        }
        let timer = Timer::default();
        timer.begin(Stage::Denoise);
        watch.stage(Stage::Denoise);
        let total = request.input.steps as usize;
        for done in 1..=total {
            self.step(&*watch).await?;
            watch.step(done, total, &|| Some(preview(done)));
        }
        let (width, height) =
            (request.input.size.pixels(None).width as usize, request.input.size.pixels(None).height as usize);
        let pixels = Pixels { width, height, rgb: [200, 30, 90].repeat(width * height) };
        let picture = Picture::encode(&pixels, request.input.format).map_err(|e| RunError::Failed(e.to_string()))?;
        let pictures = vec![picture; request.input.images as usize];
        let flags = (prompt == FLAGGED).then(|| (1..=pictures.len()).map(|number| number == pictures.len()).collect());
        Ok(Drawn { pictures, timings: timer.finish(), flags, ..Drawn::default() })
    }
}

/// A preview that tells its step by its width.
fn preview(done: usize) -> Pixels {
    Pixels { width: 8 * done, height: 8, rgb: [200, 30, 90].repeat(8 * done * 8) }
}

/// The starter that travels in the binary, for tests that need a real picture.
///
/// # Panics
/// Where it is not there.
#[expect(clippy::expect_used, reason = "a test without a model cannot go on")]
pub fn starter() -> Arc<dyn Runner> {
    let endpoint = scumble_api::find(crate::server::ENDPOINT).expect("an endpoint");
    let source = scumble_worker::source(endpoint, &scumble_worker::ModelConfig::default()).expect("weights");
    Arc::new(Local::new(Model { source, precision: Precision { device: Device::Cpu, dtype: None } }))
}

/// A watch that hears nothing and never stops a run.
pub struct Quiet;

impl Watch for Quiet {
    fn stage(&self, _: Stage) {}
    fn step(&self, _: usize, _: usize, _: &dyn Fn() -> Option<Pixels>) {}
    fn log(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}
