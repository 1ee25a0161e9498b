//! A request in the engine's terms, and what of it the engine cannot follow.

use scumble_api::{Family, Problem};
use scumble_engine::Call;
use scumble_engine::families::{self, Family as Engine};
use serde_json::Value;

use super::super::{Request, RunError, Watch};

/// Fields that others see to: how pictures are stored and given back, and whether they are looked at.
const ELSEWHERE: &[&str] = &["output_format", "sync_mode", "enable_safety_checker"];

/// The call. What is asked and cannot be followed is an error where the picture would be another one, and a line in the
/// job's log where it only says how to get there.
pub(super) fn call(request: &Request, watch: &dyn Watch) -> Result<Call, RunError> {
    let family = request.endpoint.family.pipeline().and_then(families::find);
    let unfollowed = family.map_or_else(Vec::new, |family| unfollowed(request, family));
    let problems: Vec<Problem> = unfollowed.iter().filter_map(|(name, value)| refusal(name, value)).collect();
    if !problems.is_empty() {
        return Err(RunError::Invalid(problems));
    }
    for (name, value) in unfollowed {
        if let Some(line) = remark(name, value) {
            watch.log(&line);
        }
    }
    Ok(as_call(request))
}

/// The values that neither the engine nor anybody else sees to.
fn unfollowed<'a>(request: &'a Request, family: &Engine) -> Vec<(&'a str, &'a Value)> {
    let known = |name: &str| family.accepts.contains(&name) || ELSEWHERE.contains(&name);
    request.values.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !known(name)).collect()
}

/// Adapters and pictures make another picture.
fn refusal(name: &str, value: &Value) -> Option<Problem> {
    let asked = match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) => true,
        _ => false,
    };
    asked.then(|| {
        let message = format!("{name} cannot be followed by the model that runs here; leave it out");
        Problem::new(&[name], "value_error", message)
    })
}

fn remark(name: &str, value: &Value) -> Option<String> {
    match (name, value) {
        ("expand_prompt", Value::Bool(true)) => {
            Some("expand_prompt: no language model is here to make the prompt longer; it is used as it is".to_owned())
        }
        ("acceleration", Value::String(how)) if how == "high" => {
            Some("acceleration: this model computes every step in full, whatever is asked".to_owned())
        }
        _ => None,
    }
}

fn as_call(request: &Request) -> Call {
    let input = &request.input;
    let scale = input.guidance.unwrap_or(1.0);
    // the starter was not distilled: its guidance is the true one, against the empty prompt
    let (guidance, true_cfg) = match request.endpoint.family {
        Family::Starter => (1.0, scale),
        _ => (scale, 1.0),
    };
    let size = input.size.pixels(None);
    Call {
        prompt: input.prompt.clone(),
        negative: input.negative_prompt.clone(),
        width: size.width as usize,
        height: size.height as usize,
        steps: input.steps as usize,
        guidance,
        true_cfg,
        seed: request.seed,
        images: input.images as usize,
        max_sequence_length: input.max_sequence_length.map(|n| n as usize),
    }
}
