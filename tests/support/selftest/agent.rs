//! The agent as a child process, and the balance of its last line.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use crate::support::agent::AgentCommand;
use crate::support::{Agent, Balance, eventually, wait_until_read};

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
    assert!(is_running(id));
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    assert_eq!(
        (ended.code, ended.log.as_str()),
        (Some(3), "got 1\ngot 2\neof\nbye\n")
    );

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
fn what_was_written_is_waited_for_until_it_is_read() {
    fn is_waited_for(mut client: impl Write + AsFd + Sync, mut server: impl Read) {
        client.write_all(b"bytes").unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| wait_until_read(&client));
            // Far longer than it waits between two looks.
            thread::sleep(Duration::from_millis(50));
            assert!(!waits.is_finished());
            server.read_exact(&mut [0; 5]).unwrap();
        });
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    is_waited_for(client, listener.accept().unwrap().0);
    let (client, server) = UnixStream::pair().unwrap();
    is_waited_for(client, server);
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
