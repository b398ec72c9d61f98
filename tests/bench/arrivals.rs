//! What arrived, compared with what was sent: every event once, and byte for byte.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use flate2::read::GzDecoder;

use crate::events;
use crate::sink::Arrival;

/// How many events arrived in which way.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Arrivals {
    /// Never arrived.
    pub(crate) missing: u64,
    /// Arrived more than once; each surplus arrival counts.
    pub(crate) doubled: u64,
    /// Arrived with bytes that nobody sent.
    changed: u64,
}

impl Arrivals {
    /// Compares what arrived with the events of the numbers from 0 up to `sent`. Bodies contain whole lines, or else
    /// one stream cut anywhere.
    pub(crate) fn check(arrived: &[Arrival], gzip: bool, whole_lines: bool, sent: u64) -> Self {
        let bodies: Vec<_> = arrived
            .iter()
            .map(|arrival| plain(&arrival.body, gzip))
            .collect();
        let mut found = Self::default();
        let mut seen = vec![false; sent as usize];
        if whole_lines {
            for body in &bodies {
                found.lines(body, &mut seen);
            }
        } else {
            found.lines(&bodies.concat(), &mut seen);
        }
        found.missing = seen.iter().filter(|seen| !**seen).count() as u64;
        found
    }

    fn lines(&mut self, body: &[u8], seen: &mut [bool]) {
        let mut right = Vec::new();
        for line in body.split(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            right.clear();
            let number = events::number_of(line).filter(|number| *number < seen.len() as u64);
            if let Some(number) = number {
                events::append(number, &mut right);
                self.doubled += u64::from(seen[number as usize]);
                seen[number as usize] = true;
            }
            self.changed += u64::from(right.strip_suffix(b"\n") != Some(line));
        }
    }

    /// Whether every event arrived once, and unchanged if `unchanged` is asked for.
    pub(crate) fn complete(&self, unchanged: bool) -> bool {
        self.missing + self.doubled == 0 && (self.changed == 0 || !unchanged)
    }
}

/// The body, uncompressed. If it is not gzip, events are missing, which the check notices.
fn plain(body: &[u8], gzip: bool) -> Cow<'_, [u8]> {
    if !gzip {
        return Cow::Borrowed(body);
    }
    let mut plain = Vec::new();
    let _ = GzDecoder::new(body).read_to_end(&mut plain);
    Cow::Owned(plain)
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            missing,
            doubled,
            changed,
        } = self;
        if self.complete(true) {
            f.write_str("all once")
        } else {
            write!(f, "{missing} missing, {doubled} doubled, {changed} changed")
        }
    }
}
