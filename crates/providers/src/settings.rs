//! What the owner may set about makers: `[providers.bfl]` and its siblings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::core::secret::Secret;

/// All makers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Black Forest Labs.
    pub bfl: BflSettings,
    /// Ideogram.
    pub ideogram: IdeogramSettings,
    /// Google.
    pub google: GoogleSettings,
    /// Recraft.
    pub recraft: RecraftSettings,
    /// fal itself.
    pub fal: FalSettings,
}

/// The settings of one maker: those that all have, and its own.
macro_rules! maker_settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            /// Whether its endpoints are answered by it at all.
            pub enabled: bool,
            /// The owner's key.
            pub api_key: Option<Secret>,
            /// Where its API is; its public address where absent.
            pub base_url: Option<String>,
            /// How long one call may take from being sent, in seconds.
            pub deadline_s: Option<f64>,
            /// Calls in flight at once, over all jobs of the process.
            #[serde(alias = "max_in_flight")]
            pub concurrency: Option<usize>,
            /// US dollars a day (UTC); no limit where absent.
            #[serde(alias = "daily_budget_usd")]
            pub spend_per_day: Option<f64>,
            /// Whether pictures are cut to the caller's size where the maker draws other sizes only.
            pub exact_size: Option<bool>,
            /// Paths that the maker has renamed: ours to its.
            pub paths: BTreeMap<String, String>,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    enabled: true,
                    api_key: None,
                    base_url: None,
                    deadline_s: None,
                    concurrency: None,
                    spend_per_day: None,
                    exact_size: None,
                    paths: BTreeMap::new(),
                    $($field: $default,)*
                }
            }
        }

        impl $name {
            pub(crate) fn common(&self) -> Common<'_> {
                Common {
                    enabled: self.enabled,
                    api_key: self.api_key.as_ref().filter(|key| !key.is_empty()),
                    base_url: self.base_url.as_deref().filter(|url| !url.trim().is_empty()),
                    deadline_s: self.deadline_s,
                    concurrency: self.concurrency,
                    spend_per_day: self.spend_per_day,
                    paths: &self.paths,
                }
            }
        }
    };
}

/// What all makers' settings have.
pub(crate) struct Common<'a> {
    pub(crate) enabled: bool,
    pub(crate) api_key: Option<&'a Secret>,
    pub(crate) base_url: Option<&'a str>,
    pub(crate) deadline_s: Option<f64>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) spend_per_day: Option<f64>,
    pub(crate) paths: &'a BTreeMap<String, String>,
}

maker_settings! {
    /// `[providers.bfl]`.
    BflSettings {
        /// What answers `fal-ai/flux-pro`.
        flux_pro_model: String = "flux-pro-1.1".to_owned(),
    }
}

maker_settings! {
    /// `[providers.ideogram]`.
    IdeogramSettings {
        /// The model behind `fal-ai/ideogram/v2`.
        v2_model: String = "V_2".to_owned(),
        /// Where masked parts are drawn anew; `/v1/ideogram-v3/edit` is its old name.
        inpaint_path: String = "/v1/ideogram-v3/inpaint".to_owned(),
        /// Whether callers paint white what is to be drawn anew. Ideogram itself wants it black.
        fal_mask_white_is_edited: bool = false,
    }
}

/// Which of Google's doors is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GoogleMode {
    /// The Gemini API, with a key.
    #[default]
    Gemini,
    /// Vertex AI, with a service account or a key.
    Vertex,
}

maker_settings! {
    /// `[providers.google]`.
    GoogleSettings {
        /// Gemini API or Vertex AI.
        mode: GoogleMode = GoogleMode::Gemini,
        /// A service account's key file.
        service_account: Option<PathBuf> = None,
        /// The project of Vertex AI; the service account's own where absent.
        project: Option<String> = None,
        /// The location of Vertex AI.
        location: String = "global".to_owned(),
        /// What answers `fal-ai/imagen4/preview`.
        imagen4_model: String = "gemini-3.1-flash-image".to_owned(),
        /// What answers `fal-ai/imagen4/preview/fast`.
        imagen4_fast_model: String = "gemini-3.1-flash-image".to_owned(),
        /// How much the model thinks; empty to say nothing about it.
        thinking: String = "HIGH".to_owned(),
        /// The same for the fast endpoint.
        thinking_fast: String = "MINIMAL".to_owned(),
        /// Whether `negative_prompt` is dropped instead of being added to the prompt.
        ignore_negative_prompt: bool = false,
        /// Whether JPEG files stay as they are; else they become PNG, as fal's are.
        keep_jpeg: bool = false,
    }
}

maker_settings! {
    /// `[providers.recraft]`.
    RecraftSettings {
        /// The model that is asked for.
        model: String = "recraftv2".to_owned(),
        /// Whether a style that is not quite there is an error.
        strict_styles: bool = false,
        /// What the account allows.
        images_per_minute: u32 = 100,
        /// What the account allows.
        requests_per_second: u32 = 5,
    }
}

maker_settings! {
    /// `[providers.fal]`.
    FalSettings {
        /// What a picture may cost at most, for `spend_per_day`: fal's answers do not tell their price.
        usd_per_image: f64 = 0.0,
    }
}
