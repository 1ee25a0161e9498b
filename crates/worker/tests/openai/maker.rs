//! What a maker gets of an edit.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::response::Json;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::ImageFormat;
use scumble_testkit::server::{Setup, TestServer};
use scumble_worker::makers::{Makers, Options, Secret, Settings};
use scumble_worker::{Models, ModelsConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::form::Form;
use crate::{EDITS, announced, answer, decoded, file, inside, mask, photo, roomy};

/// Stands in for Black Forest Labs, and keeps what it was sent.
struct Maker {
    url: String,
    orders: Arc<Mutex<Vec<Value>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Maker {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let orders: Arc<Mutex<Vec<Value>>> = Arc::default();
        let at = url.clone();
        let order = async move |State(orders): State<Arc<Mutex<Vec<Value>>>>, Json(body): Json<Value>| {
            orders.lock().unwrap().push(body);
            Json(json!({ "id": "1", "polling_url": format!("{at}/v1/get_result?id=1"), "cost": 5.0 }))
        };
        let at = url.clone();
        let poll = async move || {
            Json(
                json!({ "id": "1", "status": "Ready", "result": { "sample": format!("{at}/result.jpeg"), "seed": 7 } }),
            )
        };
        let picture = async || ([("content-type", "image/jpeg")], file(&photo(512, 256), ImageFormat::Jpeg));
        let router = axum::Router::new()
            .route("/v1/flux-pro-1.0-fill", post(order))
            .route("/v1/get_result", get(poll))
            .route("/result.jpeg", get(picture))
            .with_state(orders.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, orders, _serving: AbortOnDropHandle::new(serving) }
    }

    async fn server(&self) -> TestServer {
        let mut settings = Settings::default();
        settings.bfl.api_key = Some(Secret::new("canary-51c09ae7b3"));
        settings.bfl.base_url = Some(self.url.clone());
        let options = Options { allow_private: true, pace: Some(0.01), ..Options::default() };
        let makers = Some(Arc::new(Makers::new(&settings, options).unwrap()));
        let models = Models::new(&ModelsConfig { makers, ..ModelsConfig::default() }).unwrap();
        announced(TestServer::answering(Setup { server: roomy(), ..Setup::default() }, models).await).await
    }
}

#[tokio::test]
async fn a_mask_reaches_the_maker_white_where_to_paint_and_its_jpeg_comes_back_as_asked() {
    let maker = Maker::new().await;
    let server = maker.server().await;
    let form = Form::new(&[("model", "gpt-image-1"), ("prompt", "a hat"), ("output_format", "webp")]);
    let form = form.file("image", &file(&photo(512, 256), ImageFormat::Png));
    let form = form.file("mask", &file(&mask(512, 256), ImageFormat::Png));
    let found = answer(form.sent(&server, EDITS), 200).await;
    assert_eq!(inside(&found, 0).0, ImageFormat::WebP);
    let order = maker.orders.lock().unwrap()[0].clone();
    let sent = |name: &str| decoded(&STANDARD.decode(order[name].as_str().unwrap()).unwrap()).1.into_luma8();
    let (mask, picture) = (sent("mask"), sent("image"));
    assert_eq!((mask.dimensions(), picture.dimensions()), ((512, 256), (512, 256)));
    assert_eq!((mask.get_pixel(40, 8).0, mask.get_pixel(500, 8).0), ([255], [0]));
}
