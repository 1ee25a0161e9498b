//! Pictures that callers give, from every source and in every broken form.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "common/drip.rs"]
mod drip;

use std::collections::HashMap;
use std::io::{Cursor, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use scumble_api::Problem;
use scumble_engine::{Pixels, Stage};
use scumble_files::Files;
use scumble_store::{Access, Decision, FileRecord, ManualClock, Options, SqliteStore};
use scumble_worker::runner::{Needs, RunError, Watch};
use scumble_worker::{Budget, Config, FetchConfig, GivenPicture, InputImage, InputPixels, Inputs, Models, Worker};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio_util::task::AbortOnDropHandle;

const NOW_MS: i64 = 1_800_000_000_000;

struct Desk {
    worker: Worker,
    inputs: Inputs,
    _folder: tempfile::TempDir,
}

impl Desk {
    async fn new(fetch: FetchConfig) -> Self {
        Self::within(fetch, Budget::default()).await
    }

    async fn within(fetch: FetchConfig, memory: Budget) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOW_MS));
        let options = Options { clock: clock.clone(), ..Options::default() };
        let store = Arc::new(SqliteStore::open(folder.path().join("scumble.db"), options).await.unwrap());
        let (files, models) = (Files::open("memory:").unwrap(), Arc::new(Models::with(HashMap::new())));
        let worker = Worker { store, files, models, clock, config: Config { fetch, memory, ..Config::default() } };
        Self { inputs: Inputs::new(&worker), worker, _folder: folder }
    }

    /// Stores a file with a row of its own; its path.
    async fn keep(&self, owner: Option<&str>, default: Decision, expires_ms: Option<i64>) -> String {
        let bytes = encoded(&two_colours(), ImageFormat::Png);
        let size = i64::try_from(bytes.len()).unwrap();
        let stored = self.worker.files.put(bytes.into(), "image/png", "a.png").await.unwrap();
        let record = FileRecord {
            path: stored.path.to_string(),
            job_id: None,
            content_type: stored.content_type,
            bytes: size,
            created_ms: NOW_MS,
            expires_ms,
            owner: owner.map(str::to_owned),
            access: Access { default, rules: Vec::new() },
        };
        self.worker.store.put_file(record).await.unwrap();
        stored.path.to_string()
    }

    async fn image(&self, text: &str) -> Result<InputImage, Problem> {
        self.inputs.image(&["image_url"], text).await
    }

    /// The pictures of a request with so many of them, all at this URL.
    async fn given(&self, pictures: usize, url: &str, watch: &dyn Watch) -> Result<Vec<GivenPicture>, RunError> {
        let more = vec![url; pictures - 1];
        let body = json!({ "prompt": "x", "image_url": url, "image_urls": more });
        let endpoint = scumble_api::find("fal-ai/ideogram/v3/remix").unwrap();
        let input = endpoint.parse(&body, scumble_api::Scope::Wire).unwrap();
        self.inputs.given(&input, Needs::Every, watch).await
    }

    /// The type of the problem with this picture.
    async fn refused(&self, text: &str) -> Problem {
        self.image(text).await.expect_err(text)
    }
}

fn open() -> FetchConfig {
    FetchConfig { allow_private: true, ..FetchConfig::default() }
}

/// Red on the left, blue on the right.
fn two_colours() -> DynamicImage {
    RgbImage::from_fn(4, 2, |x, _| if x < 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) }).into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn data_uri(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

async fn host(bytes: Vec<u8>) -> (String, AbortOnDropHandle<()>) {
    let served = bytes.clone();
    let router = Router::new()
        .route("/a.png", get(async move || ([(header::CONTENT_TYPE, "image/png")], served)))
        .route("/moved", get(async || axum::response::Redirect::to("/a.png")));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })))
}

#[tokio::test]
async fn pictures_of_every_format_come_as_pixels() {
    let desk = Desk::new(FetchConfig::default()).await;
    let rgb = two_colours().into_rgb8().into_raw();
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let image = desk.image(&data_uri(&encoded(&two_colours(), format))).await.unwrap();
        let expected = InputImage { width: 4, height: 2, pixels: InputPixels::Rgb(rgb.clone()) };
        assert_eq!(image, expected, "{format:?}");
    }
    let jpeg = desk.image(&data_uri(&encoded(&two_colours(), ImageFormat::Jpeg))).await.unwrap();
    let InputPixels::Rgb(pixels) = &jpeg.pixels else { panic!("{jpeg:?}") };
    assert!((jpeg.width, jpeg.height) == (4, 2) && pixels[0] > 150 && pixels[2] < 100, "{pixels:?}");

    let clear: DynamicImage = RgbaImage::from_pixel(3, 1, Rgba([10, 20, 30, 128])).into();
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let image = desk.image(&data_uri(&encoded(&clear, format))).await.unwrap();
        assert!(image.pixels == InputPixels::Rgba([10, 20, 30, 128].repeat(3)), "{format:?}");
    }
    let gif = desk.image(&data_uri(&encoded(&two_colours(), ImageFormat::Gif))).await.unwrap();
    let InputPixels::Rgba(pixels) = &gif.pixels else { panic!("{gif:?}") };
    assert_eq!((gif.width, gif.height, &pixels[..4]), (4, 2, &[255, 0, 0, 255][..]));
}

