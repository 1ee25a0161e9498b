//! Several that could answer an endpoint, in the owner's order.

use std::sync::Arc;
use std::time::Duration;

use scumble_api::{Answers, Endpoint, Input, Problem};

use super::{Drawn, Needs, Request, RunError, Runner, Watch};

/// One of them.
pub(crate) struct Choice {
    /// As settings name it: `local`, `bfl`.
    pub(crate) name: &'static str,
    pub(crate) runner: Arc<dyn Runner>,
}

/// The first that can; the job's log says which, and why not another.
pub(crate) struct Choices {
    /// Why the first is the first.
    pub(crate) because: String,
    /// At least one.
    pub(crate) choices: Vec<Choice>,
}

#[async_trait::async_trait]
impl Runner for Choices {
    fn needs(&self) -> Needs {
        let every = self.choices.iter().any(|choice| choice.runner.needs() == Needs::Every);
        if every { Needs::Every } else { Needs::Near }
    }

    fn preload(&self, endpoint: &'static Endpoint, watch: &dyn Watch) -> Option<Result<(), RunError>> {
        self.choices.iter().find_map(|choice| choice.runner.preload(endpoint, watch))
    }

    fn draws_prompts(&self) -> bool {
        self.choices.iter().any(|choice| choice.runner.draws_prompts())
    }

    fn loads_adapters(&self) -> bool {
        self.choices.iter().any(|choice| choice.runner.loads_adapters())
    }

    /// Whoever is asked first.
    fn refuses(&self, input: &Input) -> Vec<Problem> {
        self.choices.first().map_or_else(Vec::new, |choice| choice.runner.refuses(input))
    }

    /// One may be asked after the other.
    fn longest(&self) -> Option<Duration> {
        self.choices.iter().map(|choice| choice.runner.longest()).sum()
    }

    fn answers(&self, endpoint: &Endpoint) -> Answers {
        let said = |choice: &Choice| choice.runner.answers(endpoint);
        let mut answers: Vec<Answers> = self.choices.iter().map(said).collect();
        let first = answers.iter().position(|answers| !matches!(answers, Answers::Nothing { .. })).unwrap_or(0);
        answers.swap_remove(first)
    }

    async fn run(&self, request: Request, watch: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        let mut because = self.because.clone();
        // what was begun at a maker goes on there
        let begun = request.resume.as_ref().map(|submitted| submitted.maker.as_str());
        let first = begun.and_then(|maker| self.choices.iter().position(|choice| choice.name == maker)).unwrap_or(0);
        for (place, choice) in self.choices.iter().enumerate().skip(first) {
            watch.log(&format!("answered by {}: {because}", choice.name));
            match choice.runner.run(request.clone(), watch.clone()).await {
                Err(error) if place + 1 < self.choices.len() && is_away(&error) => {
                    because = format!("{} cannot answer now ({error})", choice.name);
                }
                ended => return ended,
            }
        }
        Err(RunError::Unavailable("nothing is configured to answer this endpoint".to_owned()))
    }
}

/// Whether nothing was made and nothing was paid, so that another may be asked.
fn is_away(error: &RunError) -> bool {
    match error {
        RunError::Unavailable(_) => true,
        RunError::Answered(answer) => answer.body["detail"][0]["type"] == "downstream_service_unavailable",
        _ => false,
    }
}
