//! The agent as a service of systemd: what it tells at `NOTIFY_SOCKET`, and that a sign of life is one.

use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use super::support::{Agent, AgentCommand, Answer, BINARY, STATE_DIR, Webhook, eventually};

/// Longer than a healthy agent is ever silent, with the watchdog of these tests.
const SILENCE: Duration = Duration::from_secs(3);

/// systemd's end.
struct Systemd {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Systemd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Systemd { socket, dir }
    }

    fn address(&self) -> String {
        self.dir.path().join("notify").to_str().unwrap().to_owned()
    }

    /// The next word, if one comes in time.
    fn next(&self) -> Option<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    fn wait_for(&self, text: &str) -> String {
        eventually(text, || self.next().filter(|word| word.contains(text)))
    }
}

fn run(hook: &Webhook, address: &str, env: &[(&str, &str)]) -> Agent {
    let mut command = Agent::command()
        .args([
            "run",
            "--batch-age=0",
            "--backoff-min=5ms",
            "--source=stdin",
        ])
        .endpoint(&hook.url())
        .token("Splunk x")
        .env("NOTIFY_SOCKET", address);
    for (name, value) in env {
        command = command.env(name, value);
    }
    command.spawn()
}

#[test]
fn a_service_tells_that_it_is_ready_how_it_is_and_that_it_stops() {
    let (systemd, hook) = (Systemd::start(), Webhook::start());
    let fast = [("S3_AUDIT_WEBHOOK_REPORT_INTERVAL", "50ms")];
    let mut agent = run(&hook, &systemd.address(), &fast);
    assert_eq!(
        systemd.next().as_deref(),
        Some("READY=1"),
        "{}",
        agent.log()
    );
    agent.stdin().write_all(b"{\"a\":1}\n").unwrap();
    let status = systemd.wait_for("delivered 1");
    let expected = format!(
        "WATCHDOG=1\nSTATUS=webhook {}; received 1, delivered 1, dropped 0, rejected 0, buffered 0",
        hook.url().trim_end_matches("/services/collector/raw"),
    );
    assert_eq!(status, expected);

    hook.always(Answer::status(503));
    agent.stdin().write_all(b"{\"a\":2}\n").unwrap();
    let status = systemd.wait_for("failing for");
    assert!(status.contains("503"), "{status}");

    hook.always(Answer::ok());
    agent.signal(libc::SIGTERM);
    let stopping = systemd.wait_for("STOPPING=1");
    // 5 s for what is held, and some more.
    assert_eq!(stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=7000000");
    agent.wait().done();
}

#[test]
fn an_abstract_address_will_do() {
    let hook = Webhook::start();
    let name = format!("s3-audit-webhook-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let _agent = run(&hook, &format!("@{name}"), &[]);
    let mut word = [0; 100];
    let length = socket.recv(&mut word).unwrap();
    assert_eq!(&word[..length], b"READY=1");
}

#[test]
fn the_watchdog_sets_the_pace_if_it_is_for_this_process() {
    let (systemd, hook) = (Systemd::start(), Webhook::start());
    // Without a watchdog it tells of itself once, and then an hour later.
    let slow = ("S3_AUDIT_WEBHOOK_REPORT_INTERVAL", "1h");
    let watchdog = ("WATCHDOG_USEC", "100000");
    {
        let _agent = run(&hook, &systemd.address(), &[slow, watchdog]);
        for _ in 0..10 {
            systemd.wait_for("WATCHDOG=1");
        }
    }
    let other = Systemd::start();
    other.socket.set_read_timeout(Some(SILENCE)).unwrap();
    let _agent = run(
        &hook,
        &other.address(),
        &[slow, watchdog, ("WATCHDOG_PID", "1")],
    );
    other.wait_for("READY=1");
    other.wait_for("WATCHDOG=1");
    assert_eq!(other.next(), None);
}

#[test]
fn a_service_without_a_source_is_refused() {
    let systemd = Systemd::start();
    let command = || {
        let command = Agent::command().arg("run").endpoint("http://127.0.0.1:9/");
        command.token("x").stdin(Stdio::null())
    };
    let ended = command().env("NOTIFY_SOCKET", systemd.address()).run();
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    assert!(ended.log.contains("no source is set"), "{}", ended.log);

    let named = command().arg("--source=stdin");
    let named = named.env("NOTIFY_SOCKET", systemd.address()).run();
    let unnamed = command().run();
    const WARNING: &str = "WARN  no source is set, and standard input is /dev/null";
    assert!(!named.log.contains(WARNING), "{}", named.log);
    assert!(unnamed.log.contains(WARNING), "{}", unnamed.log);
    named.done();
    unnamed.done();
}

#[test]
fn lines_for_the_journal_have_a_priority_in_place_of_the_time() {
    let dir = tempfile::tempdir().unwrap();
    // Only if it is this stream that goes there.
    for (journal, begin) in [("$(stat -Lc %d:%i /dev/fd/2)", "<4>WARN  "), ("1:1", "20")] {
        let script =
            format!("JOURNAL_STREAM={journal} exec \"$0\" run --auth-token x --endpoint \"$1\"");
        let log = AgentCommand::of("sh")
            .args(["-c", &script, BINARY, "http://192.0.2.1/"])
            .env(STATE_DIR, dir.path())
            .stdin(Stdio::null())
            .run()
            .log;
        let warning = log.lines().find(|line| line.contains("unencrypted"));
        assert!(warning.is_some_and(|line| line.starts_with(begin)), "{log}");
    }
}

#[test]
fn a_socket_that_nobody_has_is_told_of_and_stops_nothing() {
    let (dir, hook) = (tempfile::tempdir().unwrap(), Webhook::start());
    let nobody = dir.path().join("gone").to_str().unwrap().to_owned();
    let mut agent = run(&hook, &nobody, &[]);
    agent.wait_for_log("NOTIFY_SOCKET: can't notify systemd that the agent has started");
    agent.stdin().write_all(b"{\"a\":1}\n").unwrap();
    hook.wait_for_events(1);
    agent.close_stdin();
    agent.wait().done();
}
