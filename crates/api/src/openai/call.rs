//! What a program asks for, in our words.

use serde_json::{Map, Value};

use super::errors::OpenAiError;
use super::names::{OpenAiAliases, OpenAiTask, Wanted, gives_base64};
use super::words::{flag, notes, text, whole};
use super::{count, format, pictures, sizes};
use crate::answers::Answers;
use crate::endpoint::Endpoint;
use crate::image_format::Encoding;

/// Most partial pictures of a stream, as OpenAI limits them.
const PARTIALS_MAX: u64 = 3;

/// What a program said.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiRequest<'a> {
    /// Which call it is.
    pub task: OpenAiTask,
    /// Its words.
    pub given: &'a Map<String, Value>,
    /// How many pictures came along.
    pub pictures: usize,
    /// Whether a mask came along.
    pub mask: bool,
}

/// A call of OpenAI's, in our words.
#[derive(Clone, Debug)]
pub struct OpenAiCall {
    /// Which call it is.
    pub task: OpenAiTask,
    /// What is called.
    pub endpoint: &'static Endpoint,
    /// The input of each job, not checked yet.
    pub inputs: Vec<Value>,
    /// How the pictures are written, where that is not left to the endpoint.
    pub encoding: Option<Encoding>,
    /// Whether nobody said how large the pictures shall be, so that they are like those that were given.
    pub like_picture: bool,
    /// Whether the answer holds the pictures themselves instead of URLs.
    pub as_base64: bool,
    /// Where the answer is a stream: at most how many partial pictures.
    pub partials: Option<u64>,
    /// Words that were not taken: lines for the log of the first job.
    pub notes: Vec<String>,
    /// What is repeated in answers.
    pub said: OpenAiSaid,
}

/// Words of a call that its answer repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAiSaid {
    /// `auto` where nothing was said.
    pub size: String,
    /// `auto` where nothing was said.
    pub quality: String,
    /// Whether the name is of a kind whose answers tell of size, format and tokens.
    pub(super) in_full: bool,
}

impl OpenAiCall {
    /// Reads a call. `answers` says what an endpoint's calls get here, as far as that is known.
    ///
    /// # Errors
    /// What a client of OpenAI's can show: which parameter is wrong, and what is allowed.
    pub fn read(
        request: OpenAiRequest<'_>,
        aliases: &OpenAiAliases,
        answers: &dyn Fn(&Endpoint) -> Option<Answers>,
    ) -> Result<Self, OpenAiError> {
        let OpenAiRequest { task, given, pictures, mask } = request;
        if task != OpenAiTask::Generate && pictures == 0 {
            return Err(OpenAiError::invalid(Some("image"), "image is missing: a PNG, JPEG or WebP file"));
        }
        let name = text(given, "model")?.filter(|name| !name.is_empty());
        let endpoint = aliases.endpoint(name, Wanted { task, pictures, mask }, answers)?;
        let mut input = Map::new();
        if let Some(prompt) = text(given, "prompt")? {
            input.insert("prompt".into(), prompt.into());
        }
        if task == OpenAiTask::Vary {
            pictures::vary(endpoint, &mut input);
        }
        sizes::set(endpoint, given, &mut input)?;
        let encoding = format::set(endpoint, name, given, &mut input)?;
        let counts = count::of_jobs(endpoint, given)?;
        let partials = whole(given, "partial_images", (0, PARTIALS_MAX))?.unwrap_or(0);
        let word = |name: &str| Ok(sizes::short(text(given, name)?.unwrap_or("auto")));
        Ok(Self {
            task,
            endpoint,
            inputs: counts.into_iter().map(|count| with_count(&input, count)).collect(),
            encoding,
            like_picture: task != OpenAiTask::Generate && sizes::is_auto(given)?,
            as_base64: format::as_base64(name, given)?,
            notes: notes(endpoint, given),
            partials: flag(given, "stream")?.then_some(partials),
            said: OpenAiSaid { size: word("size")?, quality: word("quality")?, in_full: gives_base64(name) },
        })
    }

    /// Puts pictures and mask, each by its URL, into every job's input.
    pub fn give(&mut self, urls: &[String], mask: Option<&str>) {
        for input in self.inputs.iter_mut().filter_map(Value::as_object_mut) {
            pictures::give(self.endpoint, input, urls, mask);
        }
    }
}

