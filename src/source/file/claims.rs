//! Which source reads which file, so that it is noticed if two read the same: then its events are sent twice.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::listing::{Identity, Listed};

/// With more files than this, only the latest are compared.
const MAX_FILES: usize = 100_000;

/// The files of all sources; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<Claimed>>);

/// Who has found a file, and where.
type Claimed = HashMap<Identity, (Arc<str>, Arc<Path>)>;

impl Claims {
    /// This source has found a file. Returns the name of another source that has found it, too.
    pub(super) fn claim(&self, source: &Arc<str>, found: &Listed) -> Option<Arc<str>> {
        let mut claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.len() >= MAX_FILES {
            claimed.clear();
        }
        let claim = (Arc::clone(source), Arc::clone(&found.path));
        let (other, path) = claimed.insert(found.identity, claim)?;
        drop(claimed);
        // The other file may be gone, and its inode number in use again.
        let is_there =
            |path| fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == found.identity);
        (other != *source && is_there(path)).then_some(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_claimed_twice_while_it_is_at_both_paths() {
        let dir = tempfile::tempdir().unwrap();
        let [one, link, moved] = ["one", "link", "moved"].map(|name| dir.path().join(name));
        fs::write(&one, "").unwrap();
        fs::hard_link(&one, &link).unwrap();
        let listed = |path: &Path| Listed::of(path.into(), 0, &fs::metadata(path).unwrap());
        let [a, b] = ["file:a", "file:b"].map(Arc::<str>::from);
        let claims = Claims::default();
        assert_eq!(claims.claim(&a, &listed(&one)), None, "nobody else");
        assert_eq!(claims.claim(&a, &listed(&link)), None, "itself");
        let clone = claims.clone();
        assert_eq!(clone.claim(&b, &listed(&one)), Some(a.clone()));
        fs::rename(&one, &moved).unwrap();
        assert_eq!(
            claims.claim(&a, &listed(&moved)),
            None,
            "rotated away from b"
        );
    }
}
