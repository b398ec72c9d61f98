//! What S3 servers and other agents do when they push: they are served, in an outage and when they are many.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Agent, Answer, Client, Webhook, arrived, end, event, eventually, within};

use super::{
    CLOSE, HEALTHY, Listener, TokenFile, answer, ask, events, free_address, post, request, start,
    success,
};

/// Each server with the requests that it makes.
#[test]
fn servers_that_push_are_served() {
    fn texts(file: &str) -> Vec<String> {
        file.lines().map(str::to_owned).collect()
    }
    let minio = texts(include_str!("../data/minio.ndjson"));
    let rustfs = texts(include_str!("../data/rustfs.ndjson"));
    let versity = texts(include_str!("../data/versitygw.ndjson"));
    let weka = texts(include_str!("../data/weka.ndjson"));
    let listener = Listener::start(&[]);

    // MinIO: an event and its newline each, or a batch of them without a type.
    let mut client = listener.client();
    let (single, batch) = minio.split_at(10);
    for event in single {
        let body = format!("{event}\n");
        let length = body.len();
        let head = format!("POST /\nContent-Type: application/json\nContent-Length: {length}");
        ask(&mut client, &request(&head, body.as_bytes()), &success(""));
    }
    let batch: String = batch.iter().map(|event| format!("{event}\n")).collect();
    ask(&mut client, &post(&batch), &success(""));

    // RustFS looks first whether somebody is there.
    let mut client = listener.client();
    let probed = answer("200 OK", "", HEALTHY).replace(HEALTHY, "");
    ask(&mut client, &request("HEAD /", b""), &probed);
    for event in &rustfs {
        ask(&mut client, &post(event), &success(""));
    }

    // Versity posts nothing first, and then over a connection each.
    ask(&mut listener.client(), &post(""), &success(""));
    for event in &versity {
        ask(&mut listener.client(), &post(event), &success(""));
    }

    ask(
        &mut listener.client(),
        &post(&weka.join("\n")),
        &success(""),
    );

    let all = [minio, rustfs, versity, weka].concat();
    listener.hook.wait_for_events(all.len());
    listener.end_with(&all);
}

#[test]
fn another_agent_can_be_the_client() {
    let token = TokenFile::new("Splunk test");
    let (hook, address) = (Webhook::start(), free_address());
    let second = start(
        &hook,
        &[
            &format!("--source=http:{address}"),
            "--buffer-events=100",
            &token.option(),
        ],
    );
    // The buffer of the second is full again and again: the first one holds what is not taken.
    hook.always(Answer::ok().after(Duration::from_millis(20)));
    let corpus = include_str!("../data/minio.ndjson");
    let input = corpus.repeat(50);
    let first = Agent::command()
        .args([
            "run",
            "--endpoint",
            &format!("http://{address}/services/collector/raw"),
        ])
        .args(["--auth-token", "Splunk test", "--batch-events", "30"])
        .args(["--backoff-min", "10ms", "--backoff-max", "50ms"])
        .input(input.clone())
        .spawn();

    let ended = first.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let (passed_on, events) = (ended.balance(), input.lines().count() as u64);
    assert_eq!((passed_on.delivered, passed_on.dropped), (events, 0));
    let balance = end(second, &hook);
    // What was not taken at first came again, and was counted once.
    assert_eq!((balance.received, balance.delivered), (events, events));
    // While the second one refuses, the first may try another event than the oldest.
    let (mut arrived, mut sent) = (arrived(&hook), input.lines().collect::<Vec<_>>());
    arrived.sort_unstable();
    sent.sort_unstable();
    assert!(arrived == sent);
}

/// MinIO has up to 16 connections, posts an event at a time, and tries again for ever.
#[test]
fn a_client_with_a_queue_of_its_own_loses_nothing_over_an_outage_of_the_webhook() {
    const CLIENTS: usize = 16;
    const EVENTS: usize = 60;
    let listener = Listener::start(&["--buffer-events", "100"]);
    let refused = AtomicUsize::new(0);
    let wait_until_refused = |more: usize| {
        let wanted = refused.load(Ordering::Relaxed) + more;
        within(Duration::from_secs(60), "clients are told to wait", || {
            refused.load(Ordering::Relaxed) >= wanted
        });
    };
    listener.hook.stop();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (listener, refused) = (&listener, &refused);
            scope.spawn(move || {
                let mut connection = listener.client();
                for number in client * EVENTS..(client + 1) * EVENTS {
                    loop {
                        connection.send(&post(&(event(number) + "\n"))).unwrap();
                        let (status, _) = connection.read_answer().unwrap();
                        if status == 200 {
                            break;
                        }
                        assert_eq!(status, 503);
                        refused.fetch_add(1, Ordering::Relaxed);
                        // As a client that backs off.
                        thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
        wait_until_refused(50);
        listener.hook.restart();
        listener.hook.wait_for_events(300);
        listener.hook.always(Answer::status(503));
        wait_until_refused(50);
        listener.hook.always(Answer::ok());
    });
    listener.hook.wait_for_events(CLIENTS * EVENTS);

    let mut arrived = arrived(&listener.hook);
    let mut expected = events(0..CLIENTS * EVENTS);
    arrived.sort();
    expected.sort();
    assert_eq!(arrived, expected);
    let balance = listener.end();
    assert_eq!(balance.received, (CLIENTS * EVENTS) as u64);
    assert_eq!(balance.dropped, 0);
}

/// Versity's gateway waits for a second at most, tries nothing again, and has a new connection nearly each time.
#[test]
fn a_new_connection_for_each_event_is_no_trouble() {
    const CLIENTS: usize = 4;
    const EVENTS: usize = 250;
    let listener = Listener::start(&[]);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let listener = &listener;
            scope.spawn(move || {
                for number in client * EVENTS..(client + 1) * EVENTS {
                    ask(&mut listener.client(), &post(&event(number)), &success(""));
                }
            });
        }
    });
    listener.hook.wait_for_events(CLIENTS * EVENTS);
    let balance = listener.end();
    assert_eq!((balance.received, balance.dropped), (1000, 0));
}

