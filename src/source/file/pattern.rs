//! Which files a `file:` source means: the one at a path with those renamed from it, or all that match a pattern.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// What the user wrote after `file:`.
#[derive(Debug, Clone, Default)]
pub(super) struct Pattern {
    /// The file, as it is found in its directory, if there are no wildcards.
    path: Option<PathBuf>,
    /// The directory of the first name with a wildcard, or of the file.
    root: PathBuf,
    parts: Vec<Part>,
    exclude: Vec<String>,
}

/// One component after the root.
#[derive(Debug, Clone)]
enum Part {
    /// `*`, `?` and `[a-z]` match characters of a name.
    Matching(Vec<u8>),
    /// `**`: any directories, or none.
    Any,
    /// The name of a path without wildcards.
    Path(Vec<u8>),
}

/// What a name in a directory means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Meaning {
    /// As a file it is one of the source's.
    pub(super) is_file: bool,
    /// As a directory, it is looked into, at these places of the pattern.
    pub(super) inside: Vec<usize>,
    /// That holds for a link to a directory, too.
    pub(super) follows_links: bool,
}

impl Pattern {
    /// A path is a pattern if it has `*`, `?` or `[`, unless a file has just that name, and the pattern does not match it:
    /// `*.log` stays one.
    pub(super) fn new(path: &Path, exclude: &[String]) -> Self {
        let bytes = path.as_os_str().as_bytes();
        let is_glob = has_wildcard(path.as_os_str())
            && (matches_path(bytes, bytes) || fs::symlink_metadata(path).is_err());
        let mut root = PathBuf::new();
        let mut parts = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) if !parts.is_empty() || (is_glob && has_wildcard(name)) => {
                    parts.push(match name.as_bytes() {
                        b"**" => Part::Any,
                        name => Part::Matching(name.into()),
                    });
                }
                _ => root.push(component),
            }
        }
        if parts.is_empty() {
            let name = path.file_name().unwrap_or_default();
            root = path.parent().unwrap_or(Path::new("")).into();
            parts.push(Part::Path(name.as_bytes().into()));
        }
        if root.as_os_str().is_empty() {
            root.push(".");
        }
        let file = match &parts[..] {
            [Part::Path(name)] => Some(root.join(OsStr::from_bytes(name))),
            _ => None,
        };
        Pattern {
            path: file,
            root,
            parts,
            exclude: exclude.to_vec(),
        }
    }

    /// The path of a source without wildcards.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Whether all that it means is excluded, as far as that can be told.
    pub(super) fn is_in_vain(&self) -> bool {
        let has = |text: &[u8], marks: &[u8]| text.iter().any(|byte| marks.contains(byte));
        // If `*` and letters match a pattern's text, they match all that it matches.
        let mut broad = self.clone();
        broad.exclude.retain(|text| !has(text.as_bytes(), b"?["));
        let mut directory = self.root.clone();
        for part in &self.parts {
            match part {
                Part::Path(name) => return self.is_excluded(&directory, name),
                Part::Matching(name) if !has(name, b"[") => {
                    if broad.is_excluded(&directory, name) {
                        return true;
                    }
                    directory.push(OsStr::from_bytes(name));
                }
                _ => return false,
            }
        }
        false
    }

    /// Whether a file at this path is one of the source's.
    pub(super) fn means(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix(&self.root) else {
            return false;
        };
        let (mut directory, mut meaning) = (self.root.clone(), Meaning::default());
        meaning.inside.push(0);
        for name in rest {
            meaning = self.meaning(&meaning.inside, &directory, name.as_bytes());
            directory.push(name);
        }
        meaning.is_file
    }

    /// Where the walk over directories begins.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What `name` means in a directory that is at these places of the pattern.
    pub(super) fn meaning(&self, places: &[usize], directory: &Path, name: &[u8]) -> Meaning {
        let mut meaning = Meaning::default();
        for &place in places {
            self.add_meaning(place, name, &mut meaning);
        }
        meaning.inside.sort_unstable();
        meaning.inside.dedup();
        let is_meant = meaning.is_file || !meaning.inside.is_empty();
        if is_meant && self.is_excluded(directory, name) {
            return Meaning::default();
        }
        meaning
    }

    fn add_meaning(&self, place: usize, name: &[u8], meaning: &mut Meaning) {
        let is_last = place + 1 == self.parts.len();
        match self.parts.get(place) {
            Some(Part::Path(own)) => meaning.is_file |= is_or_was(own, name),
            Some(Part::Matching(pattern)) if pattern == name || matches(pattern, name) => {
                if is_last {
                    meaning.is_file = true;
                } else {
                    meaning.inside.push(place + 1);
                    meaning.follows_links = true;
                }
            }
            Some(Part::Any) => {
                // As in a shell, it enters no hidden directory, and no link, which may lead back.
                let is_hidden = name.starts_with(b".");
                if !is_hidden {
                    meaning.inside.push(place);
                    meaning.is_file |= is_last;
                }
                self.add_meaning(place + 1, name, meaning);
            }
            _ => {}
        }
    }

    /// A pattern with a slash applies to the whole path, one without to the name.
    pub(super) fn is_excluded(&self, directory: &Path, name: &[u8]) -> bool {
        self.exclude.iter().any(|pattern| {
            let pattern = pattern.as_bytes();
            if pattern.contains(&b'/') {
                let path = directory.join(OsStr::from_bytes(name));
                matches_path(pattern, path.as_os_str().as_bytes())
            } else {
                matches(pattern, name)
            }
        })
    }
}

