//! Compressed bodies: the limit applies to what is sent.

use proptest::collection::vec;
use proptest::prelude::*;

use super::poison::random;
use super::*;
use crate::delivery::compression::Compression;

const LIMIT: usize = 1 << 20;

/// What a body is compressed to.
type Packs = fn(&Request) -> usize;

fn with(connections: usize, events: usize, packs: Packs) -> Simulation {
    let settings = Settings {
        connections,
        ..settings()
    };
    seeded(settings, events, 7, packs)
}

fn seeded(settings: Settings, events: usize, seed: u64, packs: Packs) -> Simulation {
    let mut simulation = Simulation::seeded(settings, events, seed);
    let is_compressed = true;
    let terms = Terms {
        is_compressed,
        ..terms()
    };
    simulation.delivery.retarget(2, terms);
    simulation.packs = Some(packs);
    simulation
}

/// Some events compress well, others hardly; in one part of the stream most do, in another few.
fn mixed(request: &Request) -> usize {
    let of = |seq: &Seq| match (seq.wrapping_mul(0x9E37_79B9) >> 8) % 8 {
        kind if kind < (seq / 15_000) % 8 => 900,
        _ => 100,
    };
    request.seqs.iter().map(of).sum::<usize>() + 20
}

#[test]
fn bodies_come_close_to_the_limit_and_none_is_larger() {
    let kinds: [(Packs, usize); 4] = [
        (|request| request.bytes / 5, LIMIT),
        (mixed, LIMIT),
        // Compression gains nothing.
        (|request| request.bytes + 20, LIMIT),
        // What fits before compression is the limit.
        (|request| request.bytes / 20, (8 << 20) / 20),
    ];
    for (connections, (packs, least)) in
        [1, 4].into_iter().flat_map(|n| kinds.map(|kind| (n, kind)))
    {
        let mut simulation = with(connections, 60_000, packs);
        simulation.run_until(MAX, |_| (Outcome::Delivered, QUICK));
        assert!(simulation.delivered_all_but(&[]));
        let sizes: Vec<_> = simulation.requests.iter().map(|it| it.bytes).collect();
        assert!(*sizes.iter().max().unwrap() <= LIMIT);
        // The first bodies were made knowing nothing, and the last ones are what is left.
        let full = &sizes[2 * connections..sizes.len() - connections];
        let mean = full.iter().sum::<usize>() / full.len();
        let name = format!("{connections}, {least}");
        assert!(mean * 10 >= least * 8, "{name}: {mean}, {sizes:?}");
        // The mixture has changed three times.
        let twice = simulation.oversized;
        assert!(twice <= connections + 6, "{name}: {twice}");
    }
}

#[test]
fn a_limit_that_is_answered_is_that_of_the_compressed_body() {
    for (connections, limit, events) in [
        (1, 10 << 10, 20_000),
        (1, 100 << 10, 60_000),
        (4, 10 << 10, 20_000),
        (4, 900_000, 60_000),
    ] {
        for packs in [mixed, |request: &Request| request.bytes / 5] {
            let mut simulation = with(connections, events, packs);
            simulation.run_until(MAX * 10, |request| match request.bytes > limit {
                true => {
                    let error = DeliveryError::transient(Cause::Answer, "HTTP 413");
                    (Outcome::TooLarge(error), QUICK)
                }
                false => (Outcome::Delivered, QUICK),
            });
            assert!(simulation.delivered_all_but(&[]));
            let sizes = simulation.requests.iter().map(|it| it.bytes);
            let (sent, taken): (usize, usize) = sizes.fold((0, 0), |(sent, taken), size| {
                (sent + size, taken + if size > limit { 0 } else { size })
            });
            let later = &simulation.requests[10..];
            let refused = later.iter().filter(|it| it.bytes > limit).count();
            let name = format!("{connections}, {limit}: {sent} for {taken}");
            assert!(sent <= taken * 12 / 10 + LIMIT, "{name}");
            assert!(refused * 20 <= later.len(), "{name}: {refused} refused");
            let learned = simulation.sizes_learned.len();
            assert!((1..=2).contains(&learned), "{name}: {learned} lines");
        }
    }
}

#[test]
fn one_event_that_is_larger_than_the_limit_goes_alone() {
    let mut simulation = with(1, 100, |request| match request.seqs.contains(&50) {
        true => 2 * LIMIT,
        false => request.bytes / 5,
    });
    simulation.run_until(MAX, |_| (Outcome::Delivered, QUICK));
    assert!(simulation.delivered_all_but(&[]));
    let large: Vec<_> = simulation
        .requests
        .iter()
        .filter(|it| it.bytes > LIMIT)
        .collect();
    assert_eq!((large.len(), &*large[0].seqs), (1, &[50][..]));
    assert!(simulation.requests.is_sorted_by_key(|it| it.seqs[0]));
}

