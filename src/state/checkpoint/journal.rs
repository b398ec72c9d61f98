//! The text of a checkpoint, which is parsed with distrust.
//!
//! A header line, then one record per line: its CRC-32, a blank, and one JSON object with the number of the file and
//! either all that is known of the file or that it was dropped. A later record replaces an earlier one of the same
//! number. So a change costs one short write, and a torn or damaged record costs no other: an older offset then
//! applies, and some events are sent again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, BufRead, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::file_offset::FileOffset;
use super::fingerprint::{Fingerprint, HEAD_BYTES};
use crate::state::PROGRAM;
use crate::text::hex;

/// No line is longer: a path of 4 KiB, with all of it escaped, is in it twice.
pub(super) const MAX_LINE: usize = 64 << 10;
/// The version of the format.
pub const VERSION: u64 = 2;

/// What a checkpoint says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// By the number that a file has in the checkpoint.
    pub files: BTreeMap<u64, FileOffset>,
    /// Records that were damaged, not counting a torn last one.
    pub damaged: usize,
}

/// The first line.
pub(super) fn header(source: &str) -> String {
    let header = json!({ "program": PROGRAM, "checkpoint": VERSION, "source": source });
    format!("{header}\n")
}

/// Appends a file's record; without a file, a record that the number was dropped.
pub(super) fn append(text: &mut String, number: u64, file: Option<&FileOffset>) {
    let record = match file {
        None => format!("{{\"id\":{number},\"dropped\":true}}"),
        Some(file) => describe(number, file),
    };
    let crc = crc32fast::hash(record.as_bytes());
    // A String takes whatever is written to it.
    let _ = writeln!(text, "{crc:08x} {record}");
}

fn describe(number: u64, file: &FileOffset) -> String {
    let path = file.path.as_os_str().as_bytes();
    let shown = Value::from(String::from_utf8_lossy(path));
    let FileOffset {
        inode,
        offset,
        length,
        ..
    } = file;
    let head = show(file.head);
    let mut record = format!(
        "{{\"id\":{number},\"path\":{shown},\"inode\":{inode},\"offset\":{offset},\"length\":{length},\"head\":{head}"
    );
    if str::from_utf8(path).is_err() {
        let _ = write!(record, ",\"path_hex\":\"{}\"", hex::encode(path));
    }
    for (number, name) in [
        (file.device, "device"),
        (file.original, "original"),
        (file.packed, "packed"),
    ] {
        if number != 0 {
            let _ = write!(record, ",\"{name}\":{number}");
        }
    }
    if !file.tail.is_empty() {
        let _ = write!(record, ",\"tail\":{}", show(file.tail));
    }
    for (is_set, name) in [(file.is_gone, "gone"), (file.is_skipped, "skipped")] {
        if is_set {
            let _ = write!(record, ",\"{name}\":true");
        }
    }
    record.push('}');
    record
}

/// Reads a checkpoint's text; without `source`, that of any source.
///
/// # Errors
/// It is not a checkpoint, or it is that of another source or version.
pub fn replay(mut text: impl BufRead, source: Option<&str>) -> Result<Replayed, String> {
    let mut line = Vec::new();
    next_line(&mut text, &mut line)?;
    let header: Value =
        serde_json::from_slice(&line).map_err(|_| "its first line is damaged".to_owned())?;
    if header["program"] != PROGRAM {
        return Err("it is no checkpoint".into());
    }
    let version = &header["checkpoint"];
    if *version != VERSION {
        return Err(format!("it is of version {version}"));
    }
    if source.is_some_and(|source| header["source"] != source) {
        return Err("it is another source's".into());
    }
    let mut replayed = Replayed::default();
    while next_line(&mut text, &mut line)? {
        // The last line is torn if the host or the agent ended during the write.
        let is_whole = line.ends_with(b"\n");
        match record(&line) {
            Some((number, Some(file))) => {
                replayed.files.insert(number, file);
            }
            Some((number, None)) => {
                replayed.files.remove(&number);
            }
            None => replayed.damaged += usize::from(is_whole),
        }
    }
    Ok(replayed)
}