/// One picture is what every endpoint makes where nobody says.
fn with_count(input: &Map<String, Value>, count: u64) -> Value {
    let mut input = input.clone();
    if count > 1 {
        input.insert("num_images".into(), count.into());
    }
    Value::Object(input)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(task: OpenAiTask, pictures: usize, given: Value) -> Result<OpenAiCall, (u16, String)> {
        let Value::Object(given) = given else { panic!("an object") };
        let request = OpenAiRequest { task, given: &given, pictures, mask: false };
        OpenAiCall::read(request, &OpenAiAliases::default(), &|_| None)
            .map_err(|error| (error.status, error.param.unwrap_or_default()))
    }

    #[test]
    fn their_words_become_ours() {
        let schnell = |rest: Value| {
            let mut given = json!({ "model": "fal-ai/flux/schnell", "prompt": "x" });
            given.as_object_mut().expect("an object").extend(rest.as_object().cloned().unwrap_or_default());
            read(OpenAiTask::Generate, 0, given)
        };
        let inputs = |rest: Value| schnell(rest).map(|call| call.inputs);
        let ignored = json!({ "quality": "hd", "user": "u", "size": "auto", "background": "transparent" });
        assert_eq!(inputs(ignored), Ok(vec![json!({ "prompt": "x" })]));
        let all = json!({ "prompt": "x", "image_size": { "width": 640, "height": 480 }, "output_format": "png", "num_images": 2 });
        assert_eq!(inputs(json!({ "size": "640x480", "n": 2, "output_format": "png" })), Ok(vec![all]));
        assert_eq!(schnell(json!({ "stream": true, "partial_images": 2 })).map(|call| call.partials), Ok(Some(2)));
        assert_eq!(schnell(json!({ "stream": true })).map(|call| call.partials), Ok(Some(0)));
        assert_eq!(schnell(json!({ "partial_images": 2 })).map(|call| call.partials), Ok(None));
        for (bad, param) in [
            (json!({ "size": "huge" }), "size"),
            (json!({ "n": 11 }), "n"),
            (json!({ "n": "2" }), "n"),
            (json!({ "output_format": "gif" }), "output_format"),
            (json!({ "response_format": "file" }), "response_format"),
            (json!({ "stream": "yes" }), "stream"),
            (json!({ "partial_images": 4 }), "partial_images"),
            (json!({ "prompt": 5 }), "prompt"),
            (json!({ "model": 5 }), "model"),
        ] {
            assert_eq!(inputs(bad), Err((400, param.to_owned())));
        }
    }

    #[test]
    fn words_that_are_not_theirs_are_named() {
        let given = json!({ "model": "fal-ai/flux-lora-fill", "prompt": "x", "loras": "[]", "user": "u", "lora": 1 });
        let notes = read(OpenAiTask::Edit, 1, given).expect("a call").notes;
        let [has, has_not] = &notes[..] else { panic!("{notes:?}") };
        assert!(has.contains("no loras;") && has.ends_with("POST /run/fal-ai/flux-lora-fill"), "{has}");
        assert!(has_not.contains("no lora, nor has fal-ai/flux-lora-fill"), "{has_not}");
        let many: Map<String, Value> = (0..500).map(|n| (format!("{}{n}", "k".repeat(99)), Value::Null)).collect();
        let notes = read(OpenAiTask::Generate, 0, Value::Object(many)).expect("a call").notes;
        assert!(notes.len() == 20 && notes.iter().all(|note| note.len() < 200), "{notes:?}");
    }

    #[test]
    fn pictures_go_where_the_endpoint_takes_them() {
        let given = |id: &str, urls: &[&str], mask: Option<&str>| {
            let mut call = read(OpenAiTask::Edit, urls.len(), json!({ "model": id, "prompt": "x" })).expect("a call");
            call.give(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>(), mask);
            call.inputs.remove(0)
        };
        assert_eq!(given("fal-ai/flux-pro/v1/redux", &["a"], None), json!({ "prompt": "x", "image_url": "a" }));
        let several = json!({ "prompt": "x", "input_image_urls": ["a", "b"] });
        assert_eq!(given("fal-ai/omnigen-v2", &["a", "b"], None), several);
        let masked = |mask: &str| json!({ "prompt": "x", "image_url": "a", "mask_url": mask });
        assert_eq!(given("fal-ai/flux-pro/v1/fill", &["a"], Some("m")), masked("m"));
        assert_eq!(given("fal-ai/flux-pro/v1/fill", &["a"], None), masked("a"), "where it is transparent");
        let vary = |id: &str| read(OpenAiTask::Vary, 1, json!({ "model": id })).map(|call| call.inputs);
        assert_eq!(vary("fal-ai/flux/dev/image-to-image"), Ok(vec![json!({ "prompt": "", "strength": 0.75 })]));
        assert_eq!(vary("fal-ai/flux-pro/v1/redux"), Ok(vec![json!({})]));
        assert_eq!(read(OpenAiTask::Edit, 0, json!({})).map(|_| ()), Err((400, "image".into())));
    }
}
