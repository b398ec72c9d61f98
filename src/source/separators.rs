//! How a server separates what it writes: that tells Ceph RGW from others.
//!
//! RGW's stream is a `[` that never closes, and records of one line each with `,\n` behind them. It writes a record and
//! its separator one after the other, and keeps a record for its next reader if it could not write both. Nobody else
//! does.

use memchr::memchr_iter;

/// What is behind each line's last record.
const BEFORE_END: [u8; 2] = *b"},";

/// What was seen of a stream's separators.
#[derive(Debug, Default)]
pub(super) struct Separators {
    first: Option<u8>,
    /// The last two bytes.
    last: [u8; 2],
    /// A line that RGW could have written has ended.
    has_record: bool,
    /// So has another one.
    has_other: bool,
}

impl Separators {
    /// These bytes have come.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.first = self.first.or(bytes.first().copied());
        for end in memchr_iter(b'\n', bytes) {
            let is_record = last_two(self.last, &bytes[..end]) == BEFORE_END;
            self.has_record |= is_record;
            self.has_other |= !is_record;
        }
        self.last = last_two(self.last, bytes);
    }

    /// Whether this is how RGW separates records.
    pub(super) fn are_of_rgw(&self) -> bool {
        self.has_record && self.may_be_of_rgw()
    }

    /// Whether the last record's separator may be still to come.
    pub(super) fn may_follow(&self) -> bool {
        self.may_be_of_rgw() && self.last[1] == b'}'
    }

    fn may_be_of_rgw(&self) -> bool {
        self.first == Some(b'[') && !self.has_other
    }
}

/// The last two bytes of a stream in which `bytes` follow `before`.
fn last_two(before: [u8; 2], bytes: &[u8]) -> [u8; 2] {
    match *bytes {
        [.., first, second] => [first, second],
        [second] => [before[1], second],
        [] => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rgw_separates_records_like_rgw() {
        for (stream, is_rgw, may_follow) in [
            ("", false, false),
            ("[", false, false),
            ("[{}", false, true),
            ("[{},", false, false),
            ("[{},\n", true, false),
            ("[{},\n{}", true, true),
            ("[{},\n{\"a\":[{}],\"b\":\"}],\"},\n{", true, false),
            ("{}\n{}", false, false),
            ("{},\n{}", false, false),
            ("[{}]\n[{}", false, false),
            ("[{},{},\n{}]\n", false, false),
            ("[\n{},\n{},\n", false, false),
            ("[{},{}", false, true),
            ("[{}\n,{}", false, false),
            ("[{}],\n[{}],\n", false, false),
        ] {
            for pieces in [1, 2, stream.len().max(1)] {
                let mut separators = Separators::default();
                for piece in stream.as_bytes().chunks(pieces) {
                    separators.read(piece);
                }
                let seen = (separators.are_of_rgw(), separators.may_follow());
                assert_eq!(
                    seen,
                    (is_rgw, may_follow),
                    "{stream:?} in pieces of {pieces}"
                );
            }
        }
    }
}
