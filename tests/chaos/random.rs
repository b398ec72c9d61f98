//! Faults drawn at random under load: one after the other, with an account after each.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::poll;

use super::dice::Dice;
use super::fault::Fault;
use super::judge::Account;
use super::rig::{BACKOFF_MAX, Rig};

/// How many faults until another agent takes over.
const FAULTS: usize = 40;

/// A part that runs with every test: the same faults each time.
#[test]
fn after_each_of_some_faults_the_account_is_right() {
    // Seeds that draw many kinds of faults, and fill the buffer, in a short time.
    for (seed, tls) in [(18_482, false), (19_336, true)] {
        let mut rig = Rig::start_with(tls, 20, |agent| agent.arg("--buffer-events=400"));
        let mut dice = Dice(seed);
        for _ in 0..8 {
            let fault = Fault::draw(&mut dice);
            let lasting = Duration::from_millis(50 + dice.below(250));
            eprintln!("{fault}, for {lasting:?}");
            fault.befall(&mut rig, lasting);
            rig.settle();
        }
        rig.end();
    }
}

/// `make chaos`: for `CHAOS_SECONDS`, with faults by `CHAOS_SEED`.
#[test]
#[ignore = "takes minutes; make chaos"]
fn after_each_of_many_faults_the_account_is_right() {
    let seed = seed();
    let seconds = given("CHAOS_SECONDS").unwrap_or(600);
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds);
    let mut dice = Dice(seed);
    let mut times = Vec::new();
    while Instant::now() < end {
        let tls = dice.below(2) == 0;
        let mut rig = Rig::start(tls);
        let mut before = Account::default();
        for number in 1..=FAULTS {
            let fault = Fault::draw(&mut dice);
            let lasting = Duration::from_millis(50 + dice.below(1500));
            fault.befall(&mut rig, lasting);
            let calm = Instant::now();
            // Twice what it takes, since others may need the processors too.
            let limit = 2 * (BACKOFF_MAX + Duration::from_secs(1));
            let delivery = poll(limit, || rig.books.delivery());
            let took = delivery.map(|at| at.duration_since(calm));
            let scheme = if tls { "https" } else { "http" };
            eprintln!(
                "{scheme} {number:2}: {fault}, for {lasting:?}: delivers again after {took:?}"
            );
            let took = took.unwrap_or_else(|| panic!("seed {seed}: not again within {limit:?}"));
            times.push(took);
            let now = rig.settle();
            let (events, requests) = (
                now.delivered - before.delivered,
                now.requests - before.requests,
            );
            eprintln!(
                "  {events} events in {requests} requests, {} repeated",
                now.repeated - before.repeated
            );
            before = now;
        }
        let written = rig.load.written();
        let account = rig.end();
        eprintln!(
            "{:?} and {} by http written; {account:?}",
            written.events,
            written.told.len()
        );
    }
    times.sort();
    eprintln!(
        "{} faults in {:?}; delivered again after {:?} (median), {:?} (most)",
        times.len(),
        began.elapsed(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

/// A number from the environment.
pub(super) fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seed from the environment, or else a new one each time.
pub(super) fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = given("CHAOS_SEED").unwrap_or_else(|| now().as_secs());
    eprintln!("CHAOS_SEED={seed} repeats this run");
    seed
}