#[tokio::test]
async fn a_url_is_read_within_the_limits() {
    let png = encoded(&two_colours(), ImageFormat::Png);
    let (url, _host) = host(png.clone()).await;
    let desk = Desk::new(open()).await;
    for path in ["a.png", "moved"] {
        assert_eq!(desk.image(&format!("{url}/{path}")).await.unwrap().width, 4, "{path}");
    }
    let missing = desk.refused(&format!("{url}/b.png")).await;
    let expected = json!({
        "loc": ["body", "image_url"],
        "msg": "Failed to read the file: 127.0.0.1 answered 404 instead of the file; check that the URL is right and public",
        "type": "file_download_error",
        "url": "https://docs.fal.ai/errors/#file_download_error",
        "input": format!("{url}/b.png"),
    });
    assert_eq!(serde_json::to_value(missing).unwrap(), expected);
    let small = Desk::new(FetchConfig { max_bytes: png.len() as u64 - 1, ..open() }).await;
    for text in [format!("{url}/a.png"), data_uri(&png)] {
        let problem = small.refused(&text).await;
        assert_eq!((problem.kind.as_str(), &problem.ctx["max_size"]), ("file_too_large", &json!(png.len() - 1)));
    }
    let closed = Desk::new(FetchConfig::default()).await;
    let problem = closed.refused(&format!("{url}/a.png")).await;
    assert_eq!(problem.kind, "file_download_error");
    assert!(problem.msg.contains("not on the public internet"), "{}", problem.msg);
    assert!(problem.msg.contains("allow_private of [fetch]"), "{}", problem.msg);
    for path in ["/etc/hostname", "a.png"] {
        let problem = closed.refused(path).await;
        assert!(problem.msg.contains("a data URI, or the URL of a file that was uploaded here"), "{}", problem.msg);
    }
}

#[tokio::test]
async fn files_of_this_server_are_read_without_http_by_those_who_may() {
    let desk = Desk::new(FetchConfig::default()).await;
    let public = desk.keep(None, Decision::Allow, None).await;
    for base in ["http://127.0.0.1:8787/cdn", "https://v3b.fal.media", "https://images.example/any/where"] {
        assert_eq!(desk.image(&format!("{base}/files/{public}?x=1")).await.unwrap().width, 4, "{base}");
    }
    let hidden = format!("http://127.0.0.1:1/files/{}", desk.keep(Some("ann"), Decision::Forbid, None).await);
    let problem = desk.refused(&hidden).await;
    assert_eq!(problem.kind, "file_download_error");
    assert!(problem.msg.contains("not for the key"), "{}", problem.msg);
    for (key, allowed) in [("ann", true), ("bob", false)] {
        let read = desk.inputs.of(Some(key)).image(&["image_url"], &hidden).await;
        assert_eq!(read.is_ok(), allowed, "{key}");
    }
    let expired = format!("http://127.0.0.1:1/files/{}", desk.keep(None, Decision::Allow, Some(NOW_MS)).await);
    assert_eq!(desk.refused(&expired).await.kind, "file_download_error");
}

