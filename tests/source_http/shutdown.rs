//! The agent's end: what clients were told then is true.

use std::net::TcpStream;
use std::thread;

use crate::support::{arrived, event, eventually};

use super::{CLOSE, Listener, ask, lines, post, success};

#[test]
fn at_the_end_requests_are_taken_and_answered_or_neither() {
    for round in 0..5 {
        // Whoever keeps a connection must not keep the agent from ending.
        let listener = Listener::start(&["--shutdown-timeout", "1h"]);
        let connect = |number: usize| {
            let mut client = listener.client();
            ask(&mut client, &post(&event(number)), &success(""));
            client
        };
        let mut complete: Vec<_> = (0..4).map(connect).collect();
        let (mut half, mut begun, mut idle) = (connect(4), connect(5), connect(6));
        listener.hook.wait_for_events(7);
        let body = lines(10..13);
        begun.send(&post(&body)[..60]).unwrap();

        // The agent finds all of this at once when it goes on: SIGTERM, and what has arrived before it.
        listener.agent.signal(libc::SIGSTOP);
        for client in &mut complete {
            client.send(&post(&body)).unwrap();
        }
        half.send(&post(&body)[..70]).unwrap();
        listener.agent.signal(libc::SIGTERM);
        listener.agent.signal(libc::SIGCONT);

        for mut client in complete {
            let words = client.read_to_end().unwrap();
            assert!(words == success(CLOSE) || words == success(""), "{words}");
        }
        for client in [&mut half, &mut begun, &mut idle] {
            assert_eq!(client.read_to_end().unwrap(), "", "round {round}");
        }
        let address = listener.address;
        let balance = listener.end_told();
        assert_eq!((balance.received, balance.dropped), (7 + 4 * 3, 0));
        assert!(TcpStream::connect(address).is_err());
    }
}

/// Clients that never pause: to each, an event is taken if it has been told so, and else not.
#[test]
fn what_clients_were_told_at_the_end_is_true() {
    const CLIENTS: usize = 8;
    let listener = Listener::start(&[]);
    let confirmed: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let listener = &listener;
                scope.spawn(move || {
                    let mut connection = listener.client();
                    let mut confirmed = Vec::new();
                    for number in (client * 1_000_000).. {
                        let sent = connection.send(&post(&event(number)));
                        let answer = sent.and_then(|()| connection.read_answer());
                        match answer {
                            Ok((status, _)) => assert_eq!(status, 200),
                            Err(_) => return (confirmed, event(number)),
                        }
                        confirmed.push(event(number));
                    }
                    unreachable!()
                })
            })
            .collect();
        listener.hook.wait_for_events(500);
        listener.agent.signal(libc::SIGTERM);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let hook = &listener.hook;
    eventually("all that was confirmed arrives", || {
        let arrived = arrived(hook);
        let sum: usize = confirmed.iter().map(|(confirmed, _)| confirmed.len()).sum();
        (arrived.len() >= sum).then_some(())
    });
    let mut arrived = arrived(hook);
    let mut expected: Vec<_> = confirmed
        .iter()
        .flat_map(|(confirmed, _)| confirmed.clone())
        .collect();
    // The one in flight may have been too late by its answer alone.
    for (_, unsure) in &confirmed {
        if arrived.contains(unsure) {
            println!("taken without the client's knowing: {unsure}");
            expected.push(unsure.clone());
        }
    }
    arrived.sort();
    expected.sort();
    assert_eq!(arrived, expected);
    listener.end_told();
}
