//! How the agent ends: it sends what it holds while the webhook takes it, it ends in time whatever the webhook does, and
//! it says what became of everything.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use super::delivery::{feed, finish, numbered, start, start_seeing, taken};
use super::source_http::free_address;
use super::state::{self, StateDir};
use super::support::{Agent, Answer, Authority, Balance, BlackHole, Metrics, Webhook, eventually};

/// What an end may take beyond `--shutdown-timeout` on a loaded machine: less than what it must not wait for.
const GRACE: Duration = Duration::from_secs(20);

/// Signals the agent, and waits for it to end well. Gives how long that took, the balance and the log.
fn end_by(signal: libc::c_int, agent: Agent) -> (Duration, Balance, String) {
    let signalled = Instant::now();
    agent.signal(signal);
    let ended = agent.wait();
    let took = signalled.elapsed();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let balance = ended.balance();
    balance.holds();
    assert_eq!(balance.left, 0);
    (took, balance, ended.log)
}

#[test]
fn a_signal_ends_the_input_and_everything_that_was_written_is_delivered() {
    for (signal, age) in [
        (libc::SIGTERM, "--batch-age=0"),
        (libc::SIGINT, "--batch-age=1h"),
    ] {
        let hook = Webhook::start();
        let mut agent = start(&hook.url(), &[age, "--batch-events=500"]);
        let events = numbered(0..20_000);
        feed(&mut agent, &events);
        let (_, balance, log) = end_by(signal, agent);
        assert_eq!((balance.received, balance.delivered), (20_000, 20_000));
        assert!(taken(&hook) == events, "{log}");
    }
}

#[test]
fn signals_that_mean_nothing_here_do_not_end_it() {
    let hook = Webhook::start();
    let mut agent = start(&hook.url(), &[]);
    agent.wait_for_log("started:");
    agent.signal(libc::SIGUSR1);
    agent.signal(libc::SIGUSR2);
    feed(&mut agent, &numbered(0..1));
    hook.wait_for_events(1);
    end_by(libc::SIGTERM, agent);
}

#[test]
fn an_event_that_the_end_cuts_off_is_counted() {
    let hook = Webhook::start();
    let mut agent = start(&hook.url(), &[]);
    agent.stdin().write_all(b"{\"whole\":1}\n{\"half").unwrap();
    hook.wait_for_events(1);
    let (_, balance, log) = end_by(libc::SIGTERM, agent);
    assert_eq!((balance.received, balance.delivered), (2, 1), "{log}");
    assert_eq!(balance.by_reason["shutdown"], 1, "{log}");
}

