//! Clients: many at once, some that wait for room, and some that never read or only look.

use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use crate::source_http::{end_with, events, start};
use crate::support::{Webhook, arrived, end, event, eventually, unchanged_for, wait_for_end};

use super::{Place, message};

/// S3 never waits: its server keeps what is not acknowledged.
#[test]
fn what_there_is_no_room_for_is_acknowledged_when_there_is_some() {
    let (hook, place) = (Webhook::start(), Place::unix());
    hook.hold();
    let agent = start(&hook, &[&place.option(), "--buffer-events", "10"]);
    let mut weed = place.connect();
    for number in 0..10 {
        weed.ask(&event(number));
    }
    let mut other = place.connect();
    for weed in [&mut weed, &mut other] {
        weed.send(message(&event(10), r#"{"chunk":"late"}"#).as_bytes());
        weed.send(message(&event(11), r#"{"chunk":"later"}"#).as_bytes());
    }
    agent.wait_for_log("request refused (503 buffer full)");
    hook.wait_for_requests(1);
    let descriptors = agent.descriptors().len();
    // One gives up: it will send its message again.
    drop(other);
    eventually("that is noticed", || {
        (agent.descriptors().len() < descriptors).then_some(())
    });
    hook.release();
    weed.expect_ack("late");
    weed.expect_ack("later");
    hook.wait_for_events(12);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (12, 0));
    assert_eq!(arrived(&hook), events(0..12));
}

/// The agent turns to others while it reads one of many reads, and must not take that for the client's end.
#[test]
fn long_messages_wait_for_room_too() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    hook.hold();
    let agent = start(&hook, &[&place.option(), "--buffer-bytes=4MiB"]);
    let long = |number: usize| event(format!("{number},\"text\":\"{}\"", "x".repeat(2 << 20)));
    let mut weed = place.connect();
    for number in 0..6 {
        weed.send(message(&long(number), r#"{"chunk":"c"}"#).as_bytes());
        if number == 1 {
            agent.wait_for_log("request refused (503 buffer full)");
            hook.release();
        }
        if number > 1 {
            weed.expect_ack("c");
        }
    }
    weed.expect_ack("c");
    weed.expect_ack("c");
    hook.wait_for_events(6);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (6, 0));
}

#[test]
fn many_servers_may_log_at_once_and_each_ones_order_is_kept() {
    const SERVERS: usize = 50;
    const EVENTS: usize = 40;
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option()]);
        let record =
            |server: usize, number: usize| format!(r#"{{"server":{server},"n":{number}}}"#);
        thread::scope(|scope| {
            for server in 0..SERVERS {
                let (place, record) = (&place, &record);
                scope.spawn(move || {
                    let mut weed = place.connect();
                    for number in 0..EVENTS {
                        let record = record(server, number);
                        if server % 2 == 0 {
                            weed.ask(&record);
                        } else {
                            let message = message(&record, "{}");
                            let cut = (server + number) % message.len();
                            weed.send(&message.as_bytes()[..cut]);
                            thread::yield_now();
                            weed.send(&message.as_bytes()[cut..]);
                        }
                    }
                });
            }
        });
        hook.wait_for_events(SERVERS * EVENTS);
        let arrived = arrived(&hook);
        for server in 0..SERVERS {
            let prefix = format!(r#"{{"server":{server},"#);
            let of_server = arrived.iter().filter(|record| record.starts_with(&prefix));
            let expected: Vec<_> = (0..EVENTS).map(|number| record(server, number)).collect();
            assert!(of_server.eq(&expected), "of server {server}");
        }
        let balance = end(agent, &hook);
        assert_eq!(
            (balance.received, balance.dropped),
            ((SERVERS * EVENTS) as u64, 0)
        );
    }
}

#[test]
fn a_client_may_ask_for_many_acknowledgements_before_it_reads_one() {
    const MESSAGES: usize = 1000;
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option()]);
        let mut weed = place.connect();
        let asking = |number: usize| message(&event(number), &format!(r#"{{"chunk":"{number}"}}"#));
        weed.send((0..MESSAGES).map(asking).collect::<String>().as_bytes());
        for number in 0..MESSAGES {
            weed.expect_ack(&number.to_string());
        }
        hook.wait_for_events(MESSAGES);
        end_with(agent, &hook, &events(0..MESSAGES));
    }
}

/// Nothing can be done for it: an acknowledgement that there is no room for can't be left out.
#[test]
fn a_client_that_asks_for_ever_and_never_reads_is_let_go_and_costs_others_nothing() {
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option()]);
        let mut other = place.connect();
        let mut deaf = place.connect();
        let many = message("{}", r#"{"chunk":"p8n9gmxTQVC8/nh2wlKKeQ=="}"#).repeat(1000);
        eventually("it is let go", || deaf.0.write_all(many.as_bytes()).err());
        other.ask("{}");
        agent.wait_for_log("1 request refused (the client does not read its answers)");
        let log = agent.log();
        assert_eq!(log.matches(" refused (").count(), 1, "{log}");
        let balance = end(agent, &hook);
        assert!(balance.received > 1000, "{balance:?}");
        assert_eq!(balance.dropped, 0, "{balance:?}");
    }
}

/// With a shared key, a client waits for the server to begin.
#[test]
fn a_client_that_waits_and_leaves_is_logged_and_one_that_only_looks_is_not() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option()]);
    let silent = place.connect();
    drop(place.connect());
    let hint = "connected, waited and left without a message";
    let log = unchanged_for(Duration::from_secs(3), "it waits", || agent.log());
    assert!(!log.contains(hint), "{log}");
    drop(silent);
    agent.wait_for_log(hint);
    end_with(agent, &hook, &[]);
}

#[test]
fn what_was_sent_before_the_end_is_still_delivered() {
    let (hook, place) = (Webhook::start(), Place::unix());
    let agent = start(&hook, &[&place.option()]);
    let mut known = place.connect();
    known.ask(&event(1));
    hook.wait_for_events(1);
    // The agent finds all of this at once when it goes on: messages, a new connection, and SIGTERM.
    agent.signal(libc::SIGSTOP);
    let mut new = place.connect();
    for number in 2..=50 {
        known.send(message(&event(number), "{}").as_bytes());
        new.send(message(&event(number), r#"{"chunk":"c"}"#).as_bytes());
    }
    new.send(&message(&event(51), "{}").as_bytes()[..30]);
    agent.signal(libc::SIGTERM);
    agent.signal(libc::SIGCONT);
    for _ in 2..=50 {
        new.expect_ack("c");
    }
    // A message that was not whole comes again.
    let balance = wait_for_end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (1 + 49 + 49, 0));
    let closed = known.0.read(&mut [0]);
    assert!(matches!(closed, Ok(0)) || is_reset(&closed), "{closed:?}");
}

fn is_reset(result: &io::Result<usize>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}
