//! Small pictures for examples: they work everywhere, offline too.

/// A hill under a sun, 256x256.
macro_rules! sample_picture {
    () => {
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAQAAAAEAAgMAAAAhHED1AAAADFBMVEWWyPD6vjxGglDw8PDXpXYhAAACDUlEQVR42u2ZPW7CQBCFZ9fQuHKRA6SKkLkER0hBQZmjcBQ3kRIrilJRcwqSOySFqzRYkIL/ZcfMjBMkwnvVrmE+z7z9gbWJIAiCIAiCIOhYTvPdIc3fwouJKp6Su4/gqpcDboiIumQGdAdERDQ0A7K4aWKAG6wb90ZA56ihBGTMwIsBg0hLA3CRXFSATrSpAGTc7PdqCwITvGHNZca1EJdXexh0vNrDoJ5zldAaMGB7Z8rA8ZZejIltAR2+ezUeAPAvADXfvRoPlofd6jczEP7R/Lzd700ucRQq1lIhoGY75yphydYjPS/sj+PEUkLFTUspoObWthSwZCyQn5l2JkxsM7FiVqYYUDPbm/zYt6nh1bqYqmgFigwWqxRe7Mv5i4ho3uLoS+955OwMQRAEQRAEQRD0Z2p821duGrOxHuCfDvvfDypAWkSObSMxILx7UxaxY1/OxFNaSjLgbs8kcZRB2hh//HEIyIsT4+7LRkA+Pj11ygaAJD4geH38IcGdmD3Mo4BRLAN5/P5Q7wC+UKzB3Zd3zw+eVau4258GGeTKfSAPTEwL7U6yNtIbDDgISSwG7NuwyiA1bYe9bQmGArZhfosyKF2PQloYAbQYUUJEj/Yfhf7UWx3c+OjCDUKpmW+VAFHPNW/CgrHstYsnV7YE4F0bAAAAAAAAAAAAAAAAAAAAAAAAAAAAAMj0A46VUgGUFKtxAAAAAElFTkSuQmCC"
    };
}

/// White where the sun of [`sample_picture`] is.
macro_rules! sample_mask {
    () => {
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAQAAAAEAAQAAAAB0CZXLAAAAMklEQVR42u3KoRHAIAAAsT8W6P6b4kBVozkSnQJe8a3frBqnLwiCIAiCIAgAAAAAcIsNVCwKnz9y/6IAAAAASUVORK5CYII="
    };
}

/// The example of what paints a part of a picture anew.
pub(super) const INPAINTING: &str = concat!(
    r#"{"prompt": "a hot-air balloon", "image_url": ""#,
    sample_picture!(),
    r#"", "mask_url": ""#,
    sample_mask!(),
    r#""}"#
);

/// The example of what draws a picture anew.
pub(super) const STARTING_FROM_A_PICTURE: &str = concat!(
    r#"{"prompt": "A hill under a low winter sun, woodcut in two colours", "image_url": ""#,
    sample_picture!(),
    r#""}"#
);

pub(super) use sample_picture;
