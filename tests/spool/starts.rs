//! What a start makes of the spool that an earlier one left, whatever has changed since.

use std::fs;
use std::path::Path;

use crate::source_http::lines;
use crate::support::{Agent, Answer, Webhook, event, eventually};

use super::{Host, filled, kill, kill_and_serve, stop};

#[test]
fn a_stop_leaves_what_was_not_delivered_to_the_next_start_whatever_has_changed() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&["--shutdown-timeout=200ms", "--spool-sync=always"]);
    assert_eq!(host.post(&lines(0..300)), 200);
    let (balance, log) = stop(agent);
    assert_eq!((balance.left, balance.dropped), (300, 0), "{log}");
    // Another webhook, format, source and size; an event that would be too large; no sync.
    let other = Webhook::start();
    let mut agent = Agent::command()
        .args([
            "run",
            "--auth-token=Splunk test",
            "--format=array",
            "--source=stdin",
        ])
        .args([
            "--spool-bytes=1MiB",
            "--spool-sync=never",
            "--buffer-bytes=5",
        ])
        .arg("--state-dir")
        .arg(host.dir.path())
        .endpoint(&other.url())
        .spawn();
    eventually("all of it arrives", || {
        let bodies = other.requests();
        let events = bodies.iter().filter(|request| request.delivered());
        let events: usize = events
            .map(|request| request.text().matches("\"n\"").count())
            .sum();
        (events == 300).then_some(())
    });
    agent.close_stdin();
    let balance = agent.wait().done();
    assert_eq!((balance.recovered, balance.delivered), (300, 300));
}

#[test]
fn an_agent_without_a_spool_says_that_there_is_one() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..10)), 200);
    kill(agent);
    let source = format!("http:{}", host.address);
    let agent = host.bare().source(&source).spawn();
    let line = agent.wait_for_log("is there and not used");
    assert!(
        line.contains(host.spool().to_str().unwrap()) && line.contains("--spool-bytes"),
        "{line}"
    );
    kill(agent);
    // Another directory doesn't have them either.
    let other = tempfile::tempdir().unwrap();
    let agent = host.start(&[&format!("--spool-dir={}", other.path().display())]);
    let line = agent.wait_for_log("is there and not used");
    assert!(
        line.contains(&format!("{}: ", host.spool().display())),
        "{line}"
    );
    kill_and_serve(agent, &host.hook);
    let agent = host.start(&[]);
    host.hook.wait_for_events(10);
    eventually("that is noted", || {
        let (_, text) = host.cli("list", &[]);
        text.contains(" 0 events not delivered").then_some(())
    });
    kill(agent);
    // Of what was delivered, a kill may leave files.
    assert!(!host.segments().is_empty());
    let agent = host.bare().source(&source).spawn();
    agent.wait_for_log("started: ");
    let (_, log) = stop(agent);
    assert!(!log.contains("not used"), "{log}");
}

#[test]
fn a_newer_versions_spool_is_not_touched() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..3)), 200);
    kill(agent);
    let segment = host.segments().pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[8] = 2;
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.sum().to_le_bytes());
    fs::write(&segment, &bytes).unwrap();
    let agent = host.start(&[]);
    agent.wait_for_log("a newer version of this program has written to it");
    assert_eq!(host.post(&lines(3..4)), 503);
    kill(agent);
    assert_eq!(fs::read(&segment).unwrap(), bytes);
    // The others are printed.
    fs::copy(&segment, host.spool().join(format!("{:020}.spool", 9))).unwrap();
    bytes[8] = 1;
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.sum().to_le_bytes());
    fs::write(&segment, &bytes).unwrap();
    let (code, text) = host.cli("cat", &[]);
    assert!(code == 1 && text.starts_with(&lines(0..3)), "{text}");
    assert!(
        text.contains(&format!("{:020}.spool: a newer version", 9)),
        "{text}"
    );
}

#[test]
fn a_start_reads_no_more_of_a_large_backlog_than_of_a_small_one() {
    let host = Host::new();
    let count = filled(&host);
    let segments = host.segments();
    // What a start reads up to its first request. The buffer has room for no more than that one.
    let read = |request: usize| {
        let agent = host.start(&["--spool-bytes=20GiB", "--buffer-events=100"]);
        let recovered = format!("({count} events recovered)");
        assert!(agent.log().contains(&recovered), "{}", agent.log());
        let requests = host.hook.wait_for_requests(request);
        assert!(requests[request - 1].contains(&event(0)));
        let io = fs::read_to_string(format!("/proc/{}/io", agent.id())).unwrap();
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        (agent, read.unwrap().parse::<u64>().unwrap())
    };
    host.hook.hold();
    let (agent, of_few) = read(1);
    kill(agent);
    // Ten GiB between the first and the last, which nobody has to read before the first event is delivered.
    let name = |path: &Path| {
        path.file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let from = name(&segments[1]);
    for place in 0..640 {
        let path = host.spool().join(format!("{:020}.spool", from + place));
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.set_len(16 << 20).unwrap();
    }
    let (agent, of_many) = read(2);
    assert!(of_many < of_few + (1 << 20), "{of_many} bytes, {of_few}");
    assert!(host.metrics().value("spool_bytes") > 10 << 30);
    assert!(agent.peak_kib() < 64 << 10, "{} KiB", agent.peak_kib());
    kill(agent);
}
