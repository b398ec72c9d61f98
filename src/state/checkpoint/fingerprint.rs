//! What a part of a file is recognised by.

/// How many of a file's first bytes tell it from others.
pub const HEAD_BYTES: usize = 1024;

/// FNV-1a's start and factor. Not the standard library's hash, whose values may change with its version.
const START: u64 = 0xcbf2_9ce4_8422_2325;
const FACTOR: u64 = 0x100_0000_01b3;

/// A few bytes of a file: how many, and their hash.
// Packed, since there are two of them for each of very many files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(Rust, packed(2))]
pub struct Fingerprint {
    /// How many bytes, at most [`HEAD_BYTES`].
    pub bytes: u16,
    /// FNV-1a of 64 bits.
    pub hash: u64,
}

impl Default for Fingerprint {
    /// A fingerprint of no bytes at all.
    fn default() -> Self {
        Fingerprint {
            bytes: 0,
            hash: START,
        }
    }
}

impl Fingerprint {
    /// The fingerprint of these bytes, of which only the first [`HEAD_BYTES`] count.
    pub fn of(bytes: &[u8]) -> Self {
        let mut fingerprint = Fingerprint::default();
        fingerprint.extend(bytes);
        fingerprint
    }

    /// Adds the bytes that follow those it covers, up to [`HEAD_BYTES`].
    pub fn extend(&mut self, bytes: &[u8]) {
        let more = bytes.len().min(HEAD_BYTES.saturating_sub(self.len()));
        self.hash = hash_on(self.hash, &bytes[..more]);
        // At most HEAD_BYTES, which fit.
        self.bytes += u16::try_from(more).unwrap_or_default();
    }

    /// How many bytes it covers.
    pub fn len(self) -> usize {
        usize::from(self.bytes)
    }

    /// Whether it covers none.
    pub fn is_empty(self) -> bool {
        self.bytes == 0
    }

    /// Whether `bytes` begin with what it covers.
    pub fn fits(self, bytes: &[u8]) -> bool {
        bytes
            .get(..self.len())
            .is_some_and(|bytes| hash(bytes) == self.hash)
    }
}

/// FNV-1a of 64 bits.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    hash_on(START, bytes)
}

fn hash_on(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FACTOR)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let mut grown = Fingerprint::of(&file[..length / 2]);
            grown.extend(&file[(length / 2).min(HEAD_BYTES)..length]);
            assert_eq!(grown, fingerprint);
        }
    }

    #[test]
    fn only_that_of_no_bytes_is_empty() {
        assert!(Fingerprint::default().is_empty() && Fingerprint::of(b"").is_empty());
        assert!(!Fingerprint::of(b"a").is_empty());
    }

    #[test]
    fn hashes_do_not_change_with_the_program() {
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
