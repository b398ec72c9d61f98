//! What an answer's head says of the webhook's clock.

use std::time::{Duration, SystemTime};

use ureq::http::{Response, header};

/// By at least how many seconds the webhook's clock is ahead of this host's, negative if it is behind: how far its
/// `Date`, in whole seconds, is outside the time of the request, which began at `began`.
pub(super) fn skew<B>(response: &Response<B>, began: SystemTime) -> Option<i64> {
    let date = response.headers().get(header::DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?;
    let seconds = |time: Duration| i64::try_from(time.as_secs()).ok();
    let earliest = began.checked_sub(Duration::from_secs(1))?;
    match (
        date.duration_since(SystemTime::now()),
        earliest.duration_since(date),
    ) {
        (Ok(ahead), _) => seconds(ahead),
        (_, Ok(behind)) => seconds(behind).map(|seconds| -seconds),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_within_the_time_of_the_request_shows_no_skew() {
        let now = SystemTime::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let before = |seconds| now - Duration::from_secs(seconds);
        for (date, began, expected) in [
            (Some(now), now, Some(0..=0)),
            (Some(before(20)), before(30), Some(0..=0)),
            (Some(before(40)), before(30), Some(-10..=-8)),
            (Some(after(100)), now, Some(98..=100)),
            (Some(before(3600)), now, Some(-3601..=-3598)),
            (None, now, None),
        ] {
            let mut response = Response::builder();
            if let Some(date) = date {
                response = response.header("Date", httpdate::fmt_http_date(date));
            }
            let found = skew(&response.body(()).unwrap(), began);
            let is_right = match (&found, &expected) {
                (Some(found), Some(expected)) => expected.contains(found),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_right, "{found:?} {expected:?}");
        }
        let response = Response::builder()
            .header("Date", "yesterday")
            .body(())
            .unwrap();
        assert_eq!(skew(&response, now), None);
    }
}
