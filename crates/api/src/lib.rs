//! The contract of Scumble: endpoints, inputs, results and errors. Pure: no I/O, no clock, no randomness.
//!
//! One table, [`ENDPOINTS`], says what can be called and with what. [`Endpoint::parse`] turns a caller's JSON into an
//! [`Input`] with every default filled, or into fal's list of problems. Everything that is serialized to a user is
//! defined here.

mod endpoint;
mod endpoints;
mod error;
pub mod faces;
mod image_size;
mod input;
mod lifecycle;
mod options;
mod output;
mod queue;
mod retry;
mod uploads;
mod validate;
mod webhook;

pub use endpoint::{AppPath, Endpoint, EndpointId, Family, Field, Fill, Kind, Scope};
pub use endpoints::{ENDPOINTS, find};
pub use error::{ErrorAnswer, ErrorType, Problem};
pub use image_size::{ImageSize, PRESETS};
pub use input::{ImageFormat, Input, TextToImage};
pub use lifecycle::{Acl, AclDecision, AclRule, Lifecycle};
pub use options::{JobOptions, tags};
pub use output::{Delivered, FILE_SCHEME, INLINE_SCHEME, Image, ImagesOutput, OwnFile, own_files};
pub use queue::{LogLine, Metrics, QueueStatus, Status, Submitted};
pub use retry::{Fault, RetryRules, rest_ms};
pub use uploads::{
    CdnToken, CdnTokenRequest, CompleteUpload, InitiateUpload, InitiatedUpload, MultipartUpload, SignRequest,
    UploadPart, Uploaded,
};
pub use webhook::{Jwk, Jwks, KEY_PURPOSE, KeyRing, NO_USER, Notice, UnusableKey, WebhookBody, WebhookStatus};
