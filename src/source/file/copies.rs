//! Files that are copies of others: only one of them is read.

use std::time::{Duration, Instant};

use super::follower::{Follower, Sink};
use super::label::label;
use super::tracked::{State, Tracked};
use crate::telemetry::message::Message;

/// A copy that is not explained by then is logged: where logs are copied and truncated, reading soon continues in it.
const EXPLAINED: Duration = Duration::from_secs(2);

impl Follower {
    /// How far the original of a copy was read.
    pub(super) fn read_of_original(&self, copy: &Tracked) -> u64 {
        let State::CopyOf { original } = copy.state else {
            return 0;
        };
        let there = self.files.get(&original);
        let there = there.map(|file| file.reached().offset);
        let missing = self.missing.get(original).map(|file| file.offset);
        there.or(missing).unwrap_or(0)
    }

    /// A file that has all of another one, and more, is read in its place.
    pub(super) fn take_over(&mut self, number: u64, file: Tracked, original: u64, covered: u64) {
        let Some(mut other) = self.take(original) else {
            self.put(number, file);
            return;
        };
        let known = other.known();
        other.restart();
        other.is_touched = false;
        let _ = other.start_at(covered);
        other.state = State::CopyOf { original };
        self.progress.drop_file(number);
        self.copies.insert(number, other.active);
        self.put(number, other);
        self.pending.remove(&number);
        self.resume(original, &known, file);
    }

    /// Logs copies that nothing has explained by now. If the original is gone, it was compressed or moved.
    pub(super) fn log_copies(&mut self, now: Instant, sink: &mut impl Sink) {
        let due: Vec<u64> = self
            .copies
            .iter()
            .filter(|(_, since)| now.saturating_duration_since(**since) >= EXPLAINED)
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            self.copies.remove(&number);
            let Some(file) = self.files.get(&number) else {
                continue;
            };
            let State::CopyOf { original } = file.state else {
                continue;
            };
            let other = self.files.get(&original);
            if let Some(other) = other.filter(|other| !other.is_gone) {
                Message::FileIsCopy {
                    file: label(&file.now.path),
                    original: label(&other.now.path),
                }
                .log();
                sink.copied();
            }
        }
    }
}
