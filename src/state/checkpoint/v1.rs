//! Checkpoints as 0.1 wrote them: one JSON object a source, without devices and directories.

use std::path::Path;

use serde_json::Value;

use super::file_offset::FileOffset;
use super::fingerprint::{Fingerprint, HEAD_BYTES};
use crate::state::PROGRAM;

/// Reads such a checkpoint's text; without `source`, that of any source.
///
/// # Errors
/// It is not a checkpoint, or it is that of another source or version.
pub fn parse(text: &[u8], source: Option<&str>) -> Result<Vec<FileOffset>, String> {
    let checkpoint: Value =
        serde_json::from_slice(text).map_err(|_| "it is no whole JSON".to_owned())?;
    if checkpoint["program"] != PROGRAM {
        return Err("it is no checkpoint".into());
    }
    match &checkpoint["checkpoint"] {
        version if *version == 1 => {}
        Value::Number(version) => return Err(format!("it is of version {version}, not 1 or 2")),
        _ => return Err("it is no checkpoint".into()),
    }
    let own = checkpoint["source"].as_str().unwrap_or_default();
    if source.is_some_and(|source| source != own) {
        return Err("it is another source's".into());
    }
    let path = Path::new(own.strip_prefix("file:").unwrap_or(own));
    let directory = path.parent().unwrap_or(Path::new("/"));
    let files = checkpoint["files"].as_array();
    files
        .and_then(|files| files.iter().map(|file| entry(file, directory)).collect())
        .ok_or_else(|| "it lacks a file's offset".into())
}

fn entry(file: &Value, directory: &Path) -> Option<FileOffset> {
    let hash = file["head_hash"].as_str()?;
    let entry = FileOffset {
        path: directory.join(file["name"].as_str()?).into(),
        inode: file["inode"].as_u64()?,
        offset: file["offset"].as_u64()?,
        length: file["length"].as_u64()?,
        head: Fingerprint {
            bytes: u16::try_from(file["head_bytes"].as_u64()?).ok()?,
            hash: u64::from_str_radix(hash, 16).ok()?,
        },
        ..FileOffset::default()
    };
    // All before the offset was read, and so was the beginning.
    let known = entry.head.len();
    (known <= HEAD_BYTES && known as u64 >= entry.offset.min(HEAD_BYTES as u64)).then_some(entry)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = r#"{
        "program": "s3-audit-webhook", "checkpoint": 1, "source": "file:/log/a",
        "files": [{"name": "a", "inode": 7, "offset": 3, "length": 9, "head_bytes": 3, "head_hash": "e71fa2190541574b"}]
    }"#;

    fn parse(text: &str) -> Result<Vec<FileOffset>, String> {
        super::parse(text.as_bytes(), Some("file:/log/a"))
    }

    #[test]
    fn a_checkpoint_of_0_1_is_understood() {
        let expected = FileOffset {
            path: Path::new("/log/a").into(),
            inode: 7,
            offset: 3,
            length: 9,
            head: Fingerprint::of(b"abc"),
            ..FileOffset::default()
        };
        assert_eq!(parse(TEXT).unwrap(), [expected]);
    }

    #[test]
    fn what_is_none_is_rejected_with_the_reason() {
        for (from, to, what) in [
            ("/log/a", "/log/b", "another source's"),
            ("\"checkpoint\": 1", "\"checkpoint\": 7", "of version 7"),
            (
                "\"checkpoint\": 1",
                "\"checkpoint\": \"1\"",
                "no checkpoint",
            ),
            ("s3-audit-webhook", "other", "no checkpoint"),
            ("\"head_bytes\": 3", "\"head_bytes\": 2", "lacks"),
            ("\"head_bytes\": 3", "\"head_bytes\": 9999", "lacks"),
            ("\"offset\": 3", "\"offset\": -3", "lacks"),
            ("files", "file", "lacks"),
            ("}]", "", "no whole JSON"),
        ] {
            let error = parse(&TEXT.replace(from, to)).unwrap_err();
            assert!(error.contains(what), "{to}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(text in vec(any::<u8>(), 0..200)) {
            let _ = super::parse(&text, None);
        }
    }
}