/// Reads a line, or a part of one that is too long for a record. False at the end.
fn next_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, String> {
    line.clear();
    let mut text = text.by_ref().take(MAX_LINE as u64);
    let read = text.read_until(b'\n', line).map_err(unreadable)?;
    Ok(read > 0)
}

pub(super) fn unreadable(error: io::Error) -> String {
    format!("can't be read: {error}")
}

/// Whether a text is meant to be a checkpoint of this format, or of a later version's.
pub(super) fn is_one(text: &[u8]) -> bool {
    let first = text.split(|byte| *byte == b'\n').next();
    let header = first.and_then(|line| serde_json::from_slice::<Value>(line).ok());
    let version = header.and_then(|header| header["checkpoint"].as_u64());
    version.is_some_and(|version| version >= VERSION)
}

fn record(line: &[u8]) -> Option<(u64, Option<FileOffset>)> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, record) = line.split_at_checked(8)?;
    let record = record.strip_prefix(b" ")?;
    if sum != format!("{:08x}", crc32fast::hash(record)).as_bytes() {
        return None;
    }
    let record: Value = serde_json::from_slice(record).ok()?;
    let number = record["id"].as_u64()?;
    if record["dropped"] == true {
        return Some((number, None));
    }
    let tail = match &record["tail"] {
        Value::Null => Fingerprint::default(),
        tail => read(tail)?,
    };
    let file = FileOffset {
        path: path(&record)?,
        device: record["device"].as_u64().unwrap_or_default(),
        inode: record["inode"].as_u64()?,
        offset: record["offset"].as_u64()?,
        length: record["length"].as_u64()?,
        original: record["original"].as_u64().unwrap_or_default(),
        packed: record["packed"].as_u64().unwrap_or_default(),
        head: read(&record["head"])?,
        tail,
        is_gone: record["gone"] == true,
        is_skipped: record["skipped"] == true,
    };
    // No more than the offset was read.
    let is_sound = file.tail.len() as u64 <= file.offset;
    is_sound.then_some((number, Some(file)))
}

fn path(record: &Value) -> Option<Arc<Path>> {
    let Some(digits) = record["path_hex"].as_str() else {
        return Some(Path::new(record["path"].as_str()?).into());
    };
    Some(Path::new(OsStr::from_bytes(&hex::decode(digits)?)).into())
}

fn show(fingerprint: Fingerprint) -> String {
    format!("\"{}:{:016x}\"", fingerprint.len(), { fingerprint.hash })
}