/// As Versity does: it never looks at the answer's body, so that its connections stay open until its timeout ends them.
#[test]
fn clients_that_leave_their_connections_open_leave_room_for_others() {
    const CLIENTS: usize = 40;
    let listener = Listener::start(&["--listen-connections", "8"]);
    let mut left_open = Vec::new();
    for number in 0..CLIENTS {
        let mut client = listener.client();
        client.send(&post(&event(number))).unwrap();
        assert_eq!(client.read_answer().unwrap().0, 200, "client {number}");
        left_open.push(client);
    }
    // Three quarters of the connections are kept for those that use theirs again.
    let (kept, closed) = left_open.split_at_mut(6);
    for client in closed {
        assert_eq!(client.read_to_end().unwrap(), "");
    }
    for (client, number) in kept.iter_mut().zip(CLIENTS..) {
        ask(client, &post(&event(number)), &success(""));
    }
    // One that has sent its next requests already gets its answers to all of them.
    let requests: Vec<_> = (100..103).flat_map(|number| post(&event(number))).collect();
    let words = listener.last_words(&requests);
    let last = [success(""), success(""), success(CLOSE)].concat();
    assert_eq!(words, last);

    listener.hook.wait_for_events(CLIENTS + 6 + 3);
    assert!(!listener.agent.log().contains("connections"));
    listener.end();
}

/// Beyond a few, a client that waits with its next request has no thread. It is served like any other, also if all come at
/// the same time, and at the end.
#[test]
fn many_clients_keep_their_connections_and_take_few_threads() {
    const CLIENTS: usize = 400;
    let listener = Listener::start(&["--buffer-events", "10000"]);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = listener.client();
        ask(&mut client, &post(&event(number)), &success(""));
        clients.push(client);
    }
    let threads = format!("/proc/{}/task", listener.agent.id());
    // 64 that have one of their own, and 64 that wait for all others.
    eventually("threads end", || {
        (std::fs::read_dir(&threads).unwrap().count() < 150).then_some(())
    });
    for round in 1..4 {
        for (number, client) in (round * CLIENTS..).zip(&mut clients) {
            client.send(&post(&event(number))).unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.read_answer().unwrap().0, 200);
        }
    }
    listener.hook.wait_for_events(4 * CLIENTS);
    for (number, client) in (4 * CLIENTS..).zip(&mut clients) {
        client.send(&post(&event(number))).unwrap();
    }
    let ending = Instant::now();
    listener.agent.signal(libc::SIGTERM);
    let answers = clients.iter_mut().map(Client::read_answer);
    let answered = answers
        .filter(|answer| answer.as_ref().is_ok_and(|(status, _)| *status == 200))
        .count();
    // Half a second is for the answers to what was taken. A busy machine may take longer: then clients send again.
    let is_late = ending.elapsed() > Duration::from_millis(400);
    let balance = listener.end_told();
    assert!(answered > 0);
    let least = (4 * CLIENTS + answered) as u64;
    assert!(balance.received == least || is_late && balance.received > least);
    assert_eq!(balance.dropped, 0);
}

/// While the agent has no turn, clients come; each must get through at once, since a second's wait is too long for some,
/// and none may be turned away only because they all came at the same time.
#[test]
fn a_burst_of_clients_finds_the_door_open() {
    const CLIENTS: usize = 500;
    let listener = Listener::start(&["--listen-connections", "8"]);
    listener.agent.signal(libc::SIGSTOP);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let patience = Duration::from_millis(900);
            let socket = TcpStream::connect_timeout(&listener.address, patience)
                .unwrap_or_else(|error| panic!("client {number}: {error}"));
            let mut client = Client::over(socket);
            client.send(&post(&event(number))).unwrap();
            client
        })
        .collect();
    listener.agent.signal(libc::SIGCONT);
    for mut client in clients {
        assert_eq!(client.read_answer().unwrap().0, 200);
    }
    listener.hook.wait_for_events(CLIENTS);
    listener.end();
}
