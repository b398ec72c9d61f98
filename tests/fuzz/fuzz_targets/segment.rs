//! Arbitrary bytes in the place of a spool's segment, and a sound segment that was damaged anywhere: whatever is found is a
//! record that was written, or so many bytes of damage; all bytes are accounted for; and a record that was not touched is found.

#![no_main]

use std::io::{self, IoSlice};

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::buffer::spool::dir::SpoolFile;
use s3_audit_webhook::buffer::spool::record::{Record, segment_head};
use s3_audit_webhook::buffer::spool::scan::{Scan, Scanned};

#[derive(Debug)]
struct Memory(Vec<u8>);

impl SpoolFile for Memory {
    fn append(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        unreachable!()
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        unreachable!()
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = self.0.get(at as usize..).unwrap_or_default();
        // Never all that was asked for.
        let count = rest.len().min(bytes.len().div_ceil(2));
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        unreachable!()
    }

    fn sync(&self) -> io::Result<()> {
        unreachable!()
    }
}

/// What is found: the first numbers of the records and their lines.
fn scan(bytes: Vec<u8>) -> Vec<(u64, Vec<u8>)> {
    let (length, file) = (bytes.len(), Memory(bytes));
    let (mut scan, mut found, mut damaged, mut whole) = (Scan::default(), Vec::new(), 0, 0);
    loop {
        match scan.next(&file, length as u64).unwrap() {
            Scanned::Record(head, lines) => {
                assert!(head.events > 0 && head.end() > head.first);
                whole += 32 + lines.len();
                found.push((head.first, lines.to_vec()));
            }
            Scanned::Damaged(bytes) => {
                assert!(bytes > 0);
                damaged += bytes;
            }
            Scanned::Newer => return found,
            Scanned::End(left) => {
                let accounted = damaged + whole + left;
                // The head is neither.
                assert!(accounted == length || accounted + 16 == length);
                return found;
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    scan(data.to_vec());
    let Some((&count, edits)) = data.split_first() else {
        return;
    };
    let (mut bytes, mut records, mut next) = (segment_head().to_vec(), Vec::new(), 0);
    for number in 0..u64::from(count % 8) + 1 {
        let lines = format!("{{\"n\":{number}}}\n").repeat(number as usize + 1);
        let record = Record::new(lines.clone().into_bytes(), number as usize + 1);
        let start = bytes.len();
        bytes.extend(record.head(next, 7));
        bytes.extend(lines.as_bytes());
        records.push((start..bytes.len(), next, lines.into_bytes()));
        next += number + 1;
    }
    let sound = bytes.clone();
    for edit in edits.chunks_exact(3) {
        let at = u16::from_le_bytes([edit[0], edit[1]]) as usize % bytes.len();
        bytes[at] ^= edit[2];
    }
    let untouched = records
        .iter()
        .filter(|(range, ..)| bytes[range.clone()] == sound[range.clone()]);
    let untouched: Vec<_> = untouched
        .map(|(_, first, lines)| (*first, lines.clone()))
        .collect();
    if sound[..16] == bytes[..16]
        || s3_audit_webhook::buffer::spool::record::segment_version(&bytes).is_none()
    {
        assert_eq!(scan(bytes), untouched);
    }
});
