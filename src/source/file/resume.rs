//! Finding the files again that an earlier start has read, by what they begin with: they may have been renamed, or
//! copied and truncated, since.

use std::io;

use super::pattern::Listed;
use super::tracked::Tracked;
use super::watch::Watch;
use crate::state::checkpoint::{FileOffset, HEAD_BYTES};
use crate::telemetry::message::Message;

/// A file that may be one of those.
struct Candidate {
    file: Tracked,
    listed: Listed,
    head: Vec<u8>,
    is_taken: bool,
}

impl Candidate {
    fn is(&self, place: &FileOffset) -> bool {
        !self.is_taken && self.listed.length >= place.offset && place.fingerprint.fits(&self.head)
    }
}

/// What became of the files of an earlier start.
#[derive(Default)]
pub(super) struct Resumed {
    /// Ready to be read on, those changed last at the end.
    pub(super) files: Vec<Tracked>,
    /// All of them, if none is there: their filesystem may not be, yet.
    pub(super) awaited: Vec<FileOffset>,
    /// What the operator should know.
    pub(super) notices: Vec<Missing>,
}

/// What of an earlier start is not there.
pub(super) enum Missing {
    /// All files.
    All,
    /// A file, of which so many bytes had not been read.
    File { place: FileOffset, unread: u64 },
}

impl Missing {
    /// Logs it of a source.
    pub(super) fn log(&self, source: &str) {
        let source = source.to_owned();
        match self {
            Missing::All => Message::FilesAwaited { source },
            Missing::File { place, unread: 0 } => Message::FileGone {
                source,
                file: place.name.clone(),
            },
            Missing::File { place, unread } => Message::FileGoneUnread {
                source,
                file: place.name.clone(),
                offset: place.offset,
                bytes: *unread,
            },
        }
        .log();
    }
}

/// Finds the files of these places.
///
/// # Errors
/// The directory can't be read.
pub(super) fn find(places: Vec<FileOffset>, watch: &mut Watch) -> io::Result<Resumed> {
    let mut notices = Vec::new();
    let mut candidates = Vec::new();
    for listed in watch.pattern.list_with_renamed()? {
        let mut file = watch.add(&listed);
        // What can't be read is not found; a file that is meant is an error at the first look.
        if let Ok(head) = file.read_head(HEAD_BYTES) {
            if watch.pattern.is_glob() {
                // There may be many, and they are found again at their turn.
                file.close();
            }
            candidates.push(Candidate {
                file,
                listed,
                head,
                is_taken: false,
            });
        }
    }
    if candidates.is_empty() && !places.is_empty() {
        return Ok(Resumed {
            awaited: places,
            notices: vec![Missing::All],
            ..Resumed::default()
        });
    }
    let (_, missing): (Vec<_>, Vec<_>) = places
        .iter()
        .partition(|place| take(&mut candidates, place, true));
    // A copy, of which the original was truncated.
    for place in missing {
        if !take(&mut candidates, place, false) {
            notices.push(Missing::File {
                unread: place.length.saturating_sub(place.offset),
                place: place.clone(),
            });
        }
    }
    let found = candidates.into_iter().filter(|found| found.is_taken);
    let files = found.map(|found| {
        let mut file = found.file;
        if !watch.pattern.is_glob() {
            // What was renamed from the path, and is followed by what is there now.
            file.path = watch.pattern.path().into();
        }
        watch.know(file.identity);
        file
    });
    Ok(Resumed {
        files: files.collect(),
        awaited: Vec::new(),
        notices,
    })
}

fn take(candidates: &mut [Candidate], place: &FileOffset, is_same_inode: bool) -> bool {
    let found = candidates.iter_mut().find(|candidate| {
        candidate.is(place) && (!is_same_inode || candidate.listed.identity.inode == place.inode)
    });
    let Some(found) = found else { return false };
    found.is_taken = true;
    let head = found.head[..place.fingerprint.bytes].to_vec();
    found.file.resume(place.offset, head);
    true
}
