//! Nights in which files are compressed slowly or late, or uncompressed.

use super::night::{BOTH, Outcome, all, copies, gone, twice};

/// Removed files take more than `--max-deleted-bytes`.
#[test]
fn what_was_let_go_of_early_is_known_again() {
    let lines = "
        let go at once, compressed: start write 20 settle rename settle gzip settle write 2
        let go at once, renamed and compressed: start write 20 settle rename gzip write 2 settle
        let go at once, slowly: start write 60 settle rename settle stalled 50 settle compressed settle write 2
        let go at once, killed: start outage write 60 settle rename settle gzip settle kill start settle write 2 deliver
        let go at once, and removed: start write 60 settle rename settle rename settle remove settle write 2 settle stop start";
    all(BOTH, &Outcome::default(), lines);
    // The event that took the last room counts as read when the next one is taken.
    let lines = "
        let go at once, compressed in an outage: start outage write 250 write 250 settle rename write 20 settle gzip settle deliver write 2
        let go at once, slowly in an outage: start outage write 60 settle rename settle stalled 50 settle compressed settle write 2 deliver
        let go at once, just compressed: start outage write 60 settle rename settle compressing 50 steps 50 compressed settle write 2 deliver
        let go at once, and nothing else: start outage write 60 settle move settle gzip settle deliver write 2";
    all(BOTH, &twice(40..=40), lines);
    let lines = "
        let go at once, beside its copy: start outage write 60 settle rename settle stalled 100 settle compressed settle deliver";
    let expected = Outcome {
        copies: 1,
        ..twice(40..=40)
    };
    all(BOTH, &expected, lines);
    // What was read of it, and not delivered, is lost with the kill.
    let lines = "
        let go at once, not read: start outage write 250 write 250 settle rename write 3 settle rename settle remove settle kill start settle deliver";
    all(BOTH, &gone(2, 1..501), lines);
}

#[test]
fn what_is_compressed_slowly_is_known_again() {
    let lines = "
        slowly: start write 60 settle rename settle stalled 50 settle compressed settle write 2
        very slowly: start write 60 settle rename settle stalled 10 settle stalled 40 settle stalled 90 settle compressed settle
        all closed, slowly: start write 60 settle rename settle stalled 50 settle compressed settle write 2
        slowly, and written on: start write 60 settle rename settle stalled 50 write-old 2 settle compressed settle
        slowly, over a start: start write 60 settle rename settle stalled 50 settle stop start settle compressed settle";
    all(BOTH, &Outcome::default(), lines);
    let lines = "
        compressed to a half: start write 60 settle rename settle aborted 50 settle
        compressed to a half, and at last: start write 60 settle rename settle aborted 50 settle compressed settle";
    all(BOTH, &copies(1), lines);
}

#[test]
fn what_was_read_and_is_unpacked_is_known_again() {
    let lines = "
        unpacked: start write 20 settle rename settle gzip settle gunzip settle
        unpacked later: start write 20 settle rename settle gzip wait 100 gunzip settle
        unpacked, a few events: start write 3 settle rename settle gzip settle gunzip settle
        unpacked when unknown: start write 2 settle stop rename write 20 rename gzip write 2 start settle gunzip settle
        unpacked and written on: start write 20 settle rename settle gzip settle gunzip write-old 2 settle write 2
        unpacked, then written on: start write 20 settle rename settle gzip settle gunzip settle write-old 2 settle write 2
        unpacked meanwhile: start write 20 settle rename settle gzip settle stop gunzip write 2";
    all(BOTH, &Outcome::default(), lines);
    let lines = "
        unpacked in part: start write 60 settle rename settle gzip wait 100 gunzip-keep 50 settle gunzip settle
        unpacked beside it: start write 20 settle rename settle gzip wait 100 gunzip-keep 100 settle gunzip settle write 2";
    all(BOTH, &copies(1), lines);
    // What they begin with is all that one of them has.
    let lines = "
        all begin alike, as one that was compressed: start settle write 1 settle cut 1 settle move gzip write 1 settle move write 1 settle";
    let expected = Outcome {
        is_mixed: true,
        copies: 1,
        ..twice(0..=0)
    };
    all(BOTH, &expected, lines);
    // The event that took the last room counts as read when the next one is taken.
    let lines = "
        unpacked, and more than there is room for: start write 2 settle stop write 200 rename gzip outage start settle gunzip settle";
    all(BOTH, &twice(42..=42), lines);
}

/// As that of gzip is at first.
#[test]
fn what_has_come_into_a_file_that_was_seen_empty_is_known_again_by_a_later_start() {
    let lines = "
        compressed: start write 60 settle rename settle stalled 0 settle stalled 50 settle stop compressed start settle
        compressed, and seen once: start write 60 settle rename settle stalled 0 settle stop compressed start settle
        compressed, and seen when whole: start write 60 settle rename settle stalled 0 settle stop stalled 50 start settle compressed settle
        compressed in an outage: start write 20 settle outage write 60 settle rename settle stalled 0 settle stalled 50 settle stop compressed start deliver";
    all(BOTH, &Outcome::default(), lines);
}