fn read(text: &Value) -> Option<Fingerprint> {
    let (bytes, hash) = text.as_str()?.split_once(':')?;
    let fingerprint = Fingerprint {
        bytes: bytes.parse().ok()?,
        hash: u64::from_str_radix(hash, 16).ok()?,
    };
    (fingerprint.len() <= HEAD_BYTES).then_some(fingerprint)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn file() -> impl Strategy<Value = FileOffset> {
        let path = vec(any::<u8>(), 1..12);
        let numbers = any::<[u64; 6]>();
        let head = (0..=1024_u16, any::<u64>());
        let tail = proptest::option::of((1..=1024_u16, any::<u64>()));
        (path, numbers, head, tail, any::<(bool, bool)>()).prop_map(
            |(path, numbers, head, tail, flags)| {
                let [device, inode, offset, length, original, packed] = numbers;
                FileOffset {
                    path: Path::new(OsStr::from_bytes(&path)).into(),
                    device,
                    inode,
                    offset,
                    length,
                    original,
                    packed,
                    head: Fingerprint {
                        bytes: head.0,
                        hash: head.1,
                    },
                    tail: tail.map_or_else(Fingerprint::default, |(bytes, hash)| Fingerprint {
                        bytes: bytes.min(u16::try_from(offset).unwrap_or(u16::MAX)),
                        hash,
                    }),
                    is_gone: flags.0,
                    is_skipped: flags.1,
                }
            },
        )
    }

    /// Records with few numbers, so that they replace each other.
    fn records() -> impl Strategy<Value = Vec<(u64, Option<FileOffset>)>> {
        vec((0..4_u64, proptest::option::weighted(0.8, file())), 0..12)
    }

    fn render(records: &[(u64, Option<FileOffset>)]) -> String {
        let mut text = header("file:/a");
        for (number, file) in records {
            append(&mut text, *number, file.as_ref());
        }
        text
    }

    /// What the newest record of each number says.
    fn newest(records: &[(u64, Option<FileOffset>)]) -> BTreeMap<u64, FileOffset> {
        let mut files = BTreeMap::new();
        for (number, file) in records {
            match file {
                Some(file) => files.insert(*number, file.clone()),
                None => files.remove(number),
            };
        }
        files
    }

    proptest! {
        #[test]
        fn a_checkpoint_reads_as_it_was_written(records in records()) {
            let replayed = replay(render(&records).as_bytes(), Some("file:/a")).unwrap();
            prop_assert_eq!(replayed.files, newest(&records));
            prop_assert_eq!(replayed.damaged, 0);
        }

        #[test]
        fn a_torn_end_costs_the_torn_record_only(records in records(), cut in any::<prop::sample::Index>()) {
            let text = render(&records);
            let first = text.find('\n').unwrap() + 1;
            let cut = first + cut.index(text.len() - first + 1);
            let torn = &text.as_bytes()[first..cut];
            let whole = torn.iter().filter(|byte| **byte == b'\n').count();
            let replayed = replay(&text.as_bytes()[..cut], Some("file:/a")).unwrap();
            prop_assert_eq!(replayed.files, newest(&records[..whole]));
            prop_assert_eq!(replayed.damaged, 0);
        }

        #[test]
        fn a_damaged_byte_costs_its_own_record_only(
            records in records(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut text = render(&records).into_bytes();
            let first = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            prop_assume!(text.len() > first);
            let at = first + at.index(text.len() - first);
            prop_assume!(text[at] != byte && text[at] != b'\n');
            let hit = text[first..at].iter().filter(|byte| **byte == b'\n').count();
            text[at] = byte;
            let mut records = records;
            records.remove(hit);
            let replayed = replay(&*text, Some("file:/a")).unwrap();
            prop_assert_eq!(replayed.files, newest(&records));
        }

        #[test]
        fn no_bytes_panic(text in vec(any::<u8>(), 0..300)) {
            let mut all = header("file:/a").into_bytes();
            all.extend(text);
            let _ = replay(&*all, Some("file:/a"));
        }
    }

    #[test]
    fn another_sources_checkpoint_is_rejected() {
        let text = header("file:/a");
        let newer = text.replace(":2", ":3");
        for (text, source, what) in [
            (&*text, "file:/b", "another source's"),
            ("", "file:/b", "first line"),
            (&*newer, "file:/a", "version"),
        ] {
            let error = replay(text.as_bytes(), Some(source)).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
        assert!(replay(text.as_bytes(), None).is_ok());
    }
    #[test]
    fn damaged_records_are_counted_except_for_a_torn_one() {
        let text = header("file:/a") + "x\n{}\n{\"id\":";
        let replayed = replay(text.as_bytes(), None).unwrap();
        assert_eq!((replayed.damaged, replayed.files.len()), (2, 0));
        for version in ["2", "3"] {
            let text = text.replace(":2", &format!(":{version}"));
            assert!(is_one(text.as_bytes()), "{text}");
        }
        for other in ["", "{", "{}", "{\"checkpoint\":1}"] {
            assert!(!is_one(other.as_bytes()), "{other}");
        }
    }
}
