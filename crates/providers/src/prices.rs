//! Published prices, as of November 2026. What a maker says that a call cost comes first.

use crate::core::cost::Cost;

/// Model and price of one picture, in millionths of a dollar.
const PRICES: &[(&str, u64)] = &[
    ("flux-pro", 50_000),
    ("flux-pro-1.1", 40_000),
    ("flux-pro-1.1-ultra", 60_000),
    ("flux-pro-1.0-fill", 50_000),
    ("V_2", 80_000),
    ("V_2_TURBO", 50_000),
    ("V_2A", 40_000),
    ("V_2A_TURBO", 25_000),
    ("ideogram-v3/FLASH", 30_000),
    ("ideogram-v3/TURBO", 30_000),
    ("ideogram-v3/DEFAULT", 60_000),
    ("ideogram-v3/QUALITY", 90_000),
    ("gemini-3.1-flash-image/512", 45_000),
    ("gemini-3.1-flash-image/1K", 67_000),
    ("gemini-3.1-flash-image/2K", 101_000),
    ("gemini-3.1-flash-image/4K", 151_000),
    ("gemini-3.1-flash-lite-image/1K", 34_000),
    ("gemini-3-pro-image/1K", 134_000),
    ("gemini-3-pro-image/2K", 134_000),
    ("gemini-3-pro-image/4K", 240_000),
    ("imagen-4.0-fast-generate-001/1K", 20_000),
    ("imagen-4.0-generate-001/1K", 40_000),
    ("imagen-4.0-ultra-generate-001/1K", 60_000),
    ("recraftv2", 22_000),
    ("recraftv2/vector", 44_000),
];

/// The price of one picture; `None` for models that nobody has published one for.
pub(crate) fn of(model: &str) -> Option<Cost> {
    PRICES.iter().find(|(name, _)| *name == model).map(|(_, micros)| Cost::from_micros(*micros))
}