#[test]
fn one_sender_has_the_next_body_made_ahead() {
    for packs in [mixed, |request: &Request| request.bytes / 5] {
        let mut simulation = with(1, 60_000, packs);
        simulation.run_until(MAX, |_| (Outcome::Delivered, QUICK));
        let (made, used) = (simulation.ahead_made, simulation.ahead_used);
        let requests = simulation.requests.len();
        assert!(
            made == used && made + 4 >= requests,
            "{made}, {used} of {requests}"
        );
        assert!(simulation.requests.is_sorted_by_key(|it| it.seqs[0]));
    }
}

#[test]
fn nothing_is_made_ahead_that_is_no_full_body_or_that_another_sender_makes() {
    for (connections, gap) in [(1, 10), (4, 0)] {
        let mut simulation = with(connections, 6000, |request| request.bytes / 5);
        simulation.arrivals = (0..6000)
            .map(|at| Duration::from_millis(at * gap))
            .collect();
        simulation.run_until(MAX * 10, |_| (Outcome::Delivered, MIN));
        assert!(simulation.delivered_all_but(&[]));
        assert_eq!(simulation.ahead_made, 0);
    }
}

#[test]
fn bodies_are_as_full_as_without_at_any_rate() {
    // A body is full after the age that would send it, after less, and after more.
    for gap in [50, 150, 180, 195, 198, 200, 202, 210, 300, 1000] {
        let mut simulation = with(1, 50_000, |request| request.bytes / 5);
        simulation.size = 20;
        let max_plain = Some(5000 * simulation.size);
        simulation.delivery.compression = Compression::new(max_plain);
        // They come 700 at once, so that some of them are left over.
        let at = |at: u64| Duration::from_micros(at / 700 * 700 * gap);
        simulation.arrivals = (0..50_000).map(at).collect();
        simulation.run_until(MAX * 10, |_| (Outcome::Delivered, QUICK));
        assert!(simulation.delivered_all_but(&[]));
        // A body has 5000 events, and is sent after a second and an answer at the latest.
        let end = at(50_000).as_millis() as usize;
        let most = (50_000 / 5000).max(end / 1000) + 3;
        let requests = simulation.requests.len();
        assert!(requests <= most, "{gap}: {requests} of {most}");
    }
}

#[test]
fn after_a_failure_its_events_come_before_those_made_ahead() {
    let outcomes = [
        failed(Cause::Answer),
        failed(Cause::Unreachable),
        failed(Cause::Aborted),
        rejected(),
        Outcome::TooLarge(DeliveryError::transient(Cause::Answer, "HTTP 413")),
    ];
    for outcome in outcomes {
        let (name, mut outcome) = (format!("{outcome:?}"), Some(outcome));
        let mut simulation = with(1, 30_000, |request| request.bytes / 5);
        let mut next = 0;
        simulation.run_until(MAX * 10, |request| {
            assert_eq!(request.seqs[0], next, "{name}");
            match outcome.take_if(|_| request.seqs[0] > 9000) {
                Some(outcome) => (outcome, QUICK),
                None => {
                    next = request.seqs.last().unwrap() + 1;
                    (Outcome::Delivered, QUICK)
                }
            }
        });
        assert!(simulation.delivered_all_but(&[]), "{name}");
        assert_eq!(simulation.ahead_made - simulation.ahead_used, 1, "{name}");
    }
}

proptest! {
    #[test]
    fn each_event_ends_once_and_no_body_is_larger_than_the_limit(
        script in vec(0u32..8, 1..40),
        events in 1usize..400,
        bytes in 100usize..20_000,
        connections in 1usize..6,
        seed: u64,
    ) {
        let body = Extent { events: 100, bytes };
        let settings = Settings { body, raw_bytes: 8 * bytes, connections, ..settings() };
        let mut simulation = seeded(settings, events, seed, mixed);
        let mut answers = script.iter().cycle().take(200);
        let mut dice = seed | 1;
        simulation.run_until(Duration::from_secs(86_400), |_| {
            let outcome = match answers.next().copied().unwrap_or(7) {
                1 => Outcome::TooLarge(DeliveryError::transient(Cause::Answer, "HTTP 413")),
                2 => failed(Cause::Answer),
                3 => failed(Cause::Disconnected),
                4 => failed(Cause::Timeout),
                _ => Outcome::Delivered,
            };
            (outcome, Duration::from_millis(random(&mut dice) % 500))
        });
        simulation.assert_nothing_forgotten();
        prop_assert_eq!(simulation.delivered.len() + simulation.rejected.len(), events);
        prop_assert!(simulation.requests.iter().all(|it| it.seqs.len() == 1 || it.bytes <= bytes));
    }
}
