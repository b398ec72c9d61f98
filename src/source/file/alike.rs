//! Which followed files begin as another one does, and how much they have in common.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::follower::Follower;
use super::listing::Listed;
use super::missing::{Candidate as _, ends_event, prefixes};
use super::search::stems;
use super::tracked::{Probe, Tracked};
use crate::state::checkpoint::{Fingerprint, HEAD_BYTES};

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
            let other = self.find((found.dev(), found.ino()));
            other.filter(|other| *other != number)
        })
    }

    /// How many bytes a file shares with a followed one that begins alike, if the longer one begins with all of the
    /// shorter one; and whether the file is longer.
    pub(super) fn common(&mut self, original: u64, file: &mut Tracked) -> Option<(u64, bool)> {
        let other = self.files.get_mut(&original)?;
        // Everything begins as an empty file does.
        if other.is_gzip || other.now.length == 0 {
            return None;
        }
        let common = match file.is_gzip {
            true => other.now.length,
            false => other.now.length.min(file.now.length),
        };
        let bytes = usize::try_from(common)
            .unwrap_or(usize::MAX)
            .min(HEAD_BYTES);
        let was_open = other.is_open();
        let theirs = other.read_at(common - bytes as u64, bytes).ok();
        if !was_open {
            other.close();
        }
        if file.is_gzip {
            let mut probe = Probe { file, head: &[] };
            let is_same = probe.has_before(common, Fingerprint::of(&theirs?));
            return is_same.then_some((other.offset, false));
        }
        let own = file.read_at(common - bytes as u64, bytes).ok()?;
        if theirs.as_ref() != Some(&own) || own.len() < bytes {
            return None;
        }
        let whole = own.iter().rposition(|byte| *byte == b'\n');
        let is_whole = own.last().is_some_and(|byte| ends_event(*byte));
        if bytes < HEAD_BYTES && !is_whole {
            return None;
        }
        let rest = if is_whole {
            0
        } else {
            bytes - whole.map_or(0, |at| at + 1)
        };
        Some((common - rest as u64, file.now.length > other.now.length))
    }
}
