//! Contents that were read but whose file is no longer there under its inode: it was copied and truncated, moved to
//! another filesystem, compressed, or removed. They are recognised by their beginning and by the bytes right before the
//! offset that was reached.

use std::collections::{BTreeMap, BTreeSet};

use crate::state::checkpoint::{FileOffset, Fingerprint, HEAD_BYTES};

/// At most this many contents that were delivered to their end are remembered, for copies that turn up later.
const MAX_GONE: usize = 10_000;

/// A file that may have a missing content.
pub(super) trait Candidate {
    /// Its device and inode number.
    fn identity(&self) -> (u64, u64);
    /// How many bytes it has; unknown for a compressed one.
    fn length(&self) -> Option<u64>;
    /// At most the first [`HEAD_BYTES`].
    fn head(&self) -> &[u8];
    /// Whether these bytes are right before `offset`.
    fn has_before(&mut self, offset: u64, bytes: Fingerprint) -> bool;
    /// Whether that is compared when the file is read, if it begins alike.
    fn is_compared_later(&self, _: &FileOffset) -> bool {
        false
    }
}

/// The contents whose files are not there.
#[derive(Debug, Default)]
pub(super) struct Missing {
    files: BTreeMap<u64, FileOffset>,
    by_inode: BTreeSet<(u64, u64)>,
    by_head: BTreeSet<(Fingerprint, u64)>,
    /// Those that are gone, the oldest first: numbers are given in the order of time.
    gone: BTreeSet<u64>,
}

impl Missing {
    /// The file of this number is missing. Returns the numbers that are forgotten to make room for it.
    pub(super) fn insert(&mut self, number: u64, file: FileOffset) -> Vec<u64> {
        self.by_inode.insert((file.inode, number));
        self.by_head.insert((file.head, number));
        // There are as many of those that are skipped as there are files.
        if file.is_gone && !file.is_skipped {
            self.gone.insert(number);
        }
        self.files.insert(number, file);
        let mut forgotten = Vec::new();
        while self.gone.len() > MAX_GONE
            && let Some(oldest) = self.gone.first().copied()
        {
            self.remove(oldest);
            forgotten.push(oldest);
        }
        forgotten
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<FileOffset> {
        let file = self.files.remove(&number)?;
        self.by_inode.remove(&(file.inode, number));
        self.by_head.remove(&(file.head, number));
        self.gone.remove(&number);
        Some(file)
    }

    /// What is known of a missing content.
    pub(super) fn get(&self, number: u64) -> Option<&FileOffset> {
        self.files.get(&number)
    }

    /// Those that may still be delivered.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (u64, &FileOffset)> {
        let awaited = self.files.iter().filter(|(_, file)| !file.is_gone);
        awaited.map(|(number, file)| (*number, file))
    }

    /// Whether a missing file had this inode number.
    pub(super) fn has_inode(&self, inode: u64) -> bool {
        let numbers = self.by_inode.range((inode, 0)..=(inode, u64::MAX));
        numbers.into_iter().next().is_some()
    }

    /// The missing content that has this file's inode, if the file has all of it that was read.
    pub(super) fn take_same(
        &mut self,
        candidate: &mut impl Candidate,
    ) -> Option<(u64, FileOffset)> {
        let (device, inode) = candidate.identity();
        let numbers = self.by_inode.range((inode, 0)..=(inode, u64::MAX));
        let numbers: Vec<u64> = numbers.map(|(_, number)| *number).collect();
        let fits = |number: &&u64| {
            let file = self.files.get(number);
            file.is_some_and(|file| continues(file, candidate, true))
        };
        let fitting: Vec<u64> = numbers.iter().rev().filter(fits).copied().collect();
        // Device numbers may change between two starts of the host.
        let is_on_device = |number: &&u64| {
            let file = self.files.get(number);
            file.is_some_and(|file| file.device == device)
        };
        let best = fitting.iter().find(is_on_device).or(fitting.first())?;
        Some((*best, self.remove(*best)?))
    }

