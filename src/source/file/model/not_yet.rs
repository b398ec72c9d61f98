//! Files that can't be read yet: the agent may not read them, or they are still being compressed.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::follower::{follower, found};
use crate::source::file::follower::QUIET;
use crate::source::file::missing::known_by;
use crate::source::file::tracked::State;
use crate::source::gunzip::gzip;
use crate::state::checkpoint::{FileOffset, Fingerprint};

/// A writer may append to a compressed file every second.
#[test]
fn a_compressed_file_that_is_written_to_for_ever_is_read_unless_it_may_be_what_was_read_before() {
    let line = "{\"n\":1}\n";
    for (is_missing, is_read) in [(false, true), (true, false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut follower = follower(dir.path());
        let mut file = found(dir.path(), "a.log", &gzip(line.repeat(300).as_bytes()));
        file.is_gzip = true;
        file.now.modified += Duration::from_secs(3600);
        file.active = Instant::now() + QUIET * 2;
        follower.put(1, file);
        if is_missing {
            let gone = FileOffset {
                head: known_by(line.as_bytes()),
                offset: 1 << 20,
                tail: Fingerprint::of(b"else"),
                ..FileOffset::default()
            };
            follower.missing.insert(2, gone);
        }
        let now = Instant::now();
        for (later, is_read) in [
            (Duration::ZERO, false),
            (QUIET / 2, false),
            (QUIET, is_read),
        ] {
            follower.examine(1, now + later).unwrap();
            let state = follower.files[&1].state;
            let expected = if is_read { State::Followed } else { State::New };
            assert_eq!(state, expected, "{is_missing} {later:?}");
        }
        assert_eq!(follower.compressing.is_empty(), is_read);
    }
}

/// What the last start knew of counts already.
#[test]
fn of_a_file_that_can_not_be_read_what_is_not_known_yet_counts_as_unread() {
    for (offset, length, is_gone, unread) in [
        (0, 0, false, Some(10)),
        (4, 6, false, Some(4)),
        (4, 10, false, Some(0)),
        (10, 10, false, None),
        (10, 20, false, Some(0)),
        (6, 6, true, Some(10)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut follower = follower(dir.path());
        let file = found(dir.path(), "a.log", &[b'x'; 10]);
        let (device, inode) = file.now.identity;
        let known = FileOffset {
            device,
            inode,
            offset,
            length,
            is_gone,
            ..FileOffset::default()
        };
        follower.missing.insert(2, known);
        let error = ErrorKind::PermissionDenied.into();
        follower.note_unreadable(&file.now, &error, Instant::now());
        let troubles = &follower.troubles;
        let found = (troubles.bytes(), troubles.oldest() > Duration::ZERO);
        let expected = (unread.unwrap_or_default(), unread.is_some());
        assert_eq!(found, expected, "{offset} {length} {is_gone}");
    }
}
