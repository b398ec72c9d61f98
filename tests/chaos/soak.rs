//! Millions of events with faults in between leave nothing behind: no memory, no descriptor, no thread.

use std::time::{Duration, Instant};

use crate::support::{eventually, poll};

use super::dice::Dice;
use super::fault::Fault;
use super::load::SOCKET;
use super::random::given;
use super::rig::Rig;

/// How many faults there are between two looks at the agent.
const FAULTS: usize = 5;
/// How many looks there are before the agent has grown to its size.
const WARM_UP: usize = 2;
/// How much it may grow after that.
const GROWTH_KIB: usize = 4096;

/// `make soak`: `SOAK_EVENTS` through the socket, and some through a file and `http:` beside them.
#[test]
#[ignore = "takes minutes; make soak"]
fn millions_of_events_and_many_faults_leave_nothing_behind() {
    let events = given("SOAK_EVENTS").unwrap_or(10_000_000) as usize;
    let mut dice = Dice(given("CHAOS_SEED").unwrap_or(1));
    let began = Instant::now();
    // Writers to the socket must wait, so that all events go the whole way.
    let mut rig = Rig::start_with(false, 2000, |command| {
        command
            .arg("--when-full=wait")
            .args(["--buffer-events=50000", "--batch-events=10000"])
    });
    let mut warm = None;
    let mut most = 0;
    let mut looks = 0;
    eprintln!("   time     events  faults  repeated  resident KiB  descriptors  threads");
    loop {
        for _ in 0..FAULTS {
            let fault = Fault::draw(&mut dice);
            fault.befall(&mut rig, Duration::from_millis(50 + dice.below(300)));
            let delivery = poll(Duration::from_secs(10), || rig.books.delivery());
            assert!(delivery.is_some(), "not delivered again after {fault}");
            // The next fault comes at any moment.
            std::thread::sleep(Duration::from_millis(dice.below(1000)));
        }
        let account = rig.settle();
        looks += 1;
        let agent = &rig.agent;
        let now = (agent.descriptors().len(), agent.threads());
        let resident = agent.resident_kib();
        eprintln!(
            "{:6}s {:10} {:7} {:9} {resident:13} {:12} {:8}",
            began.elapsed().as_secs(),
            account.delivered,
            looks * FAULTS,
            account.repeated,
            now.0,
            now.1
        );
        if looks == WARM_UP {
            warm = Some((resident, now));
        }
        if let Some((size, open)) = warm {
            most = most.max(resident);
            assert!(most <= size + GROWTH_KIB, "{most} KiB after {size} KiB");
            // Connections that are just being closed, and probes, are not leaks.
            eventually("as many descriptors and threads as before", || {
                (agent.descriptors().len() <= open.0 && agent.threads() <= open.1).then_some(())
            });
        }
        if rig.load.written().events[SOCKET] >= events {
            break;
        }
    }
    let account = rig.end();
    eprintln!("{account:?} in {:?}", began.elapsed());
}
