//! The table of endpoints: data, a file per family.

mod adapters;
mod aura_flow;
mod f_lite;
mod fields;
mod flux;
mod flux_lora;
mod flux_pro;
mod hidream;
mod ideogram_v2;
mod ideogram_v3;
mod imagen;
mod omnigen;
mod recraft;
mod rgb;
mod samples;
mod stable_diffusion;
mod starter;

pub use starter::STARTER_WORDS;

use crate::endpoint::Endpoint;

/// Everything that can be called.
pub static ENDPOINTS: &[Endpoint] = &[
    starter::STARTER,
    flux::SCHNELL,
    flux::SCHNELL_1,
    flux::DEV,
    flux::DEV_PICTURE,
    flux_lora::TEXT,
    flux_lora::PICTURE,
    flux_lora::FILL,
    stable_diffusion::LARGE,
    hidream::FULL,
    hidream::DEV,
    hidream::FAST,
    omnigen::V2,
    aura_flow::AURA_FLOW,
    f_lite::STANDARD,
    f_lite::TEXTURE,
    flux_pro::PRO,
    flux_pro::PRO_1_1,
    flux_pro::ULTRA,
    flux_pro::FILL,
    flux_pro::REDUX,
    flux_pro::REDUX_1_1,
    flux_pro::ULTRA_REDUX,
    ideogram_v2::V2,
    ideogram_v3::GENERATE,
    ideogram_v3::EDIT,
    ideogram_v3::REMIX,
    ideogram_v3::REFRAME,
    ideogram_v3::REPLACE_BACKGROUND,
    imagen::PREVIEW,
    imagen::FAST,
    recraft::V2,
];

/// The endpoint of this id.
pub fn find(id: &str) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|e| e.id == id)
}
