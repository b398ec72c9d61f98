//! `unix-listen:PATH`: any number of writers, each served in its order and none made to wait.

use std::io::Write;
use std::sync::Barrier;
use std::thread;

use crate::support::{
    Webhook, arrived, assert_arrive, end, end_without_loss, event, wait_for_end, wait_until_read,
};

use super::{PATIENT, Place, start};

#[test]
fn any_number_of_writers_may_write_at_once_and_each_ones_order_is_kept() {
    const WRITERS: usize = 50;
    const EVENTS: usize = 200;
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);
    place.connect();
    let event = |writer: usize, number: usize| {
        let padding = "x".repeat(number);
        format!(r#"{{"writer":{writer},"number":{number},"padding":"{padding}"}}"#)
    };

    let all_connected = Barrier::new(WRITERS);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (place, all_connected) = (&place, &all_connected);
            scope.spawn(move || {
                let mut socket = place.connect();
                all_connected.wait();
                for number in 0..EVENTS {
                    let line = event(writer, number) + "\n";
                    // In two pieces, between which other writers get their turn.
                    let (first, rest) = line.as_bytes().split_at((writer + number) % line.len());
                    socket.write_all(first).unwrap();
                    thread::yield_now();
                    socket.write_all(rest).unwrap();
                }
            });
        }
    });

    hook.wait_for_events(WRITERS * EVENTS);
    let arrived = arrived(&hook);
    for writer in 0..WRITERS {
        let prefix = format!(r#"{{"writer":{writer},"#);
        let of_writer = arrived.iter().filter(|event| event.starts_with(&prefix));
        let expected: Vec<_> = (0..EVENTS).map(|number| event(writer, number)).collect();
        assert_eq!(
            of_writer.collect::<Vec<_>>(),
            expected.iter().collect::<Vec<_>>()
        );
    }
    end_without_loss(agent, &hook);
}

#[test]
fn a_writer_that_goes_wrong_costs_the_others_nothing() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);

    let mut good = place.connect();
    good.write_all(br#"{"n":1,"key":"#).unwrap();
    let mut cut = place.connect();
    cut.write_all(b"{\"n\":2}\n{\"n\":3,\"key\":\"a").unwrap();
    drop(cut);
    let mut garbage = place.connect();
    garbage.write_all(b"GET / HTTP/1.1\n{\"n\":4}\n").unwrap();
    hook.wait_for_events(2);
    good.write_all(b"\"a\"}\n").unwrap();

    hook.wait_for_events(3);
    let mut arrived = arrived(&hook);
    arrived.sort();
    assert_eq!(
        arrived,
        [r#"{"n":1,"key":"a"}"#, r#"{"n":2}"#, r#"{"n":4}"#]
    );
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (5, 2));
}

#[test]
fn a_webhook_that_hangs_never_makes_a_writer_wait() {
    let hook = Webhook::start();
    hook.hold();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen(), "--buffer-events", "100"]);
    let mut writer = place.connect();
    let lines: String = (1..=20_000).map(|number| event(number) + "\n").collect();
    writer.write_all(lines.as_bytes()).unwrap();
    wait_until_read(&writer);

    hook.release();
    hook.wait_for_events(100);
    assert_eq!(
        arrived(&hook)[..100],
        (1..=100).map(event).collect::<Vec<_>>()
    );
    let balance = end(agent, &hook);
    assert_eq!(balance.received, 20_000);
    assert_eq!(balance.dropped, balance.by_reason["buffer full"]);
}

#[test]
fn what_writers_had_written_before_the_end_is_still_delivered() {
    for (when_full, buffer) in [("drop", "1000"), ("wait", "1000"), ("wait", "10")] {
        let hook = Webhook::start();
        let place = Place::new();
        let options = ["--when-full", when_full, "--buffer-events", buffer];
        let agent = start(&hook, &[&[&*place.unix_listen()], &options[..]].concat());
        let mut known = place.connect();
        known.write_all(b"{\"n\":1}\n").unwrap();
        assert_arrive(&hook, [1]);

        // The agent finds all of this at once when it goes on: events, new connections, and SIGTERM.
        agent.signal(libc::SIGSTOP);
        let mut new = place.connect();
        for number in 2..=100 {
            known.write_all((event(number) + "\n").as_bytes()).unwrap();
            new.write_all((event(number + 1000) + "\n").as_bytes())
                .unwrap();
        }
        for number in 5000..5020 {
            let mut short = place.connect();
            short.write_all(event(number).as_bytes()).unwrap();
        }
        agent.signal(libc::SIGTERM);
        agent.signal(libc::SIGCONT);

        let balance = wait_for_end(agent, &hook);
        assert_eq!((balance.received, balance.dropped), (100 + 99 + 20, 0));
    }
}

/// A unix socket tells a writer that nobody reads any more; then it sends again what it could not write whole.
#[test]
fn restarts_of_the_agent_while_writers_write_cost_no_event_and_repeat_none() {
    const RESTARTS: u64 = 8;
    const WRITERS: u64 = 6;
    let hook = Webhook::start();
    let place = Place::new();
    let all_connected = Barrier::new(WRITERS as usize + 1);

    let mut written: Vec<_> = thread::scope(|scope| {
        let write = |writer: u64| {
            let (mut number, place, all_connected) = (writer, &place, &all_connected);
            move || {
                for _ in 0..RESTARTS {
                    let mut socket = place.connect();
                    all_connected.wait();
                    while socket.write_all((event(number) + "\n").as_bytes()).is_ok() {
                        number += WRITERS;
                    }
                }
                (writer..number).step_by(WRITERS as usize)
            }
        };
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(write(writer)))
            .collect();
        for _ in 0..RESTARTS {
            let agent = start(&hook, &[&[&*place.unix_listen()], &PATIENT[..]].concat());
            all_connected.wait();
            hook.wait_for_events(hook.event_count() + 1000);
            agent.signal(libc::SIGTERM);
            let balance = agent.wait().balance();
            // Of each writer's last event maybe only a part was written.
            assert!(balance.dropped <= WRITERS, "{balance:?}");
            assert_eq!(balance.left, 0);
        }
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap().map(event))
            .collect()
    });

    let mut arrived = arrived(&hook);
    arrived.sort();
    written.sort();
    assert!(arrived == written, "{} of {}", arrived.len(), written.len());
}
