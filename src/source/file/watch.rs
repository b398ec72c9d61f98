//! Finding the files that a source means, also while its reader waits for room: they may be renamed,
//! and renamed again, before it comes to them.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::pattern::{Identity, Listed, Pattern};
use super::tracked::Tracked;

/// Files that are kept open: beyond, those that were read are closed, and those found later not opened
/// before their turn.
pub(super) const MOST_OPEN: usize = 64;

/// What there is, and what of it the reader does not have yet.
pub(super) struct Watch {
    pub(super) pattern: Pattern,
    /// Found, but not taken by the reader.
    found: Vec<Tracked>,
    /// Those found and not done with.
    known: BTreeSet<Identity>,
    /// All there are, those changed last at the end.
    present: Vec<Listed>,
    /// The next file's number.
    next: u64,
}

impl Watch {
    pub(super) fn new(pattern: Pattern) -> Self {
        Watch {
            pattern,
            found: Vec::new(),
            known: BTreeSet::new(),
            present: Vec::new(),
            next: 0,
        }
    }

    /// Looks for files that are new, and opens them. One that can't be opened is looked at again the next time, and
    /// does not keep the others from being found.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.present = match self.pattern.list() {
            Ok(present) => present,
            Err(error) => {
                // What is open can be read on. Of many files some are not, and are better waited for.
                if !self.pattern.is_glob() {
                    self.present.clear();
                }
                return Err(error);
            }
        };
        let mut result = Ok(());
        for listed in self.present.clone() {
            if self.known.contains(&listed.identity) {
                continue;
            }
            let mut file = self.add(&listed);
            if self.found.len() < MOST_OPEN
                && let Err(error) = file.open()
            {
                // It may have been replaced just now.
                if error.kind() != ErrorKind::NotFound && result.is_ok() {
                    result = Err(name(&self.pattern, &listed.path, error));
                }
                continue;
            }
            self.known.insert(listed.identity);
            self.found.push(file);
        }
        result
    }

    /// Gives a file its number.
    pub(super) fn add(&mut self, listed: &Listed) -> Tracked {
        Tracked::new(self.number(), listed)
    }

    /// A number that no file has.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The reader has this one.
    pub(super) fn know(&mut self, identity: Identity) {
        self.known.insert(identity);
    }

    /// The reader is done with this one.
    pub(super) fn forget(&mut self, identity: Identity) {
        self.known.remove(&identity);
    }

    /// What the reader does not have yet.
    pub(super) fn take_found(&mut self) -> Vec<Tracked> {
        std::mem::take(&mut self.found)
    }

    /// All there are.
    pub(super) fn present(&self) -> &[Listed] {
        &self.present
    }
}

/// Of several files, the error says which.
pub(super) fn name(pattern: &Pattern, path: &Path, error: io::Error) -> io::Error {
    if pattern.is_glob() {
        io::Error::other(format!("{}: {error}", path.display()))
    } else {
        error
    }
}