    /// Whether a missing content begins as this does.
    pub(super) fn begins_alike(&self, head: &[u8]) -> bool {
        let mut prefixes = prefixes(head).into_iter();
        prefixes.any(|prefix| {
            let range = (prefix, 0)..=(prefix, u64::MAX);
            self.by_head.range(range).next().is_some()
        })
    }

    /// The missing content of this number, of which this file was a copy. What was written to the original after it was
    /// copied is in no other file.
    pub(super) fn take_original(
        &mut self,
        number: u64,
        copy: &mut impl Candidate,
    ) -> Option<FileOffset> {
        let file = self.files.get(&number)?;
        let is_it = !file.is_gone && continues(file, copy, true);
        if is_it { self.remove(number) } else { None }
    }

    /// The content of a missing file that this file continues; of several, the one that was read farthest.
    pub(super) fn take_content(
        &mut self,
        candidate: &mut impl Candidate,
    ) -> Option<(u64, FileOffset)> {
        if self.files.is_empty() {
            return None;
        }
        let prefixes = prefixes(candidate.head());
        let mut best: Option<(u64, u64)> = None;
        for prefix in prefixes {
            let range = (prefix, 0)..=(prefix, u64::MAX);
            for (_, number) in self.by_head.range(range) {
                let Some(file) = self.files.get(number) else {
                    continue;
                };
                if best.is_none_or(|(offset, _)| offset <= file.offset)
                    && continues(file, candidate, false)
                {
                    best = Some((file.offset, *number));
                }
            }
        }
        let (_, number) = best?;
        Some((number, self.remove(number)?))
    }
}

/// Whether a file has all that was read of a content.
fn continues(file: &FileOffset, candidate: &mut impl Candidate, is_same_inode: bool) -> bool {
    // A copy has all that was seen of its original. The same file may have lost its end when the host lost power.
    let least = if is_same_inode {
        file.offset
    } else {
        file.length
    };
    if candidate.length().is_some_and(|length| length < least) || !file.head.fits(candidate.head())
    {
        return false;
    }
    let is_weak = file.head.len() < HEAD_BYTES;
    // For a file that was removed long ago, a few bytes prove nothing, unless this one was compressed. Reading events
    // again is better than losing them.
    if is_weak && file.is_gone && candidate.length().is_some() && !is_same_inode {
        return false;
    }
    if file.head.is_empty() && (!is_same_inode || file.is_skipped) {
        return false;
    }
    let is_compared_later = is_same_inode && !is_weak && candidate.is_compared_later(file);
    file.tail.is_empty() || is_compared_later || candidate.has_before(file.offset, file.tail)
}

/// The fingerprints of all parts of a beginning that a file can be known by: those that end with an event, and the
/// whole of [`HEAD_BYTES`].
pub(super) fn prefixes(head: &[u8]) -> Vec<Fingerprint> {
    let mut fingerprint = Fingerprint::default();
    let mut prefixes = Vec::new();
    for (at, byte) in head.iter().enumerate() {
        fingerprint.extend(&[*byte]);
        if ends_event(*byte) || at + 1 == HEAD_BYTES {
            prefixes.push(fingerprint);
        }
    }
    prefixes
}

/// What a file with this beginning is known by: without half an event at its end, which would make a stub look like the
/// beginning of all others.
pub(super) fn known_by(head: &[u8]) -> Fingerprint {
    let whole = head.iter().rposition(|byte| ends_event(*byte));
    match whole {
        _ if head.len() >= HEAD_BYTES => Fingerprint::of(head),
        Some(at) => Fingerprint::of(&head[..=at]),
        None => Fingerprint::default(),
    }
}

