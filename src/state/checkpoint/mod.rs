//! How far each file of a `file:` source has come, kept under `--state-dir` so that the next start goes on
//! from there: the file's text, which is read here with distrust.
//!
//! Versioned JSON, one file a source and host. A place is passed only when every event before it has ended
//! (see [`Progress`]), so that after whatever end of the agent each event is read at least once.

mod progress;
mod store;
mod writer;

use serde_json::{Value, json};

pub use progress::{Progress, Reached};
pub use store::{Found, Store};
pub use writer::{CheckpointWriter, Restored, Running, open};

use crate::state::PROGRAM;

/// Of the format. Another one is not understood.
const VERSION: u64 = 1;
/// So many of a file's first bytes tell it from others.
pub const HEAD_BYTES: usize = 1024;
/// A checkpoint is never longer than this: some 100,000 files.
const LONGEST: u64 = 32 << 20;

/// What a file begins with: inode numbers are used again, and device numbers change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// Of how many bytes, [`HEAD_BYTES`] at most; fewer while no more of the file was read.
    pub bytes: usize,
    /// What they come to.
    pub hash: u64,
}

impl Fingerprint {
    /// Of a file that begins with these bytes.
    pub fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(HEAD_BYTES)];
        Fingerprint {
            bytes: head.len(),
            hash: hash(head),
        }
    }

    /// Whether a file that begins with `head` is the one.
    pub fn fits(self, head: &[u8]) -> bool {
        head.get(..self.bytes)
            .is_some_and(|head| hash(head) == self.hash)
    }
}

/// FNV-1a of 64 bits. Not the standard library's, whose values may change with its version.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// How far one file has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileOffset {
    /// Its name when it was last seen, for those who read this.
    pub name: String,
    /// Its inode number.
    pub inode: u64,
    /// All events before this byte have ended.
    pub offset: u64,
    /// Its length when it was last seen.
    pub length: u64,
    /// What it begins with.
    pub fingerprint: Fingerprint,
}

/// The checkpoint's text.
fn render(source: &str, places: &[FileOffset]) -> String {
    let files = places.iter().map(|place| {
        json!({
            "name": place.name,
            "inode": place.inode,
            "offset": place.offset,
            "length": place.length,
            "head_bytes": place.fingerprint.bytes,
            "head_hash": format!("{:016x}", place.fingerprint.hash),
        })
    });
    let checkpoint = json!({
        "program": PROGRAM,
        "checkpoint": VERSION,
        "source": source,
        "files": files.collect::<Vec<_>>(),
    });
    format!("{checkpoint:#}\n")
}

/// Reads a checkpoint's text.
///
/// # Errors
/// It is none, or none of this source, or of another version.
pub fn parse(text: &[u8], source: &str) -> Result<Vec<FileOffset>, String> {
    let checkpoint: Value =
        serde_json::from_slice(text).map_err(|_| "it is no whole JSON".to_owned())?;
    if checkpoint["program"] != PROGRAM {
        return Err("it is no checkpoint".into());
    }
    match &checkpoint["checkpoint"] {
        version if *version == VERSION => {}
        Value::Number(version) => return Err(format!("it is of version {version}, not {VERSION}")),
        _ => return Err("it is no checkpoint".into()),
    }
    if checkpoint["source"] != source {
        return Err("it is another source's".into());
    }
    let files = checkpoint["files"].as_array();
    files
        .and_then(|files| files.iter().map(place).collect())
        .ok_or_else(|| "it does not say of every file how far it has come".into())
}

