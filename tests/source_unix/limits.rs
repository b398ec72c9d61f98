//! Limits of memory, time and descriptors, however many writers there are.

use std::io::Write;
use std::thread;
use std::time::Instant;

use crate::support::{
    Webhook, assert_arrive, end, end_without_loss, event, eventually, wait_until_read,
};

use super::{Place, start};

/// So many descriptors are kept from writers.
const KEPT: usize = 16;

#[test]
fn idle_writers_cost_next_to_no_memory() {
    const WRITERS: usize = 500;
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);
    let padding = "x".repeat(500);
    let line = format!("{{\"padding\":\"{padding}\"}}\n");
    let write = |count: usize| {
        let connect = |_| {
            let mut writer = place.connect();
            writer.write_all(line.as_bytes()).unwrap();
            writer
        };
        (0..count).map(connect).collect::<Vec<_>>()
    };

    // What the way of an event needs once is there before the first look.
    let few = write(10);
    hook.wait_for_events(few.len());
    let before = agent.resident_kib();
    let many = write(WRITERS);
    hook.wait_for_events(few.len() + many.len());
    let growth = agent.resident_kib().saturating_sub(before);

    // A read buffer each would be 8 MiB.
    assert!(growth < 3 * 1024, "{growth} KiB");
    drop((few, many));
    end_without_loss(agent, &hook);
}

#[test]
fn writers_in_the_midst_of_large_events_share_what_memory_there_is_for_them() {
    const WRITERS: usize = 40;
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen(), "--max-event-bytes=2MiB"]);
    let begun = format!("{{\"padding\":\"{}", "x".repeat(1_900_000));
    // All at once, each waiting for the agent to read. Those that wait longest are closed.
    let mut writers: Vec<_> = (0..WRITERS).map(|_| place.connect()).collect();
    let begun: Vec<_> = thread::scope(|scope| {
        let begun: Vec<_> = writers
            .iter_mut()
            .map(|writer| scope.spawn(|| writer.write_all(begun.as_bytes()).is_ok()))
            .collect();
        begun
            .into_iter()
            .map(|begun| begun.join().unwrap())
            .collect()
    });
    place.connect().write_all(event(1).as_bytes()).unwrap();
    assert_arrive(&hook, [1]);
    let whole = writers.iter_mut().zip(begun);
    let whole = whole
        .filter_map(|(writer, begun)| (begun && writer.write_all(b"\"}\n").is_ok()).then_some(()));
    let whole = whole.count();
    hook.wait_for_events(1 + whole);
    agent.wait_for_log("too much memory for unfinished messages");
    // One that has ended has none.
    let peak = agent.peak_kib();
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let balance = ended.balance();
    balance.holds();
    assert!((1..WRITERS).contains(&whole), "{whole}");
    // What a closed one had begun is counted.
    let lost = (WRITERS - whole) as u64;
    assert_eq!(
        (balance.received, balance.dropped),
        (WRITERS as u64 + 1, lost),
        "{}",
        ended.log
    );
    assert!(peak < 48 << 10, "{peak} KiB");
}

#[test]
fn a_source_at_its_limit_closes_the_writer_that_has_waited_longest_in_an_event() {
    let hook = Webhook::start();
    let place = Place::new();
    let options = [
        &place.unix_listen(),
        "--listen-connections",
        "3",
        "--report-interval",
        "1h",
    ];
    let agent = start(&hook, &options);
    let mut good = place.connect();
    good.write_all(b"{\"n\":1}\n").unwrap();
    assert_arrive(&hook, [1]);
    let mut halves = Vec::new();
    for _ in 0..3 {
        let mut half = place.connect();
        half.write_all(b"{\"n\":").unwrap();
        wait_until_read(&half);
        halves.push(half);
    }
    agent.wait_for_log("1 request refused");
    // The first of them is closed.
    eventually("it is closed", || halves[0].write_all(b" ").err());
    for half in &mut halves[1..] {
        half.write_all(b"2}\n").unwrap();
    }
    good.write_all(b"{\"n\":3}\n").unwrap();
    hook.wait_for_events(4);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (5, 1));
}

#[test]
fn an_event_that_is_not_finished_in_time_costs_its_writer_the_connection() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen(), "--listen-timeout", "300ms"]);
    let mut idle = place.connect();
    idle.write_all(b"{\"n\":1}\n").unwrap();
    let mut slow = place.connect();
    slow.write_all(b"{\"n\":2,\"x\":\"").unwrap();
    eventually("it is closed", || slow.write_all(b"x").err());
    agent.wait_for_log("refused");
    idle.write_all(b"{\"n\":3}\n").unwrap();
    assert_arrive(&hook, [1, 3]);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (3, 1));
}

#[test]
fn an_agent_that_is_out_of_descriptors_says_so_and_goes_on_when_there_are_some_again() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen(), "--report-interval", "100ms"]);
    let mut first = place.connect();
    first.write_all(event(1).as_bytes()).unwrap();
    assert_arrive(&hook, [1]);

    // Room for two writers, and then there are five.
    agent.leave_descriptors(2 + KEPT);
    let mut writers: Vec<_> = (2..=6)
        .map(|number| {
            let mut writer = place.connect();
            writer.write_all(event(number).as_bytes()).unwrap();
            writer
        })
        .collect();
    agent.wait_for_log("too many connections; fix: raise the limit of open files");
    assert_arrive(&hook, 1..=3);

    // Those that are connected are served on, and the agent does not spin.
    let cpu_seconds = || agent.activity().unwrap().0;
    let (since, before) = (Instant::now(), cpu_seconds());
    agent.wait_for_nth_log(6, "still unavailable after");
    first.write_all(event(7).as_bytes()).unwrap();
    assert_arrive(&hook, [1, 2, 3, 7]);
    let (elapsed, used) = (since.elapsed().as_secs_f64(), cpu_seconds() - before);
    assert!(used < elapsed / 2.0, "{used} s of {elapsed} s");

    // Where writers go, others find room.
    drop(writers.drain(..2));
    assert_arrive(&hook, [1, 2, 3, 7, 4, 5]);
    agent.leave_descriptors(500 + KEPT);
    assert_arrive(&hook, [1, 2, 3, 7, 4, 5, 6]);
    agent.wait_for_log("available again after");
    end_without_loss(agent, &hook);
}

#[test]
fn without_descriptors_nobody_has_to_go_while_nobody_waits() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);
    let mut first = place.connect();
    first.write_all(event(1).as_bytes()).unwrap();
    assert_arrive(&hook, [1]);

    agent.leave_descriptors(1 + KEPT);
    let mut last = place.connect();
    last.write_all(b"{\"n\":").unwrap();
    wait_until_read(&last);
    last.write_all(b"2}\n").unwrap();
    assert_arrive(&hook, [1, 2]);
    end_without_loss(agent, &hook);
}

#[test]
fn waiting_writers_leave_the_webhook_its_descriptors() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);
    place.connect();
    agent.wait_until_running();
    agent.leave_descriptors(4 + KEPT);
    let mut writers: Vec<_> = (0..8).map(|_| place.connect()).collect();
    // Those that have sent nothing yet are closed for others.
    let last = &mut writers[7];
    last.write_all(event(1).as_bytes()).unwrap();
    assert_arrive(&hook, [1]);
    eventually("the first is closed", || writers[0].write_all(b" ").err());
    end_without_loss(agent, &hook);
}