#[tokio::test]
async fn what_is_no_picture_is_an_error_with_a_name() {
    let desk = Desk::new(FetchConfig { max_pixels: 64, ..FetchConfig::default() }).await;
    let refused = async |bytes: &[u8]| desk.refused(&data_uri(bytes)).await;
    assert_eq!(refused(b"<html>").await.kind, "image_load_error");
    assert_eq!(refused(b"").await.kind, "image_load_error");
    let bitmap = refused(b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0").await;
    assert_eq!(bitmap.kind, "unsupported_image_format");
    assert_eq!(bitmap.ctx["supported_formats"], json!(["png", "jpeg", "webp", "gif"]));
    let png = encoded(&two_colours(), ImageFormat::Png);
    assert_eq!(refused(&png[..png.len() / 2]).await.kind, "image_load_error");
    assert_eq!(refused(&png[..12]).await.kind, "image_load_error");

    let large = encoded(&RgbImage::new(13, 5).into(), ImageFormat::Png);
    let problem = refused(&large).await;
    assert_eq!(problem.kind, "image_too_large");
    assert_eq!((&problem.ctx["max_width"], &problem.ctx["max_height"]), (&json!(8), &json!(8)));
    assert_eq!(problem.msg, "The image has 13 × 5 pixels; at most 64 are allowed in all");
    assert_eq!(problem.input, None, "a data URI is not repeated");
    // a few bytes that claim four thousand million pixels
    let mut bomb = encoded(&two_colours(), ImageFormat::Gif);
    bomb[6..10].fill(0xff);
    assert_eq!(refused(&bomb).await.kind, "image_too_large");
    for text in ["", "a.png", "/etc/passwd", "file:///etc/passwd", "data:image/png;base64", "data:;base64,!!!!"] {
        assert_eq!(desk.refused(text).await.kind, "file_download_error", "{text}");
    }
}

/// A watch that says stop when it is told to.
#[derive(Default)]
struct Stop(AtomicBool);

impl Watch for Stop {
    fn stage(&self, _: Stage) {}
    fn step(&self, _: usize, _: usize, _: &dyn Fn() -> Option<Pixels>) {}
    fn log(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn all_pictures_of_a_request_share_one_time() {
    let (drip, time) = (drip::Drip::new().await, Duration::from_millis(400));
    let desk = Desk::new(FetchConfig { time, ..open() }).await;
    let began = Instant::now();
    let RunError::Invalid(problems) = desk.given(8, &drip.url, &Stop::default()).await.unwrap_err() else {
        panic!("another error")
    };
    assert!(began.elapsed() >= time && began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let places: Vec<String> = problems.iter().map(|problem| json!(problem.loc).to_string()).collect();
    // in the order of the endpoint's fields
    assert_eq!((places.len(), places[0].as_str()), (8, r#"["body","image_urls",0]"#));
    assert_eq!(places[7], r#"["body","image_url"]"#);
    for problem in problems {
        assert_eq!(problem.kind, "file_download_error");
        assert!(problem.msg.contains("together may take 0.4 s"), "{}", problem.msg);
    }
}

#[tokio::test]
async fn a_cancel_ends_a_fetch() {
    let (drip, desk, stop) = (drip::Drip::new().await, Desk::new(open()).await, Arc::new(Stop::default()));
    let began = Instant::now();
    let cancelling = async {
        while drip.open() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.0.store(true, Ordering::SeqCst);
    };
    let (given, ()) = tokio::join!(desk.given(8, &drip.url, &*stop), cancelling);
    assert!(matches!(given, Err(RunError::Cancelled)), "{given:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    while drip.open() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn pictures_of_a_request_are_fetched_four_at_a_time() {
    let (png, four) = (encoded(&two_colours(), ImageFormat::Png), Arc::new(Barrier::new(4)));
    // nobody is answered before four have come
    let picture = async move || {
        four.wait().await;
        ([(header::CONTENT_TYPE, "image/png")], png)
    };
    let router = Router::new().route("/a.png", get(picture));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a.png", listener.local_addr().unwrap());
    let _host = AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    let desk = Desk::new(open()).await;
    let pictures = desk.given(8, &url, &Stop::default()).await.unwrap();
    let places: Vec<String> = pictures.iter().map(|picture| picture.path.join(".")).collect();
    assert_eq!((places.len(), places[0].as_str(), places[7].as_str()), (8, "image_urls.0", "image_url"));
}

/// Half a megabyte of PNG whose colour profile unpacks to 540 MB.
fn bomb() -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(b"k\0\0".to_vec(), flate2::Compression::best());
    for _ in 0..540 {
        packed.write_all(&vec![b'A'; 1_000_000]).unwrap();
    }
    let packed = packed.finish().unwrap();
    let mut sum = flate2::Crc::new();
    sum.update(b"iCCP");
    sum.update(&packed);
    let length = u32::try_from(packed.len()).unwrap().to_be_bytes();
    let chunk = [&length[..], b"iCCP", &packed, &sum.sum().to_be_bytes()].concat();
    let png = encoded(&two_colours(), ImageFormat::Png);
    [&png[..33], &chunk, &png[33..]].concat()
}

#[tokio::test]
async fn a_profile_that_inflates_costs_nothing() {
    let desk = Desk::new(FetchConfig::default()).await;
    let uri = data_uri(&bomb());
    let began = Instant::now();
    assert_eq!(desk.image(&uri).await.unwrap().width, 4);
    let given = desk.given(8, &uri, &Stop::default()).await.unwrap();
    assert!(given.iter().all(|picture| picture.size.width == 4));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn pictures_draw_on_the_memory_of_the_process_and_give_it_back() {
    let memory = Budget::new(4 * 1024 * 1024);
    let desk = Desk::within(open(), memory.clone()).await;
    let noise = RgbImage::from_fn(400, 400, |x, y| {
        let mixed = (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761);
        Rgb([(mixed >> 8) as u8, (mixed >> 16) as u8, (mixed >> 24) as u8])
    });
    let file = encoded(&noise.into(), ImageFormat::Png);
    assert!(file.len() > 200_000, "{} bytes", file.len());
    let (url, _host) = host(file.clone()).await;
    let url = format!("{url}/a.png");
    let pictures = desk.given(4, &url, &Stop::default()).await.unwrap();
    let held = memory.bytes() - memory.free();
    assert!(held >= 4 * file.len() as u64, "{held} bytes are held");
    // together with somebody else there is no room, and that passes
    let _other = memory.take(memory.free() - 100_000, Duration::ZERO).await.unwrap();
    let busy = desk.given(1, &url, &Stop::default()).await.unwrap_err();
    assert!(busy.fault().is_some() && busy.answer().status == 503, "{busy}");
    drop((pictures, _other));
    assert_eq!(memory.free(), memory.bytes());
    assert_eq!(desk.given(4, &url, &Stop::default()).await.unwrap().len(), 4);
}
