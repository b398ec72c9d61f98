//! What becomes of chunks that are taken in parts when their clients don't wait for them.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::buffer::chunk::Extent;
use crate::buffer::queue::Taken;
use crate::source::listen::Limits;
use crate::source::output::fixture::output;
use crate::source::spec::WhenFull;

/// Events of a chunk.
const EVENTS: u64 = 1000;
/// How many the buffer has room for.
const ROOM: u64 = 10;

/// Why a connection ends whose chunk waits for room.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ended {
    /// Its client has closed it.
    Closed,
    /// So much memory is not allowed.
    Limit,
    /// The agent stops.
    Stopped,
}

/// What a client sends at once, and what the counts are then: received and dropped events.
fn counts(sent: &[u8], ended: Ended, when_full: WhenFull) -> (u64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let mut socket = ListeningSocket::unix(&path, 0o600).ok().unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(sent).unwrap();
    let client = Some(client).filter(|_| ended != Ended::Closed);
    let room = Extent {
        events: ROOM as usize,
        bytes: 1 << 20,
    };
    let (output, consumer, report) = output(room, when_full);
    let stop = ShutdownSignal::new().unwrap();
    stop.trigger();
    let memory = if ended == Ended::Limit { 1 } else { 1 << 20 };
    let limits = Limits {
        connections: 1,
        memory,
        timeout: Duration::MAX,
    };
    let connection = |output: &SourceOutput, peer| Connection::new(1 << 10, output, peer);
    let is_served = AtomicBool::new(false);
    thread::scope(|scope| {
        if when_full == WhenFull::Wait {
            let (consumer, is_served) = (&consumer, &is_served);
            scope.spawn(move || {
                let until = Instant::now() + Duration::from_secs(60);
                while !is_served.load(Ordering::Relaxed) && Instant::now() < until {
                    if let Taken::Events(run) = consumer.take(Extent::MAX, Some(Instant::now())) {
                        consumer.finish(run.extent(), [run.seqs()]);
                    }
                    thread::yield_now();
                }
            });
        }
        listen::serve(&mut socket, limits, connection, output, &stop);
        is_served.store(true, Ordering::Relaxed);
    });
    drop(client);
    let balance = report.balance();
    let counts = (balance.received(), balance.dropped());
    if when_full == WhenFull::Drop {
        let mut buffered = 0;
        while let Taken::Events(run) = consumer.take(Extent::MAX, Some(Instant::now())) {
            buffered += run.extent().events as u64;
            consumer.finish(run.extent(), [run.seqs()]);
        }
        assert_eq!(counts.0, counts.1 + buffered);
    }
    counts
}

/// A message with so many entries and this option. Beyond some 600 it is too long to be taken at once.
fn chunk(events: u64, option: &[u8]) -> Vec<u8> {
    let entry = [&b"\x92\x01\x81\xa1a\xd9\x64"[..], &[b'x'; 100]].concat();
    let entries = entry.repeat(events as usize);
    let length = (entries.len() as u32).to_be_bytes();
    let parts = if option.is_empty() { b"\x92" } else { b"\x93" };
    [parts, &b"\xa1t\xc6"[..], &length, &entries, option].concat()
}

const WANTS_ACK: &[u8] = b"\x81\xa5chunk\xa1c";

#[test]
fn what_only_the_agent_has_is_counted_and_what_its_client_keeps_is_not() {
    let more = chunk(1, b"");
    for ended in [Ended::Closed, Ended::Limit, Ended::Stopped] {
        let counts = |sent: &[u8]| counts(sent, ended, WhenFull::Drop);
        for option in [&b""[..], b"\x80", b"\xc0"] {
            let whole = chunk(EVENTS, option);
            assert_eq!(counts(&whole), (EVENTS, EVENTS - ROOM), "{ended:?}");
            let counted = counts(&[&whole[..], &more].concat());
            assert_eq!(counted, (EVENTS + 1, EVENTS + 1 - ROOM), "{ended:?}");
            // Its client knows that it could not send all of it.
            let cut_off = &whole[..whole.len() - 1];
            assert_eq!(counts(cut_off), (ROOM, 0), "{ended:?}");
        }
        let kept = chunk(EVENTS, WANTS_ACK);
        assert_eq!(counts(&kept), (ROOM, 0), "{ended:?}");
        // What comes behind a message that waits, in parts or whole.
        assert_eq!(counts(&[&kept[..], &more].concat()), (ROOM + 1, 1));
        let full = chunk(ROOM, b"");
        let counted = counts(&[&full[..], &chunk(2, WANTS_ACK), &more].concat());
        assert_eq!(counted, (ROOM + 1, 1), "{ended:?}");
    }
}

/// The rest of it can't be understood. Its client has sent what came before, and does not know.
#[test]
fn what_came_before_a_break_in_a_message_is_counted() {
    // So long that it is taken in parts before all of it was read.
    const LONG: u64 = 1400;
    let entry = [&b"\x92\x01\x81\xa1a\xd9\x64"[..], &[b'x'; 100]].concat();
    let entries = entry.repeat(LONG as usize);
    let count = (LONG as u32).to_be_bytes();
    let broken = [&b"\x93\xa1t\xdd"[..], &count, &entries, b"\xc1"].concat();
    for ended in [Ended::Closed, Ended::Limit, Ended::Stopped] {
        let counted = counts(&broken, ended, WhenFull::Drop);
        assert_eq!(counted, (LONG + 1, LONG + 1 - ROOM), "{ended:?}");
    }
    let counted = counts(&broken, Ended::Closed, WhenFull::Wait);
    assert_eq!(counted, (LONG + 1, 1));
}

#[test]
fn a_source_that_is_to_wait_loses_nothing_of_a_client_that_leaves() {
    for ended in [Ended::Closed, Ended::Limit, Ended::Stopped] {
        let counted = counts(&chunk(EVENTS, b""), ended, WhenFull::Wait);
        assert_eq!(counted, (EVENTS, 0), "{ended:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Each message of clients without acknowledgements counts once it is whole; of one that is cut off, at most what
    /// has found room does.
    #[test]
    fn what_was_sent_whole_is_counted_wherever_the_stream_breaks_off(
        messages in vec(prop_oneof![1..20_u64, 650..700_u64], 1..3),
        cut in 0..300_usize,
        ended in select(&[Ended::Closed, Ended::Limit, Ended::Stopped][..]),
    ) {
        let mut sent: Vec<u8> = messages.iter().flat_map(|events| chunk(*events, b"\x80")).collect();
        sent.truncate(sent.len().saturating_sub(cut * 100).max(1));
        let (mut whole, mut length) = (0, 0);
        for events in messages {
            length += chunk(events, b"\x80").len();
            whole += if length <= sent.len() { events } else { 0 };
        }
        let (received, dropped) = counts(&sent, ended, WhenFull::Drop);
        prop_assert!(received >= whole && received - whole <= ROOM, "{received} of {whole}");
        prop_assert!(received - dropped <= ROOM);
    }
}
