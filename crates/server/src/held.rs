//! Bodies that are held while their calls are answered: all together they stay within the process's budget of bytes.
//!
//! A body is counted as it comes, so one that is announced and never sent takes nothing. The first bytes of each are free:
//! usual calls are small, and go on when somebody else has taken all there is. Where there is no room, the body waits a
//! little, and then its caller is told to come back.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use scumble_api::{ErrorAnswer, ErrorType};
use scumble_fetch::{Exhausted, Share};

use crate::answer::Refusal;
use crate::middleware::is_upload;
use crate::state::AppState;

/// So much of each body is not counted.
pub(crate) const FREE: u64 = 16 * 1024;

/// What a body costs for each of its bytes: it is there in pieces and then in one, as it came and as what it means.
pub(crate) const TIMES: u64 = 2;

/// How long a body waits for room.
const PATIENCE: Duration = Duration::from_secs(3);

/// When to come back.
const RETRY_AFTER_S: &str = "5";

/// Counts the body of a request until it is answered. Uploads are written as they come, and are not held.
pub(crate) async fn bodies(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let is_small = request.body().size_hint().upper().is_some_and(|bytes| bytes <= FREE);
    if is_small || is_upload(&request) {
        return next.run(request).await;
    }
    let account = Arc::new(Mutex::new(Account { share: state.config.memory.share(), refused: false }));
    let held = account.clone();
    let request = request.map(|body| Body::new(Counted { body, account: held, bytes: 0, waiting: None }));
    let response = next.run(request).await;
    let refused = account.lock().unwrap_or_else(PoisonError::into_inner).refused;
    // whatever its reader made of the body's sudden end
    if refused { busy().into_response() } else { response }
}

/// The answer where there is no room.
pub(crate) fn busy() -> Refusal {
    let detail = "The memory of this server is taken by other requests now; try again in some seconds";
    Refusal::from(ErrorAnswer::typed(ErrorType::RunnerSchedulingFailure, detail)).with("retry-after", RETRY_AFTER_S)
}

/// What is held of one request's body.
struct Account {
    share: Share,
    refused: bool,
}

/// A piece that waits for its room, and the share with which it comes back.
type Waiting = Pin<Box<dyn Future<Output = (Result<(), Exhausted>, Share)> + Send>>;

/// A body whose bytes are counted as they pass.
struct Counted {
    body: Body,
    account: Arc<Mutex<Account>>,
    bytes: u64,
    waiting: Option<(Waiting, Frame<Bytes>)>,
}

impl Counted {
    /// Takes room for what has passed; what is missing is waited for.
    fn count(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        let wanted = self.bytes.saturating_sub(FREE).saturating_mul(TIMES);
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        if account.share.grow(wanted).is_ok() {
            return Some(frame);
        }
        let empty = account.share.budget().share();
        let mut share = std::mem::replace(&mut account.share, empty);
        let waiting = Box::pin(async move { (share.wait_for(wanted, PATIENCE).await, share) });
        self.waiting = Some((waiting, frame));
        None
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some((waiting, _)) = &mut self.waiting {
                let (room, share) = ready!(waiting.as_mut().poll(context));
                let frame = self.waiting.take().map(|(_, frame)| frame);
                let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
                account.share = share;
                return Poll::Ready(match room {
                    Ok(()) => frame.map(Ok),
                    Err(exhausted) => {
                        account.refused = true;
                        Some(Err(exhausted.into()))
                    }
                });
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Some(frame) = self.count(frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
