//! How both pages are served: to whom, from which address, and soon, whatever other clients do.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::source_http::{TokenFile, free_port_everywhere, start};
use crate::support::{Agent, Answer, Client, Webhook, end, event, eventually};

use super::{Told, exchange, get};

#[test]
fn only_its_pages_are_served_and_only_to_be_read() {
    let told = Told::start(&[]);
    let ask = |method: &str, path: &str| {
        let (head, body) = exchange(
            told.status,
            &format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
        );
        assert!(head.contains("\r\nConnection: close"), "{head}");
        (head, body)
    };
    for (method, path, status) in [
        ("GET", "/healthz?verbose", "200 OK"),
        ("GET", "/metrics?a=b", "200 OK"),
        ("GET", "/", "404 Not Found"),
        ("GET", "/healthz/", "404 Not Found"),
        ("GET", "/metricss", "404 Not Found"),
        ("GET", "/../metrics", "404 Not Found"),
        ("HEAD", "/", "404 Not Found"),
        ("POST", "/metrics", "405 Method Not Allowed"),
        ("DELETE", "/healthz", "405 Method Not Allowed"),
        ("get", "/healthz", "405 Method Not Allowed"),
    ] {
        let (head, body) = ask(method, path);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{method} {path}: {head}"
        );
        assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}: {body}");
    }
    // A head is what it would be with a body.
    for path in ["/healthz", "/metrics"] {
        assert_eq!(ask("HEAD", path), (ask("GET", path).0, String::new()));
    }
    assert!(
        ask("GET", "/metrics")
            .0
            .contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n")
    );

    let (head, _) = exchange(told.status, "GET /healthz HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let long = format!(
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    // Not all of it is read: that is what may be seen behind the answer.
    let mut client = Client::connect(told.status);
    client.send(long.as_bytes()).unwrap();
    assert_eq!(client.read_answer().unwrap().0, 400);
    for bad in ["geheim\r\n\r\n", "GET /healthz\r\n\r\n"] {
        let (head, body) = exchange(told.status, bad);
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert!(!body.contains("geheim"));
    }
    end(told.agent, &told.hook);
}

#[test]
fn a_client_that_says_nothing_does_not_keep_probes_waiting_for_long() {
    let told = Told::start(&[]);
    let silent = Client::connect(told.status);
    let mut slow = Client::connect(told.status);
    slow.send(b"GET /healthz HTTP/1.1\r\nX: ").unwrap();
    let gone = Client::connect(told.status);
    drop(gone);
    assert_eq!(get(told.status, "/healthz"), (200, "ok\n".into()));
    // They are not kept for ever either, whatever they send.
    let mut silent = silent.stream.into_inner();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    let dripped = (0..500).any(|_| {
        // As slow as a client can be that is never idle.
        thread::sleep(Duration::from_millis(20));
        slow.send(b"x").is_err()
    });
    assert!(dripped, "a client that drips is kept");
    end(told.agent, &told.hook);
}

#[test]
fn a_probe_waits_for_none_of_many_silent_clients() {
    let told = Told::start(&[]);
    let mut silent: Vec<_> = (0..8)
        .map(|_| Client::connect(told.status).stream.into_inner())
        .collect();
    assert_eq!(get(told.status, "/healthz"), (200, "ok\n".into()));
    for client in &mut silent {
        client.set_nonblocking(true).unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "it was waited for");
    }
    end(told.agent, &told.hook);
}

/// More than a restart would help against: kubelet gives a probe a second.
#[test]
fn a_probe_is_answered_within_a_second_beside_400_silent_clients() {
    let told = Told::start(&[]);
    let open = || TcpStream::connect(told.status).unwrap();
    let mut silent: Vec<_> = (0..400).map(|_| open()).collect();
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let started = std::time::Instant::now();
        assert_eq!(get(told.status, "/healthz"), (200, "ok\n".into()));
        assert_eq!(get(told.status, "/metrics").0, 200);
        fastest = fastest.min(started.elapsed());
        // They come again as soon as they were ended.
        silent = silent.into_iter().skip(200).collect();
        silent.extend((0..200).map(|_| open()));
    }
    // A loaded machine may take longer now and then.
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    end(told.agent, &told.hook);
}

#[test]
fn figures_are_for_those_who_have_the_token() {
    let token = TokenFile::new("Bearer s3cret\n");
    let option = token.option().replace("--listen-", "--status-");
    let told = Told::start(&[&option, "--unhealthy-after=10ms"]);
    let ask = |path: &str, header: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n");
        let (head, body) = exchange(told.status, &request);
        (head["HTTP/1.1 ".len()..][..3].parse::<u16>().unwrap(), body)
    };
    let right = "Authorization: bearer s3cret\r\n";
    assert_eq!(ask("/metrics", "").0, 401);
    assert_eq!(ask("/metrics", "Authorization: Bearer other\r\n").0, 403);
    assert_eq!(ask("/metrics", right).0, 200);
    assert_eq!(ask("/healthz", ""), (200, String::new()));
    assert_eq!(ask("/healthz", right), (200, "ok\n".into()));
    told.hook.always(Answer::status(503));
    told.post(&event(1));
    eventually("it is unhealthy", || {
        (ask("/healthz", "").0 == 503).then_some(())
    });
    assert_eq!(ask("/healthz", "").1, "");
    assert!(ask("/healthz", right).1.contains("delivery failing"));
    told.hook.always(Answer::ok());
    end(told.agent, &told.hook);
}

#[test]
fn figures_for_all_the_network_are_warned_of() {
    let hook = Webhook::start();
    let port = free_port_everywhere();
    let listen = format!("--status-listen=0.0.0.0:{port}");
    let agent = start(&hook, &[&listen, "--source=stdin"]);
    let warning = agent.wait_for_log("can read the metrics; use --status-token-file");
    assert!(warning.contains("WARN"), "{warning}");
    end(agent, &hook);
}

#[test]
fn an_address_that_another_process_has_is_an_error_at_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = |address: &str| {
        Agent::command()
            .args(["run", "--dry-run", "--status-listen", address])
            .run()
    };
    let ended = run(&address);
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let line = format!("--status-listen: {address}: can't listen: ");
    assert!(ended.log.contains(&line), "{}", ended.log);
    let elsewhere = run("192.0.2.7:9108");
    assert_eq!(elsewhere.code, Some(1), "{}", elsewhere.log);
    let nowhere = run("localhost");
    assert_eq!(nowhere.code, Some(2), "{}", nowhere.log);
    assert!(
        nowhere.log.contains("fix: use one such as 127.0.0.1:9108"),
        "{}",
        nowhere.log
    );
}
