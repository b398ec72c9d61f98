//! Events that are read again: by a queue that they share with those of another source, compared with a table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::disk::FakeDir;
use crate::buffer::acks::Seq;
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::queue::{Consumer, Taken, queue};
use crate::buffer::run::Run;
use crate::buffer::spool::{Appended, Files, Rereader, Settings, Spool, SyncMode};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::Report;
use crate::telemetry::watchdog::Watchdog;
use crate::text::ranges::Ranges;

const LONG: Duration = Duration::from_secs(60);

/// Lines that begin with this letter, with the numbers from `next` on.
fn chunk(letter: char, next: &mut u64, events: usize) -> Chunk {
    let numbers = *next..*next + events as u64;
    *next = numbers.end;
    let lines: String = numbers
        .map(|number| format!("{letter}{number}\n"))
        .collect();
    let bytes = lines.into_bytes();
    Chunk { bytes, events }
}

/// Each event's number, with its line.
fn lines(run: &Run) -> BTreeMap<Seq, Vec<u8>> {
    let lines = run.lines().split_inclusive(|byte| *byte == b'\n');
    run.seqs().zip(lines.map(Vec::from)).collect()
}

/// A sender that releases what the spool has, and reads it again.
struct Taker {
    consumer: Consumer,
    rereader: Rereader,
    dice: u64,
    released: BTreeMap<Seq, Vec<u8>>,
}

impl Taker {
    fn is(&mut self, one_in: u64) -> bool {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005) | 1;
        (self.dice >> 33).is_multiple_of(one_in)
    }

    /// Takes all, and returns the spool's events that are not final in the end.
    fn run(mut self) -> BTreeMap<Seq, Vec<u8>> {
        let wanted = Extent {
            events: 1,
            bytes: 1,
        };
        while let Taken::Events(run) = self.consumer.take(wanted, None) {
            self.take(&run);
            if self.is(3) {
                self.read_again();
            }
            if self.is(4) {
                self.close_or_end();
            }
        }
        self.read_again();
        self.released
    }

    fn take(&mut self, run: &Run) {
        let all = lines(run);
        let known = self.rereader.known([run.seqs()]);
        for (seq, line) in all {
            let extent = Extent {
                events: 1,
                bytes: line.len(),
            };
            assert_eq!(known.contains(seq), line[0] == b's', "{seq}");
            if known.contains(seq) && !self.is(5) {
                self.consumer.release(extent);
                self.released.insert(seq, line);
            } else {
                let seqs = seq..seq + 1;
                self.consumer.finish(extent, [seqs]);
            }
        }
    }

    /// Some of what was released, in the order of its numbers.
    fn read_again(&mut self) {
        let mut seqs = Ranges::default();
        let (whole, all) = (self.is(2), self.released.clone());
        for seq in all.keys().filter(|_| whole || self.is(2)) {
            seqs.add(*seq..seq + 1);
        }
        let abort = ShutdownSignal::new().unwrap();
        let runs = self.rereader.read(&seqs, &abort).unwrap();
        let found: BTreeMap<_, _> = runs.iter().flat_map(lines).collect();
        let wanted = all.into_iter().filter(|(seq, _)| seqs.contains(*seq));
        assert_eq!(found, wanted.collect());
    }

    fn close_or_end(&mut self) {
        if self.is(2) {
            return self.rereader.close();
        }
        let mut seqs = Ranges::default();
        for seq in self.released.clone().into_keys() {
            if self.is(2) {
                self.released.remove(&seq);
                seqs.add(seq..seq + 1);
            }
        }
        self.consumer.finish_released(&seqs);
    }
}

proptest! {
    #![proptest_config(crate::cases(64))]

    /// The same events come again, with the same numbers; and after a restart everything from the first that is not
    /// final.
    #[test]
    fn what_is_not_final_is_read_again(
        pieces in vec((1..40_usize, any::<bool>()), 1..60),
        bound in 1..60_usize,
        seed: u64,
    ) {
        let dir = FakeDir::default();
        let files = Files::of(Arc::new(dir.clone()), tempfile::tempfile().unwrap());
        let settings = Settings { path: "spool".into(), limit: 1 << 20, sync: SyncMode::Second };
        let report = Arc::new(Report::new(Duration::from_secs(10), Vec::new()));
        let (producer, consumer) = queue(Extent { events: bound, bytes: 1 << 20 });
        let running =
            Spool::start(&settings, files, producer.stats(), report, Watchdog::default()).unwrap();
        let (appender, spool) = (running.spool().appender(0), running.spool().clone());
        let rereader = spool.rereader();
        let taker = Taker { consumer, rereader, dice: seed | 1, released: BTreeMap::new() };
        let taker = thread::spawn(move || taker.run());
        let feeds = producer.clone();
        let stop = ShutdownSignal::new().unwrap();
        let feed = thread::spawn(move || spool.feed(feeds, stop, usize::MAX));
        let (mut spooled, mut others) = (0, 0);
        for (events, is_spooled) in pieces {
            if is_spooled {
                let mut chunk = chunk('s', &mut spooled, events);
                prop_assert_eq!(appender.append_and_wait(&mut chunk), Appended::Taken);
            } else {
                producer.offer_or_wait(&mut chunk('o', &mut others, events), LONG);
            }
        }
        drop((appender, producer));
        feed.join().unwrap();
        let left = taker.join().unwrap();
        prop_assert_eq!(running.finish(LONG), 0);
        let first = left.values().next().map_or(spooled, |line| {
            std::str::from_utf8(&line[1..]).unwrap().trim().parse().unwrap()
        });
        let files = Files::of(Arc::new(dir), tempfile::tempfile().unwrap()).unwrap();
        prop_assert_eq!(files.recovered(), spooled - first);
    }
}
