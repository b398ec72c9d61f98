//! What arrived, against what was sent: every event once, and byte for byte.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use flate2::read::GzDecoder;

use crate::events;

/// How many events came how.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Arrivals {
    /// Never.
    missing: u64,
    /// More than once; each time too many counts.
    doubled: u64,
    /// In bytes that nobody sent.
    changed: u64,
}

impl Arrivals {
    /// Compares the events in these bodies, of whole lines each, with those of the numbers up to `sent`.
    pub(crate) fn of_bodies(bodies: &[Vec<u8>], gzip: bool, sent: u64) -> Self {
        let bodies = plain(bodies, gzip);
        let lines = bodies
            .iter()
            .flat_map(|body| body.split(|byte| *byte == b'\n'));
        Self::check(lines, sent)
    }

    /// The same where the bodies are one stream, cut anywhere.
    pub(crate) fn of_stream(bodies: &[Vec<u8>], gzip: bool, sent: u64) -> Self {
        let stream = plain(bodies, gzip).concat();
        Self::check(stream.split(|byte| *byte == b'\n'), sent)
    }

    /// Compares these lines with the events of the numbers from 0 up to `sent`.
    fn check<'a>(lines: impl Iterator<Item = &'a [u8]>, sent: u64) -> Self {
        let mut found = Self::default();
        let mut seen = vec![false; sent as usize];
        let mut right = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let number = events::number_of(line).filter(|number| *number < sent);
            right.clear();
            if let Some(number) = number {
                events::append(number, &mut right);
            }
            match number {
                Some(number) if right.strip_suffix(b"\n") == Some(line) => {
                    found.doubled += u64::from(seen[number as usize]);
                    seen[number as usize] = true;
                }
                _ => found.changed += 1,
            }
        }
        found.missing = seen.iter().filter(|seen| !**seen).count() as u64;
        found
    }

    /// Whether every event arrived once and unchanged.
    pub(crate) fn complete(&self) -> bool {
        *self == Self::default()
    }
}

/// The bodies, uncompressed. What is no gzip lacks events, which the check then misses.
fn plain(bodies: &[Vec<u8>], gzip: bool) -> Cow<'_, [Vec<u8>]> {
    if !gzip {
        return Cow::Borrowed(bodies);
    }
    let unpack = |body: &Vec<u8>| {
        let mut plain = Vec::new();
        let _ = GzDecoder::new(&body[..]).read_to_end(&mut plain);
        plain
    };
    Cow::Owned(bodies.iter().map(unpack).collect())
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            missing,
            doubled,
            changed,
        } = self;
        if self.complete() {
            f.write_str("all once")
        } else {
            write!(f, "{missing} missing, {doubled} doubled, {changed} changed")
        }
    }
}
