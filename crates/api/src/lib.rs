//! The contract of Scumble: endpoints, inputs, results and errors. Pure: no I/O, no clock, no randomness.
//!
//! One table, [`ENDPOINTS`], says what can be called and with what. [`Endpoint::parse`] turns a caller's JSON into an
//! [`Input`] with every default filled, or into fal's list of problems. Everything that is serialized to a user is
//! defined here.

mod answers;
mod cut;
mod endpoint;
mod endpoint_id;
mod endpoints;
mod error;
pub mod faces;
mod field;
mod image_format;
mod image_size;
mod input;
mod json;
mod lifecycle;
mod openai;
mod options;
mod output;
mod problems;
pub mod published;
mod queue;
mod retry;
mod traceparent;
mod uploads;
mod validate;
mod webhook;

pub use answers::{AboutWorker, Answers, Checks, Lack, Standing};
pub use cut::{ECHO_BYTES, cut, cut_text};
pub use endpoint::{Endpoint, Family, Maker, Sizing};
pub use endpoint_id::{AppPath, EndpointId};
pub use endpoints::{ENDPOINTS, STARTER_WORDS, find};
pub use error::{ErrorAnswer, ErrorType, Problem, retryable};
pub use field::{Field, Fill, Kind, Scope, Shade, Shape};
pub use image_format::{Encoding, ImageFormat};
pub use image_size::{ImageSize, PRESETS, SizeLimits};
pub use input::{ImageRequest, Input, InputPicture, InputWeights, SAFETY_CHECKER, Size};
pub use json::{Count, Unread, VALUES_MAX, read_json, read_value};
pub use lifecycle::{Acl, AclDecision, AclRule, Lifecycle};
pub use openai::{
    OpenAiAliases, OpenAiCall, OpenAiError, OpenAiEvent, OpenAiRequest, OpenAiSaid, OpenAiTask, is_openai_name,
    openai_error_event, openai_form_value, openai_images, openai_list, openai_model,
};
pub use options::{JobOptions, tags};
pub use output::{
    Delivered, FILE_SCHEME, FLAGS_HELP, FileShape, INLINE_SCHEME, Image, MadePicture, Output, OutputShape, OwnFile,
    own_files,
};
pub use problems::{PROBLEMS, ProblemKind};
pub use queue::{LogLine, Metrics, QueueStatus, Status, Submitted};
pub use retry::{Fault, RetryRules, rest_ms};
pub use traceparent::Traceparent;
pub use uploads::{
    CdnToken, CdnTokenRequest, CompleteUpload, InitiateUpload, InitiatedUpload, MultipartUpload, SignRequest,
    UploadPart, Uploaded,
};
pub use webhook::{Jwk, Jwks, KEY_PURPOSE, KeyRing, NO_USER, Notice, UnusableKey, WebhookBody, WebhookStatus};
