//! The types of problems with an input, with what each means and what to do: docs/ERRORS.md is made of this.

/// A type of [`Problem`](crate::Problem).
#[derive(Clone, Copy, Debug)]
pub struct ProblemKind {
    /// Its name on the wire.
    pub kind: &'static str,
    /// What it says.
    pub means: &'static str,
    /// What its caller can do.
    pub advice: &'static str,
}

const fn kind(kind: &'static str, means: &'static str, advice: &'static str) -> ProblemKind {
    ProblemKind { kind, means, advice }
}

/// Instead of advice, where the message has it.
const SEE: &str = "the message says what is expected";

/// All of them, in the order of what they are about: the body, its values, pictures and files, what the model or its maker
/// says.
pub const PROBLEMS: &[ProblemKind] = &[
    kind("json_invalid", "the body is not JSON", "send JSON; the message says where it breaks off"),
    kind("missing", "a field that is needed is not there", "add the field that `loc` names"),
    kind("value_error", "a value does not fit, alone or together with others", SEE),
    kind("string_type", "not a text", SEE),
    kind("string_pattern_mismatch", "a text of another form", "`ctx.pattern` has the form"),
    kind("literal_error", "none of the words that are allowed", "`ctx.expected` lists them"),
    kind("one_of", "none of the values that a maker takes", "`ctx.expected` lists them"),
    kind("bool_type", "neither true nor false", SEE),
    kind("bool_parsing", "a text that means neither true nor false", SEE),
    kind("int_type", "not a whole number", SEE),
    kind("int_parsing", "a text that is not a whole number", SEE),
    kind("int_from_float", "a number with a fraction where a whole one is needed", SEE),
    kind("float_type", "not a number", SEE),
    kind("float_parsing", "a text that is not a number", SEE),
    kind("greater_than_equal", "a number that is too small", "`ctx.ge` is the least"),
    kind("less_than_equal", "a number that is too large", "`ctx.le` is the most"),
    kind("list_type", "not a list", SEE),
    kind("sequence_too_short", "a list or text that is too short", "`ctx.min_length` is the least"),
    kind("sequence_too_long", "a list or text that is too long", "`ctx.max_length` is the most"),
    kind("model_attributes_type", "not an object", SEE),
    kind("image_size_type", "neither a name of a size nor an object with width and height", SEE),
    kind(
        "url_parsing",
        "an address that cannot be used, such as that of a webhook",
        "the message says why it is refused",
    ),
    kind("idempotency_key_reused", "the word was used for another request before", "use a word for one request only"),
    kind("image_load_error", "a file that is not a picture, or a damaged one", "send another file"),
    kind(
        "unsupported_image_format",
        "a picture of a kind that is not read",
        "`ctx.supported_formats` lists those that are",
    ),
    kind("image_too_small", "a picture with too few pixels", "`ctx.min_width` and `ctx.min_height` are the least"),
    kind("image_too_large", "a picture with too many pixels", "`ctx.max_width` and `ctx.max_height` are the most"),
    kind(
        "file_download_error",
        "a file cannot be fetched from where the input says",
        "check the address; the message says what its host answered",
    ),
    kind("file_too_large", "a file has too many bytes", "`ctx.max_size` is the most"),
    kind(
        "feature_not_supported",
        "the model or its maker cannot do that",
        "leave the field out, or call another endpoint",
    ),
    kind(
        "content_policy_violation",
        "a checker or a maker refuses prompt or picture",
        "change the prompt or the picture",
    ),
    kind("no_media_generated", "a maker gave no picture back", "change the prompt, or try once more"),
    kind(
        "invalid_api_key",
        "a maker refuses the key of this server's owner",
        "the owner has to set a valid key (see /docs/makers)",
    ),
    kind(
        "generation_timeout",
        "drawing took longer than it may",
        "ask for less (steps, size), or have the owner raise `run_s`",
    ),
    kind("downstream_service_error", "a maker failed", "try again later; the message has its words"),
    kind("downstream_service_unavailable", "a maker cannot be reached or is overloaded", "try again later"),
    kind("internal_server_error", "a maker's answer makes no sense", "the owner finds it in the server's log"),
];
