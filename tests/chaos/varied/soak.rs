//! The same for millions of events, with all options at once.

use std::time::{Duration, Instant};

use crate::chaos::dice::Dice;
use crate::chaos::load::SOCKET;
use crate::chaos::random::given;
use crate::support::poll;

use super::draw::Draw;
use super::rig::Rig;
use super::sums::Sums;

/// How many faults there are between two looks at the agent.
const FAULTS: usize = 5;
/// How many looks it takes to see every size that it has: what it holds depends on the last fault.
const WARM_UP: usize = 10;
/// How much the least of as many looks may grow after that: what it holds after some faults is twice as much, but what it
/// never gives back is in each of them.
const GROWTH_KIB: usize = 4096;

/// `make soak`: `SOAK_EVENTS` through the socket, and some through a file and `http:` beside them.
#[test]
#[ignore = "takes minutes; make soak"]
fn millions_of_events_with_all_options_leave_nothing_behind() {
    let events = given("SOAK_EVENTS").unwrap_or(10_000_000) as usize;
    let mut dice = Dice(given("CHAOS_SEED").unwrap_or(1));
    let began = Instant::now();
    let mut rig = Rig::start(Draw::all(), 1000);
    let mut warm = Sums::default();
    let mut resident = Vec::new();
    while rig.load.written().events[SOCKET] < events {
        for _ in 0..FAULTS {
            let fault = rig.befall(&mut dice);
            let delivery = poll(Duration::from_secs(30), || rig.archive.delivery());
            assert!(delivery.is_some(), "not delivered again after {fault}");
            // The next fault comes at any moment.
            std::thread::sleep(Duration::from_millis(dice.below(1000)));
        }
        let mut sums = rig.settle();
        eprintln!("{:?}: {sums:?}", began.elapsed());
        resident.push(sums.resident_kib);
        let least = |looks: &[usize]| looks.iter().copied().min().unwrap_or_default();
        if resident.len() <= WARM_UP {
            warm.add(&sums);
            warm.resident_kib = least(&resident);
        } else {
            sums.resident_kib = least(&resident[resident.len() - WARM_UP..]);
            sums.is_flat(&warm, GROWTH_KIB, 0);
        }
    }
    let sums = rig.end();
    eprintln!("{sums:?} in {:?}", began.elapsed());
}
