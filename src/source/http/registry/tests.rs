use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

fn registry(connections: usize, per_peer: usize) -> Registry<u64> {
    Registry::new(Limits {
        connections,
        busy: connections,
        per_peer,
    })
}

#[test]
fn what_waits_without_a_thread_leaves_room_for_others() {
    let start = Instant::now();
    let now = start + Duration::from_secs(1);
    let mut registry = Registry::new(Limits {
        connections: 100,
        busy: 70,
        per_peer: 0,
    });
    let mut parked = 0;
    for number in 0..90 {
        if registry.admit(number, A, &number, start) == Admission::Busy {
            break;
        }
        parked += u64::from(registry.park(number).is_some());
    }
    assert_eq!((registry.len(), parked), (90, 26), "64 keep their threads");
    for number in 90..96 {
        assert_eq!(
            registry.admit(number, A, &number, start),
            Admission::Admitted
        );
    }
    assert_eq!(registry.admit(96, A, &96, now), Admission::Busy);
    assert_eq!(registry.resume(89, now), Admission::Busy);
    // One without a thread would make no room.
    let victim = registry.longest_waiting(now, Need::Place, |number| *number > 60);
    assert_eq!(victim.unwrap().number, 61);
    assert!(registry.remove(61).is_some());
    assert_eq!(registry.resume(89, now), Admission::Admitted);
    assert!(registry.remove(88).is_some() && registry.remove(0).is_some());
    assert_eq!(registry.admit(96, A, &96, now), Admission::Admitted);
    assert_eq!(registry.admit(97, A, &97, now), Admission::Busy);
}

#[test]
fn who_is_let_in() {
    let now = Instant::now();
    let mut registry = registry(3, 2);
    let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
    for (number, peer, admission) in [
        (0, A, Admission::Admitted),
        (1, mapped, Admission::Admitted),
        (2, A, Admission::PeerFull),
        (3, B, Admission::Admitted),
        (4, B, Admission::Full),
        (5, IpAddr::V6(Ipv6Addr::LOCALHOST), Admission::Full),
    ] {
        assert_eq!(
            registry.admit(number, peer, &number, now),
            admission,
            "{number}"
        );
    }
    assert!(registry.remove(1).is_some() && registry.remove(1).is_none());
    assert_eq!(registry.admit(6, A, &6, now), Admission::Admitted);
    assert_eq!(registry.len(), 3);
}

/// Of each connection: what it waits for, for how many milliseconds, and whether it is trusted.
#[test]
fn who_has_to_go() {
    use Phase::{Answered, Body, Head, Idle};
    for (connections, goes) in [
        (
            &[(Head, 50, false), (Head, 70, false), (Head, 60, false)][..],
            Some(1),
        ),
        (&[(Head, 50, false), (Idle, 90_000, false)], Some(0)),
        (&[(Head, 19, false), (Idle, 90_000, false)], Some(1)),
        (&[(Head, 90_000, true), (Idle, 30, false)], Some(1)),
        (&[(Idle, 30, false), (Body, 90_000, false)], Some(0)),
        (&[(Head, 90_000, false), (Answered, 20, false)], Some(1)),
        (&[(Head, 20, false), (Answered, 19, false)], Some(0)),
        (&[(Body, 499, false), (Body, 500, false)], Some(1)),
        (&[(Body, 499, false), (Idle, 19, false)], None),
        (
            &[
                (Head, 90_000, true),
                (Idle, 90_000, true),
                (Body, 90_000, true),
            ],
            None,
        ),
        (&[(Head, 19, false)], None),
        (&[(Head, 20, false)], Some(0)),
        (&[], None),
    ] {
        let start = Instant::now();
        let now = start + Duration::from_secs(100);
        let mut registry = registry(10, 0);
        for (number, (phase, waits, is_trusted)) in (0..).zip(connections) {
            registry.admit(number, A, &number, start);
            registry.enter(number, *phase, false, now - Duration::from_millis(*waits));
            if *is_trusted {
                registry.trust(number);
            }
        }
        let found = registry.longest_waiting(now, Need::Place, |_| true);
        let number = found.map(|victim| victim.number);
        assert_eq!(number, goes, "{connections:?}");
        if let Some(victim) = found {
            let (phase, _, _) = connections[victim.number as usize];
            assert_eq!(victim.is_unfinished, matches!(phase, Head | Body));
        }
    }
}

