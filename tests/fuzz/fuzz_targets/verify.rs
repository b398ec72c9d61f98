//! Arbitrary lines as an export of an archive: nothing panics, no number is both there and missing, and what is found does
//! not depend on the lines' order.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::trail::verify::verify;

fuzz_target!(|data: &[u8]| {
    let mut lines: Vec<_> = data.split(|byte| *byte == b'\n').map(Vec::from).collect();
    let count = lines.len() as u64;
    let found = verify(lines.clone());
    lines.reverse();
    let reversed = verify(lines);
    assert_eq!(found.is_explained(), reversed.is_explained());
    assert_eq!(found.streams.len(), reversed.streams.len());
    let mut all = found.others + found.unreadable;
    for ((name, stream), (other, turned)) in found.streams.iter().zip(&reversed.streams) {
        assert_eq!(name, other);
        let (missing, unexplained) = (stream.missing(), stream.unexplained());
        assert_eq!(missing, turned.missing());
        assert_eq!(unexplained, turned.unexplained());
        assert_eq!(stream.lost_records(), turned.lost_records());
        assert_eq!(
            (&stream.times, &stream.doubled, stream.conflicts()),
            (&turned.times, &turned.doubled, turned.conflicts())
        );
        // Those that are there, and those that are not.
        let expected = stream.expected();
        assert_eq!(missing.without(&stream.seen), missing);
        // An agent's last losses are behind all that is known to be final.
        let unexpected = missing.without(&expected);
        assert_eq!(unexpected.without(&stream.owned()).count(), 0);
        assert_eq!(unexplained.without(&stream.owned()), unexplained);
        assert!(stream.present() <= stream.seen.count());
        assert!(stream.events <= count);
        all += stream.events;
    }
    assert!(all <= count);
});
