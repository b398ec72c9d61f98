//! Many clients of `fluent:` at once, with all that some of them do to the others.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::source_fluent::{Place, Weed, message};
use crate::source_http::{events, start};
use crate::support::{Agent, Webhook, arrived, end, event, eventually, raise_descriptor_limit};

/// The seconds on a CPU that the source takes for some acknowledgements.
fn cost(agent: &Agent, weed: &mut Weed) -> f64 {
    let before = agent.seconds_of("src-fluent");
    (0..50).for_each(|_| weed.ask("{}"));
    agent.seconds_of("src-fluent") - before
}

#[test]
fn idle_clients_make_the_work_for_another_no_more() {
    const IDLE: usize = 1100;
    raise_descriptor_limit();
    let (hooks, places) = (
        [Webhook::start(), Webhook::start()],
        [Place::tcp(), Place::tcp()],
    );
    let agents = [0, 1].map(|n| start(&hooks[n], &[&places[n].option()]));
    let mut weeds = places.each_ref().map(Place::connect);
    let mut idle: Vec<_> = (0..IDLE).map(|_| places[1].connect()).collect();
    // Some have sent whole messages, some a part of one, some nothing.
    for (number, other) in idle.iter_mut().enumerate() {
        match number % 3 {
            0 => other.ask("{}"),
            1 => other.send(b"[\"t\",1,{"),
            _ => {}
        }
    }
    // The medians of rounds in turns, so that whatever else the machine does adds to both.
    let mut is_no_more_work = || {
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..41 {
            for ((costs, agent), weed) in rounds.iter_mut().zip(&agents).zip(&mut weeds) {
                costs.push(cost(agent, weed));
            }
        }
        let [alone, beside] = rounds.map(|mut costs| {
            costs.sort_by(f64::total_cmp);
            costs[20]
        });
        println!("{alone} s alone, {beside} s beside {IDLE}");
        beside < alone * 1.5
    };
    assert!((0..5).any(|_| is_no_more_work()));
    drop(idle);
    for (agent, hook) in agents.into_iter().zip(&hooks) {
        end(agent, hook);
    }
}

#[test]
fn clients_in_the_midst_of_messages_share_what_memory_there_is_for_them() {
    const CLIENTS: usize = 900;
    for begin in [
        format!("[\"t\",1,{{\"a\":\"{}", "x".repeat(130_000)).into_bytes(),
        [
            b"\x93\xa1t\x01\x81\xa1a\xdb\x00\x02\x00\x00".as_slice(),
            &[b'x'; 130_000],
        ]
        .concat(),
    ] {
        let (hook, place) = (Webhook::start(), Place::tcp());
        let agent = start(&hook, &[&place.option()]);
        let mut good = place.connect();
        good.ask(&event(1));
        let Place::Tcp(address) = place else {
            unreachable!()
        };
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = TcpStream::connect(address).unwrap();
                let _ = std::io::Write::write_all(&mut client, &begin);
                client
            })
            .collect();
        agent.wait_for_log("too much memory for unfinished messages");
        good.ask(&event(2));
        hook.wait_for_events(2);
        let peak = agent.peak_kib();
        assert!(peak < 48 << 10, "{peak} KiB");
        drop(clients);
        assert_eq!(arrived(&hook), events([1, 2]));
        let balance = end(agent, &hook);
        assert_eq!((balance.received, balance.dropped), (2, 0));
    }
}

#[test]
fn a_full_source_closes_who_waits_longest_and_never_who_has_sent_whole_messages() {
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let options = [
            &place.option(),
            "--listen-connections",
            "3",
            "--report-interval",
            "1h",
        ];
        let agent = start(&hook, &options);
        let mut good = [place.connect(), place.connect()];
        for good in &mut good {
            good.ask(&event(1));
        }
        let mut half = place.connect();
        half.send(b"[\"t\",1,");
        // It is the one that has waited longest only if the agent has read it before the others come.
        half.wait_until_read();
        // Whoever comes takes the place of the one that waits.
        for _ in 0..20 {
            let mut silent = place.connect();
            // So that it is first seen without a byte.
            thread::sleep(Duration::from_millis(2));
            silent.send(b"[\"t\",");
        }
        eventually("the half message is closed", || {
            half.0.write_all(b" ").err()
        });
        let mut third = place.connect();
        third.ask(&event(1));
        // Now there is no room for anybody.
        let mut refused = place.connect();
        eventually("it is closed", || refused.0.write_all(b"[").err());
        for good in &mut good {
            good.ask(&event(1));
        }
        third.ask(&event(1));
        hook.wait_for_events(6);
        agent.wait_for_log("connections");
        let balance = end(agent, &hook);
        assert_eq!((balance.received, balance.dropped), (6, 0));
    }
}

#[test]
fn a_message_that_is_not_finished_in_time_costs_its_client_the_connection() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option(), "--listen-timeout", "300ms"]);
    let mut idle = place.connect();
    idle.ask(&event(1));
    let whole = message(&event(2), "{}");
    let mut slow = place.connect();
    eventually("it is closed", || {
        // It sends on and on, but never the end.
        slow.0.write_all(b"[").err()
    });
    let mut silent = place.connect();
    // A client that says nothing has all the time: twice as long as a message may take.
    thread::sleep(Duration::from_millis(600));
    silent.send(whole.as_bytes());
    idle.ask(&event(3));
    hook.wait_for_events(3);
    agent.wait_for_log("too slow");
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (3, 0));
}

/// Each has sent its message when the agent gets to see it.
#[test]
fn a_burst_of_clients_beyond_the_limit_is_served() {
    const CLIENTS: u64 = 40;
    let (hook, place) = (Webhook::start(), Place::unix());
    let agent = start(&hook, &[&place.option(), "--listen-connections", "3"]);
    place.connect().ask(&event(0));
    agent.signal(libc::SIGSTOP);
    for number in 1..=CLIENTS {
        // It closes at once, as one does that has but one thing to say.
        place
            .connect()
            .send(message(&event(number), "{}").as_bytes());
    }
    agent.signal(libc::SIGCONT);
    hook.wait_for_events(1 + CLIENTS as usize);
    assert_eq!(arrived(&hook), events(0..=CLIENTS as usize));
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (CLIENTS + 1, 0));
}
