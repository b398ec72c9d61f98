//! Which followed files begin as another one does, and how much they have in common.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::follower::Follower;
use super::gzip::{Gzip, Unpackers};
use super::listing::Listed;
use super::long_work::LongWork;
use super::missing::{ends_event, prefixes};
use super::search::stems;
use super::tracked::{State, Tracked};
use crate::state::checkpoint::HEAD_BYTES;

/// At most this many files that begin alike are compared with a new one.
const MAX_ALIKE: usize = 32;

impl Follower {
    /// The followed files that may begin as this one does.
    pub(super) fn alike(&self, number: u64, file: &Tracked, head: &[u8]) -> Vec<u64> {
        let mut alike = self.begins_alike(number, head);
        if head.len() < HEAD_BYTES {
            alike.extend(self.namesakes(number, &file.now));
        }
        alike
    }

    /// The followed files that begin as this one does, or are the beginning of it.
    fn begins_alike(&self, number: u64, head: &[u8]) -> Vec<u64> {
        let mut alike = Vec::new();
        for prefix in prefixes(head) {
            let hash = prefix.hash;
            let range = self.by_head.range((hash, 0)..=(hash, u64::MAX));
            let others = range.map(|(_, other)| *other);
            alike.extend(others.filter(|other| *other != number).take(MAX_ALIKE));
        }
        alike.reverse();
        alike.truncate(MAX_ALIKE);
        alike
    }

    /// The followed files whose names this one's begins with: a short copy of a longer file can't be found by how that
    /// begins.
    fn namesakes(&self, number: u64, copy: &Listed) -> impl Iterator<Item = u64> {
        let names = copy.path.file_name().map(stems).into_iter().flatten();
        names.filter_map(move |name| {
            let found = fs::metadata(copy.path.with_file_name(name)).ok()?;
            // What a copy has was not read there.
            let is_followed = |file: &Tracked| file.state == State::Followed;
            let other = self.find((found.dev(), found.ino()))?;
            let is_it =
                other != number && self.files.get(&other).is_some_and(|file| is_followed(file));
            is_it.then_some(other)
        })
    }

    /// What a file shares with a followed one that begins alike, if the longer one begins with all of the shorter one.
    pub(super) fn common(&mut self, original: u64, file: &mut Tracked) -> Option<Common> {
        let other = self.files.get_mut(&original)?;
        // Everything begins as an empty file does.
        if other.now.length == 0 {
            return None;
        }
        let was_open = other.is_open();
        let common = match (other.is_gzip, file.is_gzip) {
            (false, false) => plain(other, file),
            (false, true) => {
                let unpackers = &mut self.unpackers;
                compare_compressed(other, file, unpackers, &self.long_work)
            }
            (true, false) => unpacked(other, file, &self.long_work),
            (true, true) => None,
        };
        if !was_open {
            other.close();
        }
        common
    }
}

/// What two files have in common.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Common {
    /// So many bytes at their beginning.
    pub(super) covered: u64,
    /// The file has all of the followed one, and is read in its place.
    pub(super) is_longer: bool,
    /// The file is compressed, and ends early.
    pub(super) is_partial: bool,
}

fn plain(other: &mut Tracked, file: &mut Tracked) -> Option<Common> {
    let common = other.now.length.min(file.now.length);
    let theirs = before(other, common)?;
    let own = before(file, common)?;
    if theirs != own {
        return None;
    }
    let whole = own.iter().rposition(|byte| *byte == b'\n');
    let is_whole = own.last().is_some_and(|byte| ends_event(*byte));
    // Half an event alone is the beginning of too many.
    if own.len() < HEAD_BYTES && !is_whole && whole.is_none() {
        return None;
    }
    let rest = if is_whole {
        0
    } else {
        own.len() - whole.map_or(0, |at| at + 1)
    };
    Some(Common {
        covered: common - rest as u64,
        is_longer: file.now.length > other.now.length,
        is_partial: false,
    })
}

/// What unpacks the file is kept: if its original goes, it is compared again, and read on from there.
fn compare_compressed(
    other: &mut Tracked,
    file: &mut Tracked,
    unpackers: &mut Unpackers,
    work: &LongWork,
) -> Option<Common> {
    let identity = file.now.identity;
    let kept = unpackers.take_before(identity, other.now.length);
    let mut gzip = kept.map_or_else(|| file.new_gzip(), Ok).ok()?;
    let common = compressed(other, &mut gzip, work)?;
    unpackers.keep(identity, (!common.is_longer).then_some(gzip));
    Some(common)
}

/// A compressed file has no more than the beginning of another one while it is written.
fn compressed(other: &mut Tracked, gzip: &mut Gzip, work: &LongWork) -> Option<Common> {
    let is_partial = gzip.skip_far(other.now.length, work).is_err();
    let (covered, last) = gzip.last();
    let is_same = (is_partial || is_enough(&last)) && before(other, covered)? == last;
    // A copy of what is gone may have been written on before it was compressed.
    let is_longer = is_same && other.is_gone && matches!(gzip.read(&mut [0]), Ok(1));
    is_same.then_some(Common {
        covered,
        is_longer,
        is_partial,
    })
}

/// What was unpacked is read in place of the compressed file if that is gone, or has less.
fn unpacked(other: &mut Tracked, file: &mut Tracked, work: &LongWork) -> Option<Common> {
    let length = file.now.length;
    let mut gzip = other.new_gzip().ok()?;
    let is_as_long = gzip.skip_far(length, work).ok()?;
    let (covered, last) = gzip.last();
    if !is_enough(&last) || before(file, covered)? != last {
        return None;
    }
    let has_all = !is_as_long || gzip.read(&mut [0]).ok()? == 0;
    Some(Common {
        covered,
        is_longer: has_all && (length > covered || other.is_gone),
        is_partial: false,
    })
}

/// Whether two files are alike if they have this in common right before an offset.
fn is_enough(last: &[u8]) -> bool {
    last.len() == HEAD_BYTES || last.last().is_some_and(|byte| ends_event(*byte))
}

/// At most [`HEAD_BYTES`] right before an offset, if the file has as much.
fn before(file: &mut Tracked, offset: u64) -> Option<Vec<u8>> {
    let bytes = offset.min(HEAD_BYTES as u64);
    let found = file
        .read_at(offset - bytes, usize::try_from(bytes).ok()?)
        .ok()?;
    (found.len() as u64 == bytes).then_some(found)
}

#[cfg(test)]
mod tests;
