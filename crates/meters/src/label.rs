//! The values that labels may have. Each list is known before anybody calls: no caller adds a value.

use std::collections::HashMap;
use std::sync::LazyLock;

use scumble_api::ENDPOINTS;

/// A label with a fixed list of values.
pub trait Label: Copy {
    /// Its name in the text.
    const NAME: &'static str;

    /// All values, in the order of [`index`](Label::index).
    fn values() -> Vec<&'static str>;

    /// The place of this value among them.
    fn index(self) -> usize;
}

/// An endpoint of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointLabel(usize);

/// What stands for an endpoint that is not in the catalogue: a job of another version of this program.
pub const OTHER: &str = "other";

/// Where each endpoint stands in the catalogue, so that a request finds its counter without a search.
static PLACES: LazyLock<HashMap<&'static str, usize>> =
    LazyLock::new(|| ENDPOINTS.iter().enumerate().map(|(index, endpoint)| (endpoint.id, index)).collect());

impl EndpointLabel {
    /// The label of this id.
    #[must_use]
    pub fn of(id: &str) -> Self {
        Self(PLACES.get(id).copied().unwrap_or(ENDPOINTS.len()))
    }

    /// The value, as the text has it.
    #[must_use]
    pub fn value(self) -> &'static str {
        ENDPOINTS.get(self.0).map_or(OTHER, |endpoint| endpoint.id)
    }
}

impl Label for EndpointLabel {
    const NAME: &'static str = "endpoint";

    fn values() -> Vec<&'static str> {
        ENDPOINTS.iter().map(|endpoint| endpoint.id).chain([OTHER]).collect()
    }

    fn index(self) -> usize {
        self.0
    }
}

/// Makes a label of an enum.
macro_rules! label {
    ($(#[$about:meta])* $kind:ident, $name:literal: $($(#[$says:meta])* $variant:ident = $value:literal),+ $(,)?) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $kind {
            $($(#[$says])* $variant,)+
        }

        impl Label for $kind {
            const NAME: &'static str = $name;

            fn values() -> Vec<&'static str> {
                vec![$($value),+]
            }

            fn index(self) -> usize {
                self as usize
            }
        }

        impl $kind {
            /// The one of this value, if there is such: others may use any word.
            #[must_use]
            pub fn named(value: &str) -> Option<Self> {
                match value {
                    $($value => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

label! {
    /// How a job has ended.
    End, "state":
    /// With an output.
    Done = "done",
    /// With an error.
    Failed = "failed",
    /// Because its caller wanted that.
    Cancelled = "cancelled",
}

label! {
    /// A stage of a run.
    Stage, "stage":
    /// Loading the model.
    Load = "load",
    /// Reading the prompt.
    TextEncode = "text_encode",
    /// Drawing.
    Denoise = "denoise",
    /// From latents to pixels.
    Decode = "decode",
    /// A safety checker looks at the pictures.
    Check = "check",
    /// A maker works.
    Inference = "inference",
}

label! {
    /// How a lease was lost.
    Loss, "how":
    /// Its worker gave no signs of life.
    Expired = "expired",
    /// Another worker had the job when this one came to its end.
    Taken = "taken",
}

label! {
    /// How an attempt to deliver a webhook went.
    Delivery, "outcome":
    /// The receiver has it.
    Delivered = "delivered",
    /// It will be tried again.
    Again = "again",
    /// It was given up.
    GivenUp = "given_up",
}

label! {
    /// How a call of a maker went.
    Call, "outcome":
    /// With pictures.
    Made = "made",
    /// The maker said no, or something failed.
    Failed = "failed",
    /// It was cancelled.
    Cancelled = "cancelled",
}

label! {
    /// Who keeps a closed model.
    Maker, "maker":
    /// Black Forest Labs.
    Bfl = "bfl",
    /// Ideogram.
    Ideogram = "ideogram",
    /// Google.
    Google = "google",
    /// Recraft.
    Recraft = "recraft",
    /// fal itself.
    Fal = "fal",
}

label! {
    /// How the loading of a model went.
    Load, "outcome":
    /// It is there.
    Loaded = "loaded",
    /// It could not be loaded.
    Failed = "failed",
    /// Nobody waited for it any more.
    Cancelled = "cancelled",
}

label! {
    /// Something that is kept so that it need not be made again.
    Cache, "cache":
    /// What prompts became.
    PromptEmbeddings = "prompt_embeddings",
    /// LoRAs and other adapters that were downloaded.
    Adapters = "adapters",
}

label! {
    /// Whether it was there.
    Lookup, "outcome":
    /// It was.
    Hit = "hit",
    /// It was not.
    Miss = "miss",
}

label! {
    /// Which room a connection is in.
    Room, "room":
    /// That of those who are served.
    Served = "served",
    /// That of those for whom there is no place: they hear so.
    Spare = "spare",
}

label! {
    /// The first digit of an answer's status.
    Class, "code":
    /// 1xx: the connection is a WebSocket from here on.
    Informational = "1xx",
    /// 2xx.
    Success = "2xx",
    /// 3xx.
    Redirect = "3xx",
    /// 4xx.
    ClientError = "4xx",
    /// 5xx.
    ServerError = "5xx",
}

impl Class {
    /// That of a status.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            ..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_catalogue_is_other() {
        let first = ENDPOINTS[0].id;
        assert_eq!(EndpointLabel::of(first).value(), first);
        for strange in ["", "a/b", "fal-ai/flux/schnell\"} 1", &"x".repeat(10_000)] {
            assert_eq!(EndpointLabel::of(strange).value(), OTHER, "{strange:.40}");
        }
        assert_eq!(EndpointLabel::values().len(), ENDPOINTS.len() + 1);
        assert_eq!(EndpointLabel::of("a/b").index(), ENDPOINTS.len());
    }

    #[test]
    fn stages_have_the_names_of_timings() {
        for name in Stage::values() {
            let stage = Stage::named(name).expect(name);
            assert_eq!(Stage::values()[stage.index()], name);
        }
        assert_eq!(Stage::named("of_another_maker"), None);
    }
}