/// Whether `name` is a file's own, or one that it may have been renamed to: `audit.log.1`, `audit.log-20260301`.
pub(super) fn is_or_was(own: &[u8], name: &[u8]) -> bool {
    match name.strip_prefix(own) {
        Some(rest) => matches!(rest.first(), None | Some(b'.' | b'-')),
        None => false,
    }
}

fn has_wildcard(text: &OsStr) -> bool {
    text.as_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// Component by component, with `**` for any number of them.
fn matches_path(pattern: &[u8], path: &[u8]) -> bool {
    let split = |text: &[u8]| -> Vec<Vec<u8>> {
        text.split(|byte| *byte == b'/').map(Into::into).collect()
    };
    let (pattern, path) = (split(pattern), split(path));
    // Whether the patterns so far match the components so far.
    let mut row: Vec<bool> = vec![false; path.len() + 1];
    row[0] = true;
    for part in &pattern {
        let mut next = vec![false; path.len() + 1];
        for (at, matched) in next.iter_mut().enumerate() {
            *matched = if part == b"**" {
                row[..=at].contains(&true)
            } else {
                at > 0 && row[at - 1] && matches(part, &path[at - 1])
            };
        }
        row = next;
    }
    row[path.len()]
}

/// Whether `name` matches a shell's pattern: `*` any characters, `?` one, `[a-z]` one of these, `[!a-z]` one that is
/// not. As in a shell, hidden names match only a pattern that begins with a dot.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    let (mut at, mut seen) = (0, 0);
    // The place after the last `*`, and how much of the name that has taken.
    let mut star = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, seen));
        } else if let Some(length) = match_one(&pattern[at..], name[seen]) {
            at += length;
            seen += 1;
        } else if let Some((behind, taken)) = &mut star {
            *taken += 1;
            (at, seen) = (*behind, *taken);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// The length of the pattern's first element, if that matches this byte.
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

    /// Which of these paths a pattern means.
    fn meant(pattern: &str, exclude: &[&str], paths: &str) -> String {
        let exclude: Vec<_> = exclude.iter().map(|text| (*text).to_owned()).collect();
        let pattern = Pattern::new(Path::new(pattern), &exclude);
        paths
            .split(' ')
            .filter(|path| pattern.means(Path::new(path)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_name_that_looks_like_a_pattern_is_meant_too_and_alone_only_if_it_does_not_match_itself() {
        let dir = tempfile::tempdir().unwrap();
        for (name, is_there, others, is_path) in [
            ("*.log", false, "a.log *.log", false),
            ("*.log", true, "a.log *.log", false),
            ("a[1].log", false, "a1.log a[1].log", false),
            ("a[1].log", true, "a[1].log a[1].log.1", true),
        ] {
            let path = dir.path().join(name);
            if is_there {
                fs::write(&path, "").unwrap();
            }
            let path = path.to_str().unwrap();
            let prefix = format!("{}/", dir.path().display());
            let paths = ["a.log", "*.log", "a1.log", "a[1].log", "a[1].log.1", "b"];
            let paths = paths.map(|name| format!("{prefix}{name}")).join(" ");
            let found = meant(path, &[], &paths).replace(&prefix, "");
            let expected: Vec<&str> = others.split(' ').collect();
            for name in expected {
                assert!(
                    found.split(' ').any(|it| it == name),
                    "{name} {is_there}: {found}"
                );
            }
            let is_it = Pattern::new(Path::new(path), &[]).path().is_some();
            assert_eq!(is_it, is_path, "{name} {is_there}");
        }
    }

    #[test]
    fn wildcards_stand_in_any_part() {
        let paths = "/l/pods/a/rgw/0.log /l/pods/b/rgw/1.log /l/pods/a/web/0.log /l/pods/.h/rgw/0.log /l/pods/rgw/0.log /l/0.log";
        for (pattern, expected) in [
            (
                "/l/pods/*/rgw/*.log",
                "/l/pods/a/rgw/0.log /l/pods/b/rgw/1.log",
            ),
            ("/l/pods/[!a]/*/*.log", "/l/pods/b/rgw/1.log"),
            (
                "/l/**/0.log",
                "/l/pods/a/rgw/0.log /l/pods/a/web/0.log /l/pods/rgw/0.log /l/0.log",
            ),
            (
                "/l/**/rgw/*",
                "/l/pods/a/rgw/0.log /l/pods/b/rgw/1.log /l/pods/rgw/0.log",
            ),
            (
                "/l/pods/**",
                "/l/pods/a/rgw/0.log /l/pods/b/rgw/1.log /l/pods/a/web/0.log /l/pods/rgw/0.log",
            ),
            ("/l/*", "/l/0.log"),
            ("/l/0.log", "/l/0.log"),
        ] {
            assert_eq!(meant(pattern, &[], paths), expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_excluded_is_not_meant() {
        let paths = "/l/a/x.log /l/a/x.log.gz /l/b/x.log";
        for (exclude, expected) in [
            (&["*.gz"][..], "/l/a/x.log /l/b/x.log"),
            (&["/l/a/*"], "/l/b/x.log"),
            (&["/l/a"], "/l/b/x.log"),
            (&["**/b/**"], "/l/a/x.log /l/a/x.log.gz"),
            (&["x*", "y"], ""),
        ] {
            assert_eq!(meant("/l/*/*", exclude, paths), expected, "{exclude:?}");
        }
    }

    #[test]
    fn a_path_means_also_what_was_renamed_from_it() {
        let paths = "/l/a.log /l/a.log.1 /l/a.log-2026.gz /l/a.logs /l/b.log /l/a.log/1";
        assert_eq!(
            meant("/l/a.log", &[], paths),
            "/l/a.log /l/a.log.1 /l/a.log-2026.gz"
        );
        assert_eq!(Pattern::new(Path::new("a.log"), &[]).root(), Path::new("."));
        assert_eq!(Pattern::new(Path::new("*.log"), &[]).root(), Path::new("."));
        assert!(Pattern::new(Path::new("/l/*.log"), &[]).path().is_none());
    }

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
            ("log.[!0-9]", "log.a log.- log.! log.[", "log.1"),
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

    /// The simplest matcher of `*` and `?`.
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
