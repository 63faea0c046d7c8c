//! What becomes of a connection whose request was refused before its body was read.

use std::time::Duration;

use actix_web::dev::ServiceRequest;
use actix_web::http::header;
use actix_web::rt::time::timeout;
use futures::StreamExt as _;

/// More is not read for nothing.
const SMALL: usize = 16 * 1024;
/// A body that is on its way is here by then.
const SOON: Duration = Duration::from_secs(1);

/// Reads the rest of a small body. actix closes a connection with an unread body behind the answer, and a new connection
/// costs more than a refusal: who is refused in a crowd would add to it.
pub(super) async fn read_off(request: &mut ServiceRequest) {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_none_or(|length| length > SMALL) {
        return;
    }
    let body = request.parts_mut().1;
    // What fails or takes longer is not read, and the connection closed.
    let _ = timeout(SOON, async { while let Some(Ok(_)) = body.next().await {} }).await;
}