#[test]
fn a_signal_before_anything_is_there_is_obeyed() {
    let hook = Webhook::start();
    hook.stop();
    let dir = tempfile::tempdir().unwrap();
    let sources = format!(
        "file:{0}/none.log,unix:{0}/none.sock,unix-listen:{0}/in.sock,stdin",
        dir.path().display()
    );
    let options = ["--shutdown-timeout=1h", "--source", &sources];
    let agent = start(&hook.url(), &options);
    agent.wait_for_log("started");
    let (_, balance, _) = end_by(libc::SIGTERM, agent);
    assert_eq!(balance.received, 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_request_under_way_has_until_the_deadline() {
    let hook = Webhook::start();
    hook.hold();
    let mut agent = start(&hook.url(), &["--shutdown-timeout=1h"]);
    feed(&mut agent, &numbered(0..1));
    hook.wait_for_requests(1);
    agent.signal(libc::SIGTERM);
    agent.wait_for_log("shutting down");
    hook.release();
    finish(agent, &hook, &numbered(0..1));

    hook.hold();
    let mut agent = start(&hook.url(), &["--shutdown-timeout=300ms"]);
    feed(&mut agent, &numbered(1..2));
    hook.wait_for_requests(2);
    let (took, balance, log) = end_by(libc::SIGTERM, agent);
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_millis(300) + GRACE, "{took:?}");
    assert_eq!(balance.by_reason["shutdown"], 1, "{log}");
    assert!(log.contains(" 1 event may have arrived: "), "{log}");
}

#[test]
fn of_two_sources_only_what_the_next_start_does_not_read_again_is_lost() {
    let hook = Webhook::start();
    hook.stop();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    fs::write(&path, numbered(0..7).join("\n") + "\n").unwrap();
    let file = format!("file:{}", path.display());
    let options = [
        "--shutdown-timeout=100ms",
        "--report-interval=100ms",
        "--source=stdin",
        "--source",
    ];
    let mut agent = start(&hook.url(), &[&options[..], &[file.as_str()]].concat());
    feed(&mut agent, &numbered(7..12));
    agent.wait_for_log("; 12 events buffered");
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let balance = ended.balance();
    balance.holds();
    assert_eq!(
        (
            balance.received,
            balance.by_reason["shutdown"],
            balance.left
        ),
        (12, 5, 7),
        "{}",
        ended.log
    );
}

/// Its connection is not made before the deadline, and nothing can end that sooner.
#[test]
fn a_sender_that_does_not_end_makes_nothing_lost_that_the_next_start_reads_again() {
    let black_hole = BlackHole::start();
    for (spool, lost) in [("--spool-bytes=0", 5), ("--spool-bytes=1MiB", 0)] {
        let (dir, status) = (StateDir::new(), free_address());
        let path = dir.path().join("audit.log");
        // Not all of the file has room, so that its source waits.
        fs::write(&path, numbered(5..55).join("\n") + "\n").unwrap();
        let sources = format!("--source=stdin,file:{}", path.display());
        let page = format!("--status-listen={status}");
        let options = [
            &sources,
            &page,
            spool,
            "--batch-events=5",
            "--connect-timeout=1h",
            "--shutdown-timeout=300ms",
        ];
        let mut agent = dir.start(&black_hole.url(), &options);
        feed(&mut agent, &numbered(0..5));
        eventually("all are read", || {
            let received = Metrics::at(status).sum("events_received_total");
            (received == 55).then_some(())
        });
        agent.signal(libc::SIGTERM);
        let ended = agent.wait();
        let (balance, log) = (ended.balance(), ended.log);
        balance.holds();
        assert_eq!(
            (balance.received, balance.dropped, balance.left),
            (55, lost, 55 - lost),
            "{spool}: {log}"
        );
        assert_eq!(state::balance(&dir.read(1).unwrap()), balance, "{spool}");

        let hook = Webhook::start();
        let agent = dir.start(&hook.url(), &options);
        hook.wait_for_events(balance.left as usize);
        agent.signal(libc::SIGTERM);
        let ended = agent.wait();
        assert_eq!(ended.done().delivered, 55 - lost, "{}", ended.log);
        let (mut taken, mut left) = (taken(&hook), numbered(lost as usize..55));
        taken.sort();
        left.sort();
        assert_eq!(taken, left, "{spool}");
    }
}

#[test]
fn a_long_wait_before_the_next_attempt_ends_with_the_signal() {
    let hook = Webhook::start();
    hook.script([Answer::status(503)]);
    let mut agent = start(&hook.url(), &["--backoff-min=1h", "--backoff-max=1h"]);
    feed(&mut agent, &numbered(0..10));
    agent.wait_for_log("retrying in 1h00m");
    let (_, balance, log) = end_by(libc::SIGTERM, agent);
    assert_eq!(taken(&hook), numbered(0..10), "{log}");
    assert_eq!(balance.delivered, 10, "{log}");
}

#[test]
fn a_second_signal_ends_at_once_with_the_balance() {
    let hook = Webhook::start();
    hook.always(Answer::hang());
    let mut agent = start(&hook.url(), &["--shutdown-timeout=1h"]);
    feed(&mut agent, &numbered(0..10));
    hook.wait_for_requests(1);
    agent.signal(libc::SIGTERM);
    agent.wait_for_log("shutting down");
    let (_, balance, log) = end_by(libc::SIGINT, agent);
    assert_eq!((balance.received, balance.by_reason["shutdown"]), (10, 10));
    assert!(log.contains("second signal"), "{log}");
}

/// As `timeout` sends it, to its child and then to the group.
#[test]
fn a_signal_that_comes_twice_is_one() {
    let hook = Webhook::start();
    hook.hold();
    let mut agent = start(&hook.url(), &["--shutdown-timeout=1h"]);
    feed(&mut agent, &numbered(0..10));
    hook.wait_for_requests(1);
    agent.signal(libc::SIGTERM);
    agent.wait_for_log("shutting down");
    agent.signal(libc::SIGTERM);
    // After the second answer, the signal before the first request has been seen too.
    for nth in 1..=2 {
        agent.signal(libc::SIGHUP);
        agent.wait_for_nth_log(nth, "settings read again");
    }
    hook.release();
    let ended = agent.wait();
    assert_eq!(ended.done().delivered, 10, "{}", ended.log);
    assert!(!ended.log.contains("second signal"), "{}", ended.log);
}

#[test]
fn a_second_signal_amid_deliveries_leaves_the_balance_whole() {
    for _ in 0..20 {
        let hook = Webhook::start();
        let mut agent = start(&hook.url(), &["--batch-events=1"]);
        feed(&mut agent, &numbered(0..5000));
        hook.wait_for_requests(1);
        agent.signal(libc::SIGTERM);
        agent.wait_for_log("shutting down");
        let (_, balance, log) = end_by(libc::SIGINT, agent);
        // An answer on its way is one that the agent has not seen.
        let taken = taken(&hook).len() as u64;
        let unseen = taken - balance.delivered;
        assert!(unseen <= 1, "{taken} taken: {log}");
    }
}

#[test]
fn the_end_of_the_input_is_no_hurry_to_give_up_on_a_webhook_that_is_down() {
    let hook = Webhook::start();
    hook.stop();
    let patience = ["--shutdown-timeout=1ms", "--report-interval=20ms"];
    let mut agent = start(&hook.url(), &patience);
    feed(&mut agent, &numbered(0..10));
    agent.close_stdin();
    agent.wait_for_nth_log(3, "delivery failing for");
    hook.restart();
    hook.wait_for_events(10);
    finish(agent, &hook, &numbered(0..10));
}

#[test]
fn whatever_the_webhook_does_the_end_comes_in_time_and_the_rest_is_counted() {
    let [down, hanging, busy, dripping, refusing] = [(); 5].map(|()| Webhook::start());
    down.stop();
    hanging.always(Answer::hang());
    busy.always(Answer::status(503).header("Retry-After", "3600"));
    dripping.always(Answer::ok().slowly(1, Duration::from_millis(100)));
    refusing.always(Answer::status(422));
    let untrusted = Webhook::builder()
        .tls(Authority::new("?").server(&["127.0.0.1"]).server_config())
        .start();
    let black_hole = BlackHole::start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ours").write_pem(dir.path(), "ca");

    let logged =
        |text: &'static str| -> Sign<'_> { Box::new(move |agent| drop(agent.wait_for_log(text))) };
    fn asked(hook: &Webhook) -> Sign<'_> {
        Box::new(|_| drop(hook.wait_for_requests(1)))
    }
    let cases = [
        (down.url(), logged("connection refused")),
        (hanging.url(), asked(&hanging)),
        (busy.url(), logged("retrying in 1h")),
        (dripping.url(), asked(&dripping)),
        (refusing.url(), logged("rejected 1 event")),
        (untrusted.url(), logged("unknown CA")),
        (black_hole.url(), logged("started")),
        (
            format!("https://{}/", silent.local_addr().unwrap()),
            logged("started"),
        ),
        ("http://webhook.invalid/".to_owned(), logged("started")),
    ];
    let began = Instant::now();
    thread::scope(|scope| {
        for (endpoint, is_under_way) in cases {
            let mut limits = vec![
                "--shutdown-timeout=300ms",
                "--connect-timeout=1h",
                "--backoff-min=1h",
                "--backoff-max=1h",
                "--batch-events=10",
            ];
            if endpoint.starts_with("https:") {
                limits.extend(["--ca-file", ca.to_str().unwrap()]);
            }
            scope.spawn(move || {
                let mut agent = start(&endpoint, &limits);
                feed(&mut agent, &numbered(0..100));
                is_under_way(&agent);
                let (took, balance, log) = end_by(libc::SIGTERM, agent);
                assert!(
                    took < Duration::from_millis(300) + GRACE,
                    "{endpoint}: {took:?}: {log}"
                );
                assert_eq!(
                    (balance.received, balance.delivered),
                    (100, 0),
                    "{endpoint}: {log}"
                );
                assert!(balance.by_reason["shutdown"] > 80, "{endpoint}: {log}");
            });
        }
    });
    // At most one attempt per 100 ms, in case one event is to blame.
    let most = 2 + began.elapsed().as_millis() / 100;
    let count = busy.request_count();
    assert!((1..=most).contains(&(count as u128)), "{count}");
}

