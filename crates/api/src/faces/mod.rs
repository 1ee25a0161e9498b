//! What programs can read about the endpoints: OpenAPI, a catalogue, and text for language models. All of it is made
//! from the table.

mod catalogue;
mod fields;
mod llms;
mod openapi;
mod terminal;

pub use catalogue::{CatalogueQuery, catalogue};
pub use fields::fields_of;
pub use llms::{llms, llms_of};
pub use openapi::{Edition, openapi, openapi_of_server};
pub use terminal::{terminal_fields, terminal_list, terminal_page};

/// Where a reader of these documents finds this server: `https://queue.example.com`, without a slash at the end.
#[derive(Clone, Debug)]
pub struct Places {
    /// Direct calls.
    pub run: String,
    /// The queue.
    pub queue: String,
    /// Pages and documents.
    pub pages: String,
}
