//! What is no log, going by its kind or by what it begins with.

use std::fs::Metadata;
use std::os::unix::fs::FileTypeExt as _;

use super::gzip;

/// What compressed files begin with.
const COMPRESSED: [(&[u8], &str); 6] = [
    (gzip::MAGIC, "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"BZh", "compressed with bzip2"),
    (b"\x04\x22\x4d\x18", "compressed with lz4"),
    (b"PK\x03\x04", "compressed with zip"),
];
/// With fewer odd bytes a file may be a log with a few broken lines.
const MIN_ODD: usize = 32;

/// What a file that begins like this is, if it can't be read.
pub(super) fn unreadable(head: &[u8]) -> Option<&'static str> {
    let magic = COMPRESSED.iter().find(|(magic, _)| head.starts_with(magic));
    // Frames that zstd passes over: its parallel variant begins with one.
    let is_skippable = matches!(head, [0x50..=0x5f, b'\x2a', b'\x4d', b'\x18', ..]);
    match magic {
        Some((_, name)) => Some(name),
        None if is_skippable => Some("compressed with zstd"),
        None => is_binary(head).then_some("no text"),
    }
}

/// Whether this is clearly no text, such as a file that `shred` overwrites. Text in an old encoding has no control
/// characters, and zeros may be a hole.
pub(super) fn is_binary(head: &[u8]) -> bool {
    let is_control = |byte: &&u8| byte.is_ascii_control() && !b"\0\t\n\r\x1e".contains(byte);
    let control = head.iter().filter(is_control).count();
    let invalid: usize = head.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    let odd = control + invalid;
    odd >= MIN_ODD && odd * 4 >= head.len() && control * 16 >= head.len()
}

/// What is in the place of a file.
pub(super) fn what_it_is(found: &Metadata) -> String {
    let kind = found.file_type();
    let kind = if kind.is_dir() {
        "a directory (fix: name the files in it, such as file:DIR/*.log)"
    } else if kind.is_fifo() {
        "a FIFO (fix: use stdin)"
    } else if kind.is_socket() {
        "a socket (fix: use unix:PATH)"
    } else {
        "a device"
    };
    format!("it is no regular file but {kind}")
}

/// Always the same ones from a seed.
#[cfg(test)]
pub(super) fn random_bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let next = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    });
    // The first ones are alike.
    next.skip(8).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clearly_no_text_is_not_read() {
        let random = random_bytes(1, 1024);
        let event = b"{\"n\":1}\n".repeat(100);
        let binary = Some("no text");
        for (head, expected) in [
            (&random[..], binary),
            (&random[..80], binary),
            (&[&random[..600], &event[..400]].concat(), binary),
            (&b"\x01\x02".repeat(40), binary),
            (&[&random[..40], &event].concat(), None),
            (&random[..20], None),
            (&event, None),
            (b"", None),
            (b"\x50", None),
            (&[0; 1024], None),
            (&[&[0; 900][..], &event].concat(), None),
            // ISO 8859-5, and colours.
            (&b"\xde\xe8\xd8\xd1\xda\xd0 ".repeat(100), None),
            (&b"\x1b[31mERROR\x1b[0m ".repeat(60), None),
            (&"\u{443}\u{436}\u{430}".as_bytes().repeat(100), None),
            (&b"\x1e{\"n\":1}\r\n".repeat(90), None),
            (b"\x28\xb5\x2f\xfd", Some("compressed with zstd")),
            (b"\x5e\x2a\x4d\x18\x04", Some("compressed with zstd")),
            (b"\x04\x22\x4d\x18\x64", Some("compressed with lz4")),
        ] {
            assert_eq!(unreadable(head), expected, "{head:?}");
        }
        for seed in 0..1000 {
            assert!(is_binary(&random_bytes(seed, 1024)), "{seed}");
        }
    }
}