/// Waits for the sign that the webhook does to this agent what it does.
type Sign<'a> = Box<dyn Fn(&Agent) + Send + 'a>;

#[test]
fn a_body_that_nobody_reads_does_not_delay_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/", silent.local_addr().unwrap());
    let limits = ["--max-event-bytes=64MiB", "--shutdown-timeout=300ms"];
    let mut agent = start(&endpoint, &limits);
    feed(
        &mut agent,
        &[format!(r#"{{"long":"{}"}}"#, "x".repeat(20 << 20))],
    );
    let (_connection, _) = silent.accept().unwrap();
    let (took, balance, log) = end_by(libc::SIGTERM, agent);
    assert!(took < Duration::from_millis(300) + GRACE, "{took:?}: {log}");
    assert_eq!(balance.by_reason["shutdown"], 1, "{log}");
}

#[test]
fn a_name_server_that_is_silent_does_not_delay_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let resolv_conf = dir.path().join("resolv.conf");
    let Ok(name_server) = UdpSocket::bind("127.77.255.53:53") else {
        eprintln!("skipped: needs port 53");
        return;
    };
    name_server
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let silence = "nameserver 127.77.255.53\noptions timeout:30\n";
    fs::write(&resolv_conf, silence).unwrap();
    let endpoint = "http://webhook.test/";
    let patient = ["--connect-timeout=1h"];
    let Some(mut agent) = start_seeing(&resolv_conf, "/etc/resolv.conf", endpoint, &patient) else {
        return;
    };
    writeln!(agent.stdin(), "{{}}").unwrap();
    name_server.recv(&mut [0; 512]).expect("the agent asks");
    let (took, balance, log) = end_by(libc::SIGTERM, agent);
    assert!(took < Duration::from_millis(300) + GRACE, "{took:?}: {log}");
    assert_eq!(balance.by_reason["shutdown"], 1, "{log}");
}
