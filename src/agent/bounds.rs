//! How long the steps of an end may take. They follow each other, and fit into what systemd is told.

use std::time::Duration;

/// How long senders may take to end once the request in flight was aborted.
pub(super) const SENDERS: Duration = Duration::from_millis(400);
/// How long sources may take from then on: to read what was written before they refused more, and to count it.
pub(super) const SOURCES: Duration = Duration::from_millis(1000);
/// The end comes within this time after `--shutdown-timeout`; [`LAST_LINE`] later if the log takes nothing.
pub(super) const OVERTIME: Duration = Duration::from_millis(1500);
/// systemd is told that stopping may take this much longer than `--shutdown-timeout`.
pub(super) const STOP_MARGIN: Duration = Duration::from_secs(2);
/// How long checkpoints, status file and log may take to be written for the last time, if `--shutdown-timeout` does not
/// end before. A disk may well take a second for one of them, and the balance in the log comes last.
pub(super) const LAST_WRITES: Duration = Duration::from_secs(5);

/// The balance gets this long to be logged, even if everything before it took too long: on a host that hardly lets the
/// agent run, nobody would learn what became of its events.
pub(super) const LAST_LINE: Duration = Duration::from_millis(400);

/// How long senders, and the last writes, may take after a second signal; and sources after a third one.
pub(super) const AT_ONCE: Duration = Duration::from_millis(100);
pub(super) const LAST_WRITES_AT_ONCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::LAST_READS;
    use crate::source::http::REST;

    /// What remains for counting what was read, and for writing it down.
    const MARGIN: Duration = Duration::from_millis(400);

    #[test]
    fn each_step_fits_into_the_next() {
        assert!(REST + LAST_READS + MARGIN <= SOURCES);
        assert!(AT_ONCE <= SENDERS && SENDERS <= SOURCES);
        assert!(LAST_WRITES_AT_ONCE <= MARGIN && LAST_WRITES_AT_ONCE <= LAST_WRITES);
        assert!(SOURCES + MARGIN <= OVERTIME);
        assert!(OVERTIME + MARGIN <= STOP_MARGIN);
        assert!(OVERTIME + LAST_LINE < STOP_MARGIN);
    }
}
