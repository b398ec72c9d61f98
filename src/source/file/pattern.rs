//! Which files a `file:` source means: the one at a path, or all whose names match a pattern.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What the user wrote behind `file:`.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    path: PathBuf,
    is_glob: bool,
}

/// What stays the same when a file is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    device: u64,
    pub(super) inode: u64,
}

impl Identity {
    pub(super) fn of(found: &Metadata) -> Self {
        Identity {
            device: found.dev(),
            inode: found.ino(),
        }
    }
}

/// A regular file as it is now.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) length: u64,
    pub(super) modified: SystemTime,
}

impl Listed {
    fn of(path: PathBuf, found: &Metadata) -> Self {
        Listed {
            path,
            identity: Identity::of(found),
            length: found.len(),
            modified: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

impl Pattern {
    /// A pattern has `*`, `?` or `[` in its last component, unless a file has just that name.
    pub(super) fn new(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let is_glob =
            name.iter().any(|byte| b"*?[".contains(byte)) && fs::symlink_metadata(path).is_err();
        Pattern {
            path: path.into(),
            is_glob,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_glob(&self) -> bool {
        self.is_glob
    }

    pub(super) fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(directory) if directory != Path::new("") => directory,
            _ => Path::new("."),
        }
    }

    /// The files that it means, those changed last at the end. None is no error; something else than a
    /// file at a path is one.
    pub(super) fn list(&self) -> io::Result<Vec<Listed>> {
        if self.is_glob {
            let pattern = self.path.file_name().unwrap_or_default().as_bytes();
            return self.list_named(|name| matches(pattern, name));
        }
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Ok(found) if !found.is_file() => Err(io::Error::other(
                "it is no regular file; for a FIFO use stdin, for a socket unix:PATH",
            )),
            found => Ok(vec![Listed::of(self.path.clone(), &found?)]),
        }
    }

    /// The same, and of a path also what may have been renamed from it: all whose names begin with its name.
    pub(super) fn list_with_renamed(&self) -> io::Result<Vec<Listed>> {
        if self.is_glob {
            return self.list();
        }
        let own = self.path.file_name().unwrap_or_default().as_bytes();
        self.list_named(|name| name.starts_with(own))
    }

    fn list_named(&self, is_meant: impl Fn(&[u8]) -> bool) -> io::Result<Vec<Listed>> {
        let mut listed: Vec<Listed> = Vec::new();
        for entry in fs::read_dir(self.directory())? {
            let name = entry?.file_name();
            if !is_meant(name.as_bytes()) {
                continue;
            }
            let path = self.path.with_file_name(&name);
            match fs::metadata(&path) {
                Ok(found) if found.is_file() => listed.push(Listed::of(path, &found)),
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // A file of several names is one.
        listed.sort_by(|a, b| (a.identity, &a.path).cmp(&(b.identity, &b.path)));
        listed.dedup_by_key(|file| file.identity);
        listed.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        Ok(listed)
    }
}

/// A path's name, for a place.
pub(super) fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(OsStr::new(""));
    name.to_string_lossy().into_owned()
}

/// Whether `name` matches a shell's pattern: `*` any characters, `?` one, `[a-z]` and `[!a-z]` one of or but these.
/// As in a shell, hidden names match only a pattern that begins with a dot.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    let (mut at, mut seen) = (0, 0);
    // Behind the last `*`, and how much of the name it has taken.
    let mut star = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, seen));
        } else if let Some(length) = match_one(&pattern[at..], name[seen]) {
            at += length;
            seen += 1;
        } else if let Some((behind, taken)) = star {
            (at, seen) = (behind, taken + 1);
            star = Some((behind, taken + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// The length of what the pattern begins with, if that matches this byte.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let is_negated = matches!(pattern.get(1), Some(b'!' | b'^'));
            let start = 1 + usize::from(is_negated);
            // A `]` right at the beginning is one of the set.
            let set = pattern.get(start + 1..).unwrap_or_default();
            let length = set.iter().position(|byte| *byte == b']');
            let Some(length) = length.map(|length| length + 1) else {
                return (byte == b'[').then_some(1);
            };
            let set = &pattern[start..start + length];
            (in_set(set, byte) != is_negated).then_some(start + length + 1)
        }
        literal => (*literal == byte).then_some(1),
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    while let [first, rest @ ..] = set {
        set = match rest {
            [b'-', last, rest @ ..] => {
                if (*first..=*last).contains(&byte) {
                    return true;
                }
                rest
            }
            _ if *first == byte => return true,
            _ => rest,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, matching, other) in [
            (
                "audit*.log",
                "audit.log audit-1.log audit.log.log",
                "audit.log.1 audi.log x-audit.log",
            ),
            (
                "audit.log*",
                "audit.log audit.log.1 audit.log-2026",
                "audit.lo .audit.log",
            ),
            ("*", "a b.c", ".a"),
            (".a*", ".a .ab", "a"),
            ("a?c", "abc a*c", "ac abbc"),
            ("a*b*c", "abc aXbYc abbcc", "ab acb"),
            ("log.[0-9]", "log.1 log.9", "log.a log. log.10"),
            ("log.[!0-9]", "log.a log.-", "log.1"),
            ("log.[^0-9x]", "log.a", "log.1 log.x"),
            ("[]a]", "] a", "b []a]"),
            ("[a-]", "a -", "b"),
            ("a[", "a[", "a"),
            ("a[b", "a[b", "ab"),
        ] {
            for name in matching.split(' ') {
                assert!(
                    matches(pattern.as_bytes(), name.as_bytes()),
                    "{pattern} {name}"
                );
            }
            for name in other.split(' ') {
                assert!(
                    !matches(pattern.as_bytes(), name.as_bytes()),
                    "{pattern} {name}"
                );
            }
        }
    }

    /// The plainest matcher of `*` and `?`.
    fn plain(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', pattern @ ..], _) => (0..=name.len()).any(|at| plain(pattern, &name[at..])),
            ([b'?', pattern @ ..], [_, name @ ..]) => plain(pattern, name),
            ([a, pattern @ ..], [b, name @ ..]) => a == b && plain(pattern, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn stars_match_whatever_they_can(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                plain(pattern.as_bytes(), name.as_bytes())
            );
        }

        #[test]
        fn no_pattern_panics(pattern in "[a*?\\[\\]!^-]{0,12}", name in "[a*?\\[\\]!^-]{0,12}") {
            matches(pattern.as_bytes(), name.as_bytes());
        }
    }
}
