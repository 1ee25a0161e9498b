//! OpenAI's image API on the same endpoints: generations, edits and variations, and the list of models.
//!
//! [`OpenAiCall::read`] turns what a program said into the inputs of jobs: which endpoint its model's name means
//! (`names`), the size (`sizes`), how many jobs make so many pictures (`count`), how pictures are written (`format`),
//! where the caller's own go (`pictures`). Words of OpenAI's that mean nothing to a model here (`quality`, `style`,
//! `background`, `moderation`, `user`) are taken and have no effect.

mod answer;
mod call;
mod count;
mod errors;
mod events;
mod format;
mod models;
mod names;
mod pictures;
mod sizes;
mod words;

pub use answer::openai_images;
pub use call::{OpenAiCall, OpenAiRequest, OpenAiSaid};
pub use errors::OpenAiError;
pub use events::{OpenAiEvent, openai_error_event};
pub use models::{openai_list, openai_model};
pub use names::{OpenAiAliases, OpenAiTask, is_openai_name};
pub use words::openai_form_value;
