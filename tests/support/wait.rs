//! Waits for conditions with a deadline, so that no test sleeps for a guessed time.

use std::thread;
use std::time::{Duration, Instant};

/// How long [`eventually`] waits: far longer than anything takes on a loaded machine, so only a failure reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds; panics, naming `what` was waited for, if it does not within `limit`.
#[track_caller]
pub(crate) fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    if poll(limit, || condition().then_some(())).is_none() {
        panic!("not within {limit:?}: {what}");
    }
}

/// Waits until `attempt` returns something; panics, naming `what` was waited for, if it does not within [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    poll(PATIENCE, attempt).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Waits until `value` has been the same for `time`, and returns it: that nothing happens shows only in time.
#[track_caller]
pub(crate) fn unchanged_for<T: PartialEq>(
    time: Duration,
    what: &str,
    mut value: impl FnMut() -> T,
) -> T {
    let (mut last, mut since) = (value(), Instant::now());
    eventually(what, || {
        let now = value();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() >= time).then_some(())
    });
    last
}

/// Tries `attempt` every few milliseconds until it returns something; `None` if it does not within `limit`.
pub(crate) fn poll<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = attempt() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(3));
    }
}