/// Whether an event may end with this byte.
pub(super) fn ends_event(byte: u8) -> bool {
    matches!(byte, b'\n' | b'}')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct File {
        identity: (u64, u64),
        bytes: Vec<u8>,
        is_compared_later: bool,
    }

    impl Candidate for File {
        fn identity(&self) -> (u64, u64) {
            self.identity
        }
        fn length(&self) -> Option<u64> {
            Some(self.bytes.len() as u64)
        }
        fn head(&self) -> &[u8] {
            &self.bytes[..self.bytes.len().min(HEAD_BYTES)]
        }
        fn has_before(&mut self, offset: u64, bytes: Fingerprint) -> bool {
            let end = usize::try_from(offset).unwrap();
            bytes == Fingerprint::of(&self.bytes[end - bytes.len()..end])
        }
        fn is_compared_later(&self, _: &FileOffset) -> bool {
            self.is_compared_later
        }
    }

    fn events(numbers: std::ops::Range<u32>) -> Vec<u8> {
        let lines = numbers.map(|number| format!("{{\"n\":{number:040}}}\n"));
        lines.collect::<String>().into_bytes()
    }

    fn file(inode: u64, bytes: &[u8]) -> File {
        File {
            identity: (1, inode),
            bytes: bytes.into(),
            is_compared_later: false,
        }
    }

    /// A file of this content that was read up to an offset.
    fn read(inode: u64, bytes: &[u8], offset: usize) -> FileOffset {
        FileOffset {
            device: 1,
            inode,
            offset: offset as u64,
            length: bytes.len() as u64,
            head: known_by(&bytes[..bytes.len().min(HEAD_BYTES)]),
            tail: Fingerprint::of(&bytes[offset.saturating_sub(HEAD_BYTES)..offset]),
            ..FileOffset::default()
        }
    }

    #[test]
    fn an_original_is_missing_until_a_copy_has_all_of_it() {
        let bytes = events(0..100);
        let mut missing = Missing::default();
        missing.insert(1, read(7, &bytes, 470));
        missing.insert(
            2,
            FileOffset {
                is_gone: true,
                ..read(8, &bytes, 470)
            },
        );
        assert_eq!(missing.get(1).map(|file| file.inode), Some(7));
        assert!(
            missing
                .take_original(1, &mut file(9, &events(1..100)))
                .is_none()
        );
        assert!(missing.take_original(2, &mut file(9, &bytes)).is_none());
        assert!(missing.take_original(3, &mut file(9, &bytes)).is_none());
        assert!(missing.take_original(1, &mut file(9, &bytes)).is_some());
        assert!(missing.get(1).is_none());
    }

    #[test]
    fn a_long_file_with_the_same_inode_may_be_compared_later() {
        let bytes = events(0..100);
        for (known_bytes, offset, is_compared_later, is_it) in [
            (HEAD_BYTES, 3000, true, true),
            (HEAD_BYTES, 3000, false, false),
            (94, 470, true, false),
        ] {
            let mut other = file(7, &bytes[..offset]);
            other.bytes[offset - 100] = b'x';
            other.is_compared_later = is_compared_later;
            let mut missing = Missing::default();
            let head = known_by(&bytes[..known_bytes]);
            let known = read(7, &bytes[..offset], offset);
            missing.insert(1, FileOffset { head, ..known });
            assert_eq!(missing.take_same(&mut other).is_some(), is_it, "{offset}");
        }
    }

    #[test]
    fn inode_and_device_decide_first() {
        let bytes = events(0..100);
        for (device, inode) in [(1, 7), (2, 7)] {
            let mut missing = Missing::default();
            missing.insert(1, read(7, &bytes, 470));
            missing.insert(
                2,
                FileOffset {
                    device: 2,
                    ..read(7, &bytes, 470)
                },
            );
            let mut found = file(inode, &bytes);
            found.identity.0 = device;
            assert_eq!(missing.take_same(&mut found).unwrap().0, device);
        }
        let mut missing = Missing::default();
        missing.insert(1, read(7, &bytes, 470));
        assert!(missing.take_same(&mut file(8, &bytes)).is_none());
    }

    #[test]
    fn a_used_inode_with_another_content_is_another_file() {
        let bytes = events(0..100);
        let mut missing = Missing::default();
        missing.insert(1, read(7, &bytes, 3000));
        // It begins alike and is as long, but continues differently.
        let mut other = events(0..30);
        other.extend(events(500..700));
        assert!(missing.take_same(&mut file(7, &other)).is_none());
        assert!(
            missing.take_same(&mut file(7, &bytes[..2000])).is_none(),
            "shorter"
        );
        assert!(missing.take_content(&mut file(9, &other)).is_none());
        assert_eq!(missing.take_content(&mut file(9, &bytes)).unwrap().0, 1);
    }

    #[test]
    fn the_copy_of_a_short_file_is_found_and_a_stub_is_nobodys_copy() {
        let bytes = events(0..3);
        let mut missing = Missing::default();
        missing.insert(1, read(7, &bytes, 47));
        let mut grown = bytes.clone();
        grown.extend(events(3..5));
        assert!(missing.take_content(&mut file(9, &events(1..9))).is_none());
        assert_eq!(missing.take_content(&mut file(9, &grown)).unwrap().0, 1);
        missing.insert(1, read(7, b"{", 0));
        assert!(missing.take_content(&mut file(9, &bytes)).is_none());
        missing.insert(
            1,
            FileOffset {
                is_gone: true,
                ..read(7, &bytes, bytes.len())
            },
        );
        assert!(
            missing.take_content(&mut file(9, &grown)).is_none(),
            "too little to be sure"
        );
        let long = FileOffset {
            is_gone: true,
            ..read(7, &events(0..100), 4700)
        };
        missing.insert(2, long);
        let copy = &mut file(9, &events(0..100));
        assert_eq!(missing.take_content(copy).unwrap().0, 2);
    }

    #[test]
    fn a_file_is_known_by_whole_events_unless_it_is_long() {
        let (bytes, half) = (events(0..100), b"{\"n\"".len());
        let whole = events(0..9);
        for (head, known) in [
            (&bytes[..HEAD_BYTES], HEAD_BYTES),
            (
                &bytes[..HEAD_BYTES - 1],
                HEAD_BYTES - 1 - (HEAD_BYTES - 1) % 47,
            ),
            (&bytes[..whole.len() + half], whole.len()),
            (&bytes[..half], 0),
        ] {
            assert_eq!(known_by(head), Fingerprint::of(&bytes[..known]));
        }
        // A copy that has just as much as was seen of the original.
        let mut missing = Missing::default();
        missing.insert(1, read(7, &whole, whole.len()));
        assert_eq!(missing.take_content(&mut file(9, &whole)).unwrap().0, 1);
    }

    #[test]
    fn of_several_the_one_that_was_read_farthest_is_taken() {
        let bytes = events(0..100);
        let mut missing = Missing::default();
        for (number, offset, length) in [(1, 470, 900), (2, 4700, 4700), (3, 940, 1880)] {
            missing.insert(number, read(number, &bytes[..length], offset));
        }
        assert_eq!(missing.take_content(&mut file(9, &bytes)).unwrap().0, 2);
        assert_eq!(
            missing
                .take_content(&mut file(9, &bytes[..2000]))
                .unwrap()
                .0,
            3
        );
    }

    #[test]
    fn what_is_gone_is_forgotten_at_last() {
        let mut missing = Missing::default();
        let gone = FileOffset {
            is_gone: true,
            ..FileOffset::default()
        };
        let skipped = FileOffset {
            is_skipped: true,
            ..gone.clone()
        };
        missing.insert(0, FileOffset::default());
        missing.insert(1, skipped);
        let forgotten = (2..10_004).flat_map(|number| missing.insert(number, gone.clone()));
        assert_eq!(forgotten.collect::<Vec<_>>(), [2, 3]);
        assert_eq!(missing.awaited().count(), 1);
    }

    #[test]
    fn of_an_empty_file_only_the_inode_is_known_unless_it_was_not_read_at_all() {
        for (inode, is_skipped, is_found) in [(7, false, true), (7, true, false), (8, false, false)]
        {
            let mut missing = Missing::default();
            let empty = FileOffset {
                is_skipped,
                ..read(7, b"", 0)
            };
            missing.insert(1, empty);
            let mut found = file(inode, &events(0..3));
            let found = missing
                .take_same(&mut found)
                .or(missing.take_content(&mut found));
            assert_eq!(found.is_some(), is_found, "{inode} {is_skipped}");
        }
    }
}