#[test]
fn a_body_that_trickles_goes_too() {
    let start = Instant::now();
    let mut registry = registry(1, 0);
    registry.admit(0, A, &0, start);
    for (milliseconds, goes) in [(100, false), (4_000, false), (5_099, false), (5_100, true)] {
        let now = start + Duration::from_millis(milliseconds);
        registry.enter(0, Phase::Body, false, now);
        let found = registry.longest_waiting(now, Need::Place, |_| true);
        assert_eq!(found.is_some(), goes, "{milliseconds}");
    }
}

#[test]
fn for_memory_only_a_body_that_has_some_goes() {
    let start = Instant::now();
    let now = start + Duration::from_secs(1);
    let mut registry = registry(10, 0);
    for (number, holds_memory) in (0..).zip([false, false, true, true, true]) {
        registry.admit(number, A, &number, start);
        let since = start + Duration::from_millis(100 * number);
        registry.enter(number, Phase::Body, holds_memory, since);
    }
    registry.trust(2);
    let goes = |registry: &Registry<u64>| {
        let victim = registry.longest_waiting(now, Need::Memory, |_| true);
        victim.map(|victim| victim.number)
    };
    assert_eq!(goes(&registry), Some(3));
    registry.enter(3, Phase::Body, true, now);
    assert_eq!(goes(&registry), Some(4));
    registry.enter(4, Phase::Head, false, start);
    assert_eq!(goes(&registry), None);
}

#[test]
fn who_will_have_to_go() {
    let now = Instant::now();
    let mut registry = registry(10, 0);
    assert!(!registry.will_have_waiting());
    registry.admit(0, A, &0, now);
    assert!(registry.will_have_waiting());
    for _ in 0..2 {
        registry.trust(0);
        assert!(!registry.will_have_waiting());
    }
    registry.admit(1, A, &1, now);
    assert!(registry.will_have_waiting());
    registry.trust(1);
    assert!(registry.remove(0).is_some() && !registry.will_have_waiting());
    registry.admit(2, A, &2, now);
    assert!(registry.will_have_waiting());
}

#[test]
fn what_was_sent_is_read_first() {
    let start = Instant::now();
    let now = start + Duration::from_secs(1);
    let mut registry = registry(10, 0);
    for number in 0..3 {
        registry.admit(number, A, &number, start + Duration::from_millis(number));
    }
    let goes = |sent: &[u64]| {
        let waits = |number: &u64| !sent.contains(number);
        let victim = registry.longest_waiting(now, Need::Place, waits);
        victim.map(|victim| victim.number)
    };
    assert_eq!(goes(&[]), Some(0));
    assert_eq!(goes(&[0, 2]), Some(1));
    assert_eq!(goes(&[0, 1, 2]), None);
}

#[test]
fn a_quarter_of_the_places_is_for_those_that_were_not_answered() {
    let now = Instant::now();
    let mut registry = registry(8, 0);
    for number in 0..8 {
        registry.admit(number, A, &number, now);
    }
    let kept = [0, 1, 2, 3, 4, 5, 6, 0, 7].map(|number| !registry.served(number));
    let expected = [true, true, true, true, true, true, false, false, false];
    assert_eq!(kept, expected);
    registry.remove(6);
    registry.remove(7);
    assert!(!registry.served(0), "six of eight");
    registry.admit(8, A, &8, now);
    assert!(registry.served(8), "the seventh");
}

proptest! {
    /// There are never more than are allowed, and as long as some unfinished head is old enough everybody gets in.
    #[test]
    fn a_flood_keeps_nobody_out(steps in vec((0_u64..100, any::<bool>()), 1..200)) {
        let (mut registry, mut now) = (registry(4, 0), Instant::now());
        for (number, (wait, is_b)) in (0..).zip(steps) {
            now += Duration::from_millis(wait);
            let peer = if is_b { B } else { A };
            let mut admission = registry.admit(number, peer, &number, now);
            if admission == Admission::Full && let Some(victim) = registry.longest_waiting(now, Need::Place, |_| true) {
                prop_assert!(registry.remove(victim.number).is_some());
                admission = registry.admit(number, peer, &number, now);
                prop_assert_eq!(admission, Admission::Admitted);
            }
            let is_waiting = admission == Admission::Admitted;
            prop_assert!(is_waiting || registry.longest_waiting(now, Need::Place, |_| true).is_none());
            prop_assert!(registry.len() <= 4);
        }
    }
}
