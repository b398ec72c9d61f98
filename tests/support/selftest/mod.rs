//! The tests' own tools are tested first, with a client that is just a socket: a webhook that answers well where it
//! should fail would let every other test pass.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::agent::AgentCommand;
use super::certs::{Identity, provider};
use super::{
    Agent, Answer, Authority, Balance, BlackHole, Client, Request, Webhook, eventually, within,
};

const SUCCESS: &str = r#"{"text":"Success","code":0}"#;

fn statuses(requests: &[Request]) -> Vec<Option<u16>> {
    requests.iter().map(|request| request.answered).collect()
}

#[test]
fn webhook_takes_requests_over_one_connection() {
    let hook = Webhook::start();
    let mut client = Client::connect(hook.address());

    assert_eq!(client.post("a\nb\n").unwrap(), (200, SUCCESS.to_owned()));
    assert_eq!(client.post("").unwrap(), (200, SUCCESS.to_owned()));
    client
        .send(b"PUT /x?y=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nc\n\r\n1\r\nd\r\n0\r\n\r\n")
        .unwrap();
    assert_eq!(client.read_answer().unwrap().0, 200);

    let requests = hook.requests();
    assert_eq!(hook.connections(), 1);
    assert_eq!(requests.len(), 3);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].path.as_str()),
        ("POST", "/raw")
    );
    assert_eq!(requests[0].header("content-length"), Some("4"));
    assert_eq!(requests[0].body, b"a\nb\n");
    assert!(requests[0].at <= requests[2].at);
    assert_eq!(
        (requests[2].method.as_str(), requests[2].path.as_str()),
        ("PUT", "/x?y=1")
    );
    assert_eq!(requests[2].body, b"c\nd");
    assert_eq!(requests[2].connection, 1);
    assert_eq!(hook.delivered_events(), [b"a", b"b", b"c", b"d"]);
}