fn place(file: &Value) -> Option<FileOffset> {
    let hash = file["head_hash"].as_str()?;
    let place = FileOffset {
        name: file["name"].as_str()?.to_owned(),
        inode: file["inode"].as_u64()?,
        offset: file["offset"].as_u64()?,
        length: file["length"].as_u64()?,
        fingerprint: Fingerprint {
            bytes: usize::try_from(file["head_bytes"].as_u64()?).ok()?,
            hash: u64::from_str_radix(hash, 16).ok()?,
        },
    };
    // What is before the offset was read, so the beginning was.
    let known = place.fingerprint.bytes;
    (known <= HEAD_BYTES && known as u64 >= place.offset.min(HEAD_BYTES as u64)).then_some(place)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn places() -> impl Strategy<Value = Vec<FileOffset>> {
        let place = (
            "[ -~é\n\"\\\\]{0,20}",
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            0..=HEAD_BYTES,
            any::<u64>(),
        );
        let place = place.prop_map(|(name, inode, offset, length, bytes, hash)| FileOffset {
            name,
            inode,
            offset: if bytes < HEAD_BYTES {
                offset % (bytes as u64 + 1)
            } else {
                offset
            },
            length,
            fingerprint: Fingerprint { bytes, hash },
        });
        vec(place, 0..5)
    }

    #[test]
    fn a_fingerprint_fits_the_file_when_it_has_grown() {
        let file: Vec<u8> = (0..2000u32).map(|n| (n % 251) as u8).collect();
        for length in [1, 20, 1023, 1024, 1025, 2000] {
            let fingerprint = Fingerprint::of(&file[..length]);
            assert!(fingerprint.fits(&file[..length]));
            assert!(fingerprint.fits(&file));
            assert!(!fingerprint.fits(&file[..length.min(1024) - 1]), "shorter");
            let mut other = file.clone();
            other[length.min(1024) - 1] ^= 1;
            assert!(!fingerprint.fits(&other), "another byte");
        }
    }

    #[test]
    fn hashes_do_not_change_with_the_program() {
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn what_is_no_checkpoint_of_this_source_is_refused_with_the_reason() {
        let place = FileOffset {
            offset: 3,
            fingerprint: Fingerprint::of(b"abc"),
            ..FileOffset::default()
        };
        let text = render("file:/a", std::slice::from_ref(&place));
        assert_eq!(parse(text.as_bytes(), "file:/a").unwrap(), [place]);
        for (text, what) in [
            (text.replace("/a", "/b"), "another source's"),
            (
                text.replace("\"checkpoint\": 1", "\"checkpoint\": 2"),
                "of version 2",
            ),
            (
                text.replace("\"checkpoint\": 1", "\"checkpoint\": \"1\""),
                "no checkpoint",
            ),
            (text.replace(PROGRAM, "other"), "no checkpoint"),
            (
                text.replace("\"head_bytes\": 3", "\"head_bytes\": 2"),
                "does not say",
            ),
            (
                text.replace("\"head_bytes\": 3", "\"head_bytes\": 9999"),
                "does not say",
            ),
            (
                text.replace("\"offset\": 3", "\"offset\": -3"),
                "does not say",
            ),
            (
                text.replace("\"offset\": 3", "\"offset\": 1e3"),
                "does not say",
            ),
            (text.replace("files", "file"), "does not say"),
            (text[..text.len() / 2].into(), "no whole JSON"),
            (String::new(), "no whole JSON"),
            ("[]".into(), "no checkpoint"),
        ] {
            let error = parse(text.as_bytes(), "file:/a").unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_checkpoint_reads_as_it_was_written(places in places(), source in ".{0,20}") {
            let text = render(&source, &places);
            prop_assert_eq!(parse(text.as_bytes(), &source).unwrap(), places);
        }

        #[test]
        fn what_is_cut_off_or_damaged_is_refused_or_still_sound(
            places in places(),
            cut in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut text = render("file:/a", &places).into_bytes();
            let at = cut.index(text.len() - 2);
            prop_assert!(parse(&text[..at], "file:/a").is_err());
            text[at] = byte;
            for place in parse(&text, "file:/a").unwrap_or_default() {
                prop_assert!(place.fingerprint.bytes <= HEAD_BYTES);
            }
        }

        #[test]
        fn no_bytes_panic(text in vec(any::<u8>(), 0..200)) {
            let _ = parse(&text, "file:/a");
        }
    }
}
