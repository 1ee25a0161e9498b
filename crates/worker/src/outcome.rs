//! From what a runner made to what a caller gets.

use std::collections::BTreeMap;

use bytes::Bytes;
use scumble_api::{Acl, AclDecision, FILE_SCHEME, INLINE_SCHEME, Lifecycle, MadePicture, Output};
use scumble_files::StoredFile;
use scumble_store::{FileRecord, FreshFile, Job, Lease, Outcome, Product};

use crate::faults::Point;
use crate::runner::{Drawn, Request};
use crate::work::Worker;

/// A seed for a caller who gave none. Torch's generator uses 32 bits, and so many survive JavaScript.
///
/// # Errors
/// A system without randomness.
pub fn fresh_seed() -> Result<u64, String> {
    getrandom::u32().map(u64::from).map_err(|e| format!("the system gives no random numbers: {e}"))
}

/// Stores the pictures and builds the product with the outcome that points at them.
pub(crate) async fn save(
    worker: &Worker,
    lease: &Lease,
    request: &Request,
    drawn: &Drawn,
    duration_ms: u64,
) -> Result<Product, scumble_files::Error> {
    let scheme = if request.input.sync_mode { INLINE_SCHEME } else { FILE_SCHEME };
    let lifecycle = lifecycle(&lease.job);
    let (mut images, mut files, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
    for picture in &drawn.pictures {
        let content_type = picture.format.content_type();
        let name = format!("{}.{}", request.endpoint.file_stem(), picture.format.extension());
        worker.config.faults.pass(Point::BeforeFile);
        let stored = match store(worker, lease, &picture.bytes, content_type, &name, &mut fresh).await {
            Ok(stored) => stored,
            Err(error) => {
                // those before it have no row that would ever remove them
                unsave(worker, &files.iter().map(|file: &FileRecord| file.path.clone()).collect::<Vec<_>>()).await;
                return Err(error);
            }
        };
        images.push(MadePicture {
            url: format!("{scheme}{}", stored.path),
            width: picture.width,
            height: picture.height,
            content_type: content_type.into(),
            file_name: name,
            file_size: stored.bytes,
        });
        let now_ms = worker.clock.now_ms();
        files.push(FileRecord {
            path: stored.path.to_string(),
            job_id: None,
            content_type: content_type.into(),
            bytes: i64::try_from(stored.bytes).unwrap_or(i64::MAX),
            created_ms: now_ms,
            expires_ms: lifecycle.expires_ms(now_ms),
            owner: lease.job.key_id.clone(),
            access: lifecycle.initial_acl.clone().map(Into::into).unwrap_or_default(),
        });
    }
    let prompt = drawn.prompt.clone().unwrap_or_else(|| request.input.prompt.clone());
    let (timings, seed) = (drawn.timings.clone(), drawn.seed.unwrap_or(request.seed));
    let output = Output { images, timings, seed, prompt, flags: drawn.flags.clone() };
    let mut headers = BTreeMap::from([("x-fal-billable-units".to_owned(), "0".to_owned())]);
    if drawn.stand_in {
        headers.insert("x-scumble-stand-in".into(), "1".into());
    }
    if let Some(bill) = &drawn.bill {
        headers.insert("x-fal-billable-units".into(), bill.units.to_string());
        headers.extend(bill.headers().map(|(name, value)| (name.to_owned(), value)));
    }
    let outcome = Outcome {
        status: 200,
        body: output.shaped(request.endpoint.output),
        headers,
        error: None,
        error_type: None,
        inference_ms: i64::try_from(duration_ms).ok(),
    };
    Ok(Product { files, fresh, ..outcome.into() })
}

/// Stores a picture, unless the database keeps its bytes for now: then it reaches the disk with its outcome.
async fn store(
    worker: &Worker,
    lease: &Lease,
    bytes: &[u8],
    content_type: &str,
    name: &str,
    fresh: &mut Vec<FreshFile>,
) -> Result<StoredFile, scumble_files::Error> {
    if worker.store.keeps_files_of(lease)
        && let Some(file) = worker.files.fresh(bytes, content_type, name)?
    {
        fresh.push(FreshFile { path: file.path.to_string(), bytes: bytes.to_vec() });
        return Ok(file);
    }
    worker.files.put(Bytes::copy_from_slice(bytes), content_type, name).await
}

/// What the caller asked to become of the pictures. The gateway has read it before; should it be unreadable now, nobody
/// but the owner sees them.
fn lifecycle(job: &Job) -> Lifecycle {
    let kept = &job.options["lifecycle"];
    if kept.is_null() {
        return Lifecycle::default();
    }
    Lifecycle::from_value(kept).unwrap_or_else(|problem| {
        tracing::error!(job.id = %job.id, problem = problem.msg, "the lifecycle is unreadable; the pictures are hidden");
        let acl = Acl { default: AclDecision::Hide, rules: Vec::new() };
        Lifecycle { expiration_duration_seconds: None, initial_acl: Some(acl) }
    })
}

/// Removes the pictures of an attempt that came too late.
pub(crate) async fn unsave(worker: &Worker, paths: &[String]) {
    for path in paths {
        let removed = match path.parse() {
            Ok(path) => worker.files.delete(&path).await.map_err(|e| e.to_string()),
            Err(error) => Err(format!("{error}")),
        };
        if let Err(error) = removed {
            tracing::warn!(path, error, "a picture of a lost attempt stays behind");
        }
    }
}