#[test]
fn webhook_follows_its_script_and_then_its_rule() {
    let hook = Webhook::start();
    hook.answer_by(|request| {
        if request.contains("poison") {
            Answer::status(400)
        } else {
            Answer::status(204)
        }
    });
    hook.script([
        Answer::status(503).header("Retry-After", "1"),
        Answer::hec(400, "Incorrect index", 7),
    ]);
    let mut client = Client::connect(hook.address());

    assert_eq!(
        client.post("a").unwrap(),
        (503, r#"{"text":"Server is busy","code":9}"#.to_owned())
    );
    assert_eq!(
        client.post("b").unwrap(),
        (400, r#"{"text":"Incorrect index","code":7}"#.to_owned())
    );
    assert_eq!(client.post("poison").unwrap().0, 400);
    assert_eq!(client.post("c").unwrap(), (204, String::new()));
    hook.always(Answer::ok().body("fine"));
    assert_eq!(client.post("d").unwrap(), (200, "fine".to_owned()));

    assert_eq!(hook.delivered_events(), [b"c", b"d"]);
    assert_eq!(
        statuses(&hook.requests()),
        [503, 400, 400, 204, 200].map(Some)
    );
}

#[test]
fn webhook_holds_answers_until_released() {
    let hook = Webhook::start();
    hook.hold();
    let mut client = Client::connect(hook.address());
    client.send_post("a").unwrap();

    assert_eq!(hook.wait_for_requests(1)[0].answered, None);
    assert!(hook.delivered_events().is_empty());
    hook.release();
    assert_eq!(hook.wait_for_events(1), [b"a"]);
    assert_eq!(client.read_answer().unwrap().0, 200);
}

#[test]
fn webhook_finishes_between_two_answers() {
    let hook = Webhook::builder().forgetful().start();
    let (seen, body) = std::sync::mpsc::channel();
    hook.reuse([vec![1; 1000]]);
    hook.answer_by(move |request| {
        seen.send(std::mem::take(&mut request.body)).unwrap();
        Answer::ok().after(Duration::from_millis(100))
    });
    let mut client = Client::connect(hook.address());
    client.send_post("a").unwrap();
    let body = body.recv().unwrap();
    assert_eq!((body.as_slice(), body.capacity()), (&b"a"[..], 1000));
    hook.finish();
    assert_eq!(client.read_answer().unwrap().0, 200);
    assert!(client.post("b").is_err());
    hook.restart();
    assert_eq!(Client::connect(hook.address()).post("c").unwrap().0, 200);
}

#[test]
fn webhook_resets_connections() {
    let hook = Webhook::start();
    hook.script([Answer::reset(), Answer::reset_mid_body(3)]);

    let mut client = Client::connect(hook.address());
    let error = client.post("a").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    // The reset comes without the rest of the body, which this client never sends.
    let mut client = Client::connect(hook.address());
    client
        .send(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n0123")
        .unwrap();
    let error = client.read_answer().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    assert_eq!(hook.requests()[1].body, b"012");
    assert_eq!(hook.requests()[1].answered, None);
    assert!(hook.delivered_events().is_empty());
}

#[test]
fn webhook_closes_connections() {
    let hook = Webhook::start();
    hook.script([
        Answer::ok().close(),
        Answer::ok().close_silently(),
        Answer::hang_up(),
    ]);
    let closed = || {
        let mut client = Client::connect(hook.address());
        client.send_post("a").unwrap();
        client.read_to_end().unwrap()
    };
    let (announced, silent, nothing) = (closed(), closed(), closed());

    assert!(
        announced.contains("\r\nConnection: close\r\n") && announced.ends_with(SUCCESS),
        "{announced}"
    );
    assert!(
        !silent.contains("Connection") && silent.ends_with(SUCCESS),
        "{silent}"
    );
    assert_eq!(nothing, "");
    assert_eq!(hook.event_count(), 2);
}

#[test]
fn webhook_sends_broken_answers() {
    let hook = Webhook::start();
    hook.script([
        Answer::ok().half_a_head(),
        Answer::ok().half_a_body(),
        Answer::garbage(),
    ]);
    let broken = || {
        let mut client = Client::connect(hook.address());
        client.send_post("a").unwrap();
        client.read_to_end().unwrap()
    };
    let (half_a_head, half_a_body, garbage) = (broken(), broken(), broken());

    assert!(
        half_a_head.starts_with("HTTP/1.1 200") && !half_a_head.contains("\r\n\r\n"),
        "{half_a_head}"
    );
    assert!(
        half_a_body.ends_with("\r\n\r\n{\"text\":\"Succ"),
        "{half_a_body}"
    );
    assert!(!garbage.contains("HTTP/"), "{garbage}");
    assert_eq!(statuses(&hook.requests()), [None, Some(200), None]);
}

#[test]
fn webhook_answers_late_slowly_without_end_and_not_at_all() {
    let hook = Webhook::start();
    let millisecond = Duration::from_millis(1);
    hook.script([
        Answer::ok().after(50 * millisecond),
        Answer::ok().slowly(10, millisecond),
        Answer::ok().endless(),
        Answer::hang(),
    ]);

    let mut client = Client::connect(hook.address());
    let asked = Instant::now();
    assert_eq!(client.post("late").unwrap().0, 200);
    assert!(asked.elapsed() >= 50 * millisecond);
    let asked = Instant::now();
    assert_eq!(client.post("slow").unwrap(), (200, SUCCESS.to_owned()));
    assert!(
        asked.elapsed() >= 10 * millisecond,
        "an answer of more than 100 bytes has 10 pauses"
    );

    client.send_post("endless").unwrap();
    let mut megabyte = vec![0; 1 << 20];
    client.stream.read_exact(&mut megabyte).unwrap();
    drop(client);

    let mut client = Client::connect(hook.address());
    client.send_post("hang").unwrap();
    let hanging = hook.wait_for_requests(4);
    assert_eq!(hanging[3].answered, None);
    client
        .stream
        .get_ref()
        .set_read_timeout(Some(20 * millisecond))
        .unwrap();
    assert_eq!(
        client.stream.read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    // When the webhook stops, nobody is left hanging.
    hook.stop();
    assert_eq!(client.read_to_end().unwrap(), "");
    assert_eq!(hook.delivered_events(), [&b"late"[..], b"slow", b"endless"]);
}

#[test]
fn webhook_answers_without_reading_the_body() {
    let hook = Webhook::start();
    hook.script([Answer::status(413).without_reading()]);
    let mut client = Client::connect(hook.address());
    client
        .send(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        .unwrap();

    assert_eq!(client.read_answer().unwrap().0, 413);
    assert_eq!(client.read_to_end().unwrap(), "");
    assert_eq!(hook.requests()[0].body, b"");
}

#[test]
fn webhook_stops_and_comes_back() {
    let hook = Webhook::start();
    let mut client = Client::connect(hook.address());
    client.post("before").unwrap();

    hook.stop();
    assert!(client.post("lost").is_err());
    assert_eq!(
        TcpStream::connect(hook.address()).unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );

    hook.restart();
    Client::connect(hook.address()).post("after").unwrap();
    assert_eq!(hook.delivered_events(), [&b"before"[..], b"after"]);
    assert_eq!(hook.connections(), 2);

    let (address, url) = (hook.address(), hook.url());
    drop(hook);
    let hook = Webhook::builder().address(address).forgetful().start();
    assert_eq!(hook.url(), url);
    Client::connect(hook.address()).post("again").unwrap();
    assert!(hook.requests().is_empty(), "it was told to forget");
}

/// A TLS client for `127.0.0.1` that trusts `authority`.
fn tls_client(
    hook: &Webhook,
    authority: &Authority,
    identity: Option<&Identity>,
) -> Client<TlsStream> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots());
    let config = match identity {
        Some(client) => config
            .with_client_auth_cert(client.chain(), client.private_key())
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = Client::connect(hook.address()).stream.into_inner();
    Client::over(StreamOwned::new(session, socket))
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

#[test]
fn webhook_speaks_tls() {
    let authority = Authority::new("ours");
    let hook = Webhook::builder()
        .tls(
            authority
                .server(&["localhost", "127.0.0.1"])
                .server_config(),
        )
        .start();
    hook.script([
        Answer::ok(),
        Answer::ok().close(),
        Answer::ok().close_silently(),
        Answer::reset(),
    ]);
    assert!(hook.url().starts_with("https://127.0.0.1:"));

    let mut client = tls_client(&hook, &authority, None);
    assert_eq!(client.post("a").unwrap().0, 200);
    assert_eq!(client.post("b").unwrap().0, 200);
    assert_eq!(client.read_to_end().unwrap(), "", "close_notify has come");

    let mut client = tls_client(&hook, &authority, None);
    assert_eq!(client.post("c").unwrap().0, 200);
    assert_eq!(
        client.read_to_end().unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );

    let mut client = tls_client(&hook, &authority, None);
    assert_eq!(
        client.post("d").unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert_eq!(hook.delivered_events(), [b"a", b"b", b"c"]);
}

#[test]
fn certificates_are_as_bad_as_asked_for() {
    let authority = Authority::new("ours");
    let names = &["127.0.0.1"];
    let failure = |identity: Identity| {
        let hook = Webhook::builder().tls(identity.server_config()).start();
        tls_client(&hook, &authority, None)
            .post("a")
            .unwrap_err()
            .to_string()
    };

    let wrong_name = failure(authority.server(&["hec.example.com"]));
    let expired = failure(authority.expired_server(names));
    let unknown = failure(Authority::new("theirs").server(names));

    assert!(wrong_name.contains("not valid for name"), "{wrong_name}");
    assert!(expired.contains("expired"), "{expired}");
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
}

#[test]
fn webhook_asks_for_a_client_certificate() {
    let authority = Authority::new("ours");
    let config = authority
        .server(&["127.0.0.1"])
        .server_config_for_clients_of(&authority);
    let hook = Webhook::builder().tls(config).start();

    assert!(tls_client(&hook, &authority, None).post("a").is_err());
    let stranger = Authority::new("theirs").client("agent");
    assert!(
        tls_client(&hook, &authority, Some(&stranger))
            .post("b")
            .is_err()
    );
    let friend = authority.client("agent");
    assert_eq!(
        tls_client(&hook, &authority, Some(&friend))
            .post("c")
            .unwrap()
            .0,
        200
    );
    assert_eq!(hook.delivered_events(), [b"c"]);
}

#[test]
fn certificates_are_written_as_pem() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    let (certificate, key) = authority
        .server(&["localhost"])
        .write_pem(dir.path(), "server");

    let first_line = |path| {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(first_line(ca), "-----BEGIN CERTIFICATE-----");
    assert_eq!(first_line(certificate), "-----BEGIN CERTIFICATE-----");
    assert_eq!(first_line(key), "-----BEGIN PRIVATE KEY-----");
}

#[test]
fn black_hole_lets_nobody_connect() {
    let hole = BlackHole::start();
    assert!(hole.url().starts_with("http://127.0.0.1:"));
    let attempt = TcpStream::connect_timeout(&hole.address(), Duration::from_millis(100));
    assert_eq!(attempt.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

/// A stand-in for the agent.
fn shell(script: &str) -> AgentCommand {
    AgentCommand::of("/bin/sh").arg("-c").arg(script)
}

#[test]
fn agent_is_the_built_binary() {
    assert_eq!(Agent::command().arg("--version").run().code, Some(0));
}

#[test]
fn agent_is_fed_watched_and_signalled() {
    let mut agent = shell("trap 'echo bye >&2; exit 3' TERM; while read x; do echo got $x >&2; done; echo eof >&2; while :; do sleep 0.01; done")
        .spawn();
    agent.stdin().write_all(b"1\n2\n").unwrap();
    assert_eq!(agent.wait_for_log("2"), "got 2");
    assert_eq!(agent.wait_for_nth_log(2, "got"), "got 2");
    agent.close_stdin();
    agent.wait_for_log("eof");

    let id = agent.id();
    within(Duration::from_secs(10), "the agent is there", || {
        is_running(id)
    });
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    assert_eq!(
        (ended.code, ended.log.as_str()),
        (Some(3), "got 1\ngot 2\neof\nbye\n")
    );
    assert!(ended.took < Duration::from_secs(60));

    let agent = shell("echo ready >&2; exec sleep 60").spawn();
    agent.wait_for_log("ready");
    let id = agent.id();
    drop(agent);
    eventually("the agent is killed", || (!is_running(id)).then_some(()));
}

fn is_running(id: u32) -> bool {
    std::path::Path::new(&format!("/proc/{id}")).exists()
}

#[test]
fn agent_gets_its_input_and_none_of_our_settings() {
    let ended = AgentCommand::of("/bin/cat")
        .input(vec![b'x'; 1 << 20])
        .run();
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1 << 20));

    let ended = AgentCommand::of("/usr/bin/env")
        .env("S3_AUDIT_WEBHOOK_LOG", "debug")
        .stdin(std::process::Stdio::null())
        .run();
    let seen = String::from_utf8_lossy(&ended.stdout).into_owned();
    let settings: Vec<_> = seen
        .lines()
        .filter(|line| line.starts_with("S3_AUDIT_WEBHOOK_"))
        .collect();
    assert_eq!(settings, ["S3_AUDIT_WEBHOOK_LOG=debug"]);
    assert!(!seen.to_lowercase().contains("_proxy="), "{seen}");

    let ended = AgentCommand::of("/bin/echo")
        .endpoint("http://x")
        .token("Splunk T")
        .source("stdin")
        .args(["--a", "1"])
        .run();
    assert_eq!(
        ended.stdout,
        b"--endpoint http://x --auth-token Splunk T --source stdin --a 1\n"
    );
}

#[test]
#[should_panic(expected = "ended without line 1 with \"two\"; its log:\none\n")]
fn agent_that_ends_is_not_waited_for() {
    shell("echo one >&2").spawn().wait_for_log("two");
}

#[test]
fn balance_is_read_from_the_last_line() {
    let ended = shell("echo 'INFO stopped: received 9, delivered 2, dropped 6 (buffer full 4, malformed 2), buffered 1' >&2").run();
    let balance = ended.balance();
    balance.holds();
    assert_eq!(
        (
            balance.received,
            balance.delivered,
            balance.dropped,
            balance.left
        ),
        (9, 2, 6, 1)
    );
    assert_eq!(
        (
            balance.by_reason["buffer full"],
            balance.by_reason["malformed"]
        ),
        (4, 2)
    );

    Balance::parse("stopped: received 2, delivered 2, dropped 0, buffered 0")
        .unwrap()
        .holds();
    assert_eq!(Balance::parse("stopped: received many"), None);
}

#[test]
#[should_panic(expected = "the reasons do not add up")]
fn balance_with_a_reason_missing_does_not_hold() {
    Balance::parse("stopped: received 2, delivered 1, dropped 1, buffered 0")
        .unwrap()
        .holds();
}
