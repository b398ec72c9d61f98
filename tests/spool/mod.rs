//! The spool: what was answered survives outages, restarts and kills; what is damaged is counted; the disk may fail.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::source_http::{free_address, lines};
use crate::support::control::Settings;
use crate::support::{
    Agent, AgentCommand, Answer, Client, Metrics, Mount, Webhook, arrived, event, eventually,
    within,
};

/// A state directory that outlives its agents, and what they are started with.
struct Host {
    dir: TempDir,
    hook: Webhook,
    address: SocketAddr,
    status: SocketAddr,
}

impl Host {
    fn new() -> Self {
        Host {
            dir: tempfile::tempdir().unwrap(),
            hook: Webhook::start(),
            address: free_address(),
            status: free_address(),
        }
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// Without a spool, and without a source.
    fn bare(&self) -> AgentCommand {
        Agent::command()
            .args(["run", "--auth-token=Splunk test", "--batch-age=5ms"])
            .args(["--backoff-min=10ms", "--backoff-max=50ms"])
            .arg("--state-dir")
            .arg(self.dir.path())
            .endpoint(&self.hook.url())
            .arg(format!("--status-listen={}", self.status))
    }

    fn command(&self) -> AgentCommand {
        self.bare().source(&format!("http:{}", self.address))
    }

    fn start(&self, options: &[&str]) -> Agent {
        start(self.command(), options)
    }

    fn client(&self) -> Client<TcpStream> {
        let client = Client::connect(self.address);
        client.stream.get_ref().set_nodelay(true).unwrap();
        client
    }

    #[track_caller]
    fn post(&self, body: &str) -> u16 {
        self.client().post(body).unwrap().0
    }

    fn metrics(&self) -> Metrics {
        let mut client = Client::connect(self.status);
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        client.send(request).unwrap();
        let page = client.read_to_end().unwrap();
        Metrics::parse(page.split_once("\r\n\r\n").unwrap().1)
    }

    /// Whether nothing waits to be delivered. At no moment is an event unaccounted for.
    fn is_idle(&self) -> bool {
        let metrics = self.metrics();
        metrics.hold();
        metrics.value("buffered_events") + metrics.value("spool_events") == 0
    }

    /// The spool's segments, the oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        files(&self.spool(), ".spool")
    }

    fn cli(&self, action: &str, more: &[&str]) -> (i32, String) {
        let ended = Agent::command()
            .args(["spool", action, "--state-dir"])
            .arg(self.dir.path())
            .args(more)
            .run();
        let text = String::from_utf8(ended.stdout).unwrap() + &ended.log;
        (ended.code.unwrap(), text)
    }
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(ending));
    files.sort();
    files
}

fn start(command: AgentCommand, options: &[&str]) -> Agent {
    let is_sized = options
        .iter()
        .any(|option| option.starts_with("--spool-bytes"));
    let size = (!is_sized).then_some("--spool-bytes=64MiB");
    let agent = command.args(options).args(size).spawn();
    agent.wait_for_log("started: ");
    agent
}

fn kill(agent: Agent) -> String {
    agent.signal(libc::SIGKILL);
    agent.wait().log
}

fn kill_and_serve(agent: Agent, hook: &Webhook) {
    kill(agent);
    hook.serve_what_comes();
}

/// What an agent that ends by itself, or is told to, says of its events.
#[track_caller]
fn stop(agent: Agent) -> (crate::support::Balance, String) {
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let balance = ended.balance();
    balance.holds();
    (balance, ended.log)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(event).collect()
}

/// What has arrived. After an outage a single event may come before those ahead of it, to find out whether it is to blame.
fn sorted(hook: &Webhook) -> Vec<String> {
    let mut events = arrived(hook);
    events.sort();
    events
}

#[test]
fn what_was_answered_outlasts_an_outage_and_a_kill() {
    let host = Host::new();
    host.hook.stop();
    let agent = host.start(&[]);
    assert!(
        agent.log().contains("; spool 64 MiB (0 events recovered);"),
        "{}",
        agent.log()
    );
    assert_eq!(host.post(&lines(0..500)), 200);
    assert_eq!(host.post(&lines(500..700)), 200);
    kill(agent);
    let agent = host.start(&[]);
    assert!(
        agent.log().contains("(700 events recovered)"),
        "{}",
        agent.log()
    );
    assert_eq!(host.post(&lines(700..800)), 200);
    host.hook.restart();
    host.hook.wait_for_events(800);
    assert_eq!(arrived(&host.hook), numbers(0..800), "in order");
    let (balance, _) = stop(agent);
    assert_eq!(
        (balance.received, balance.recovered, balance.left),
        (100, 700, 0)
    );
    let agent = host.start(&[]);
    assert!(
        agent.log().contains("(0 events recovered)"),
        "nothing comes twice"
    );
    let (balance, _) = stop(agent);
    assert_eq!((balance.delivered, balance.left), (0, 0));
}

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
fn a_spool_is_private_and_one_agents_own() {
    let host = Host::new();
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..3)), 200);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&host.spool()), 0o700);
    for entry in fs::read_dir(host.spool()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    let other = host
        .bare()
        .source(&format!("http:{}", free_address()))
        .arg("--spool-bytes=64MiB")
        .run();
    assert_eq!(other.code, Some(1), "{}", other.log);
    assert!(
        other.log.contains("another agent has it; fix:"),
        "{}",
        other.log
    );
    stop(agent);
}

#[test]
fn streams_go_through_the_spool_and_an_input_that_ends_is_delivered() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.bare().source("stdin").arg("--spool-bytes=8MiB");
    let agent = agent.input(lines(0..5000)).spawn();
    agent.wait_for_log("started: ");
    eventually("all is in the spool", || {
        (host.metrics().sum("events_received_total") == 5000).then_some(())
    });
    eventually("it is written", || {
        (host.cli("cat", &[]).1.lines().count() == 5000).then_some(())
    });
    kill_and_serve(agent, &host.hook);
    let agent = host.bare().source("stdin").arg("--spool-bytes=8MiB");
    let ended = agent.input(lines(5000..6000)).spawn().wait();
    let balance = ended.done();
    assert_eq!(
        (balance.received, balance.recovered, balance.delivered),
        (1000, 5000, 6000)
    );
    assert_eq!(arrived(&host.hook), numbers(0..6000));
}

#[test]
fn what_was_acknowledged_to_a_fluent_client_outlasts_a_kill() {
    for sync in ["never", "always"] {
        let host = Host::new();
        host.hook.stop();
        let source = format!("fluent:{}", host.address);
        let agent = start(
            host.bare().source(&source),
            &[&format!("--spool-sync={sync}")],
        );
        let mut client = host.client();
        let message = r#"["s3",[[1,{"n":0}],[2,{"n":1}]],{"chunk":"YQ=="}]"#;
        client.send(message.as_bytes()).unwrap();
        let mut ack = Vec::new();
        while !ack.ends_with(b"}") {
            let mut byte = [0];
            client.stream.read_exact(&mut byte).unwrap();
            ack.extend(byte);
        }
        assert!(String::from_utf8_lossy(&ack).contains("YQ=="));
        kill(agent);
        host.hook.restart();
        let agent = start(host.bare().source(&source), &[]);
        host.hook.wait_for_events(2);
        assert_eq!(arrived(&host.hook), numbers(0..2));
        stop(agent);
    }
}

#[test]
fn an_event_that_takes_a_body_alone_and_a_body_of_many_records_come_through() {
    let host = Host::new();
    let agent = host.start(&["--spool-bytes=16MiB", "--max-event-bytes=3MiB"]);
    let large = format!("{{\"n\":\"{}\"}}\n", "x".repeat(2 << 20));
    assert_eq!(host.post(&large), 200);
    assert_eq!(host.post(&lines(0..100_000)), 200);
    let found = host.hook.wait_for_events(100_001);
    assert_eq!(found[0].len() + 1, large.len());
    assert_eq!(arrived(&host.hook)[1..], numbers(0..100_000));
    let too_large = format!("{{\"n\":\"{}\"}}\n", "x".repeat(4 << 20));
    assert_eq!(host.post(&too_large), 413);
    stop(agent);
}

#[test]
fn a_full_spool_refuses_the_newest_and_says_so_and_says_when_there_is_room() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&["--spool-bytes=1MiB"]);
    let body = format!("{{\"pad\":\"{}\"}}\n", "x".repeat(20_000));
    let mut taken = 0;
    while host.post(&body) == 200 {
        taken += 1;
        assert!(taken < 100);
    }
    assert!(taken > 40, "{taken}");
    agent.wait_for_log("the spool is full (1 MiB)");
    let metrics = eventually("the metrics say so", || {
        let metrics = host.metrics();
        (metrics.value("spool_bytes") > 900 << 10).then_some(metrics)
    });
    assert_eq!(metrics.value("spool_limit_bytes"), 1 << 20);
    assert!(metrics.value("spool_bytes") <= 1 << 20);
    let on_disk: u64 = host
        .segments()
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(on_disk <= 1 << 20, "{on_disk}");
    host.hook.always(Answer::ok());
    host.hook.wait_for_events(taken);
    agent.wait_for_log("the spool takes events again after");
    assert_eq!(host.post(&body), 200);
    host.hook.wait_for_events(taken + 1);
    let (balance, _) = stop(agent);
    assert_eq!((balance.received as usize, balance.dropped), (taken + 1, 0));
}

#[test]
fn what_a_stream_can_not_put_into_a_full_spool_is_dropped_and_counted() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let pad = "x".repeat(1000);
    let input: String = (0..3000)
        .map(|n| format!("{{\"n\":{n},\"pad\":\"{pad}\"}}\n"))
        .collect();
    let agent = host
        .bare()
        .source("stdin")
        .args(["--spool-bytes=1MiB", "--shutdown-timeout=0s"]);
    let agent = agent.input(input).spawn();
    agent.wait_for_log("started: ");
    eventually("the rest is dropped", || {
        let metrics = host.metrics();
        let dropped = metrics.of("events_dropped_total", "reason", "spool_full");
        (metrics.sum("events_received_total") == 3000 && dropped > 1500).then_some(())
    });
    let (balance, log) = stop(agent);
    assert_eq!(
        balance.by_reason.keys().collect::<Vec<_>>(),
        ["spool full"],
        "{log}"
    );
    host.hook.serve_what_comes();
    let ended = host
        .bare()
        .source("stdin")
        .arg("--spool-bytes=1MiB")
        .input("")
        .spawn()
        .wait();
    let next = ended.done();
    assert_eq!(
        (next.recovered, next.delivered),
        (balance.left, balance.left)
    );
}

#[test]
fn a_webhook_that_is_disabled_and_enabled_again_gets_all() {
    let host = Host::new();
    let control = Settings::new();
    let url = host.hook.url();
    let enable = [
        "enable",
        "--no-test",
        "--endpoint",
        &url,
        "--auth-token=Splunk test",
    ];
    control.must(&enable);
    let agent = Agent::command()
        .args(["run", "--batch-age=5ms", "--spool-bytes=8MiB", "--config"])
        .arg(control.path())
        .arg("--state-dir")
        .arg(host.dir.path())
        .source(&format!("http:{}", host.address))
        .spawn();
    agent.wait_for_log("started: ");
    assert_eq!(host.post(&lines(0..10)), 200);
    host.hook.wait_for_events(10);
    // Some are in flight when it is disabled, and some in memory.
    host.hook.hold();
    assert_eq!(host.post(&lines(10..20)), 200);
    host.hook.wait_for_requests(2);
    assert_eq!(host.post(&lines(20..200)), 200);
    control.must(&["disable"]);
    agent.wait_for_log("files and the spool wait");
    host.hook.release();
    assert_eq!(host.post(&lines(200..400)), 200);
    control.must(&enable);
    host.hook.wait_for_events(400);
    assert_eq!(arrived(&host.hook), numbers(0..400));
    let (balance, _) = stop(agent);
    assert_eq!((balance.received, balance.dropped), (400, 0));
}

/// Clients that post one event at a time over their own connections until they are told to stop, and remember which were
/// answered 200.
fn load(
    host: &Arc<Host>,
    clients: u64,
    next: &Arc<AtomicU64>,
) -> (Arc<AtomicBool>, Vec<thread::JoinHandle<Vec<u64>>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let threads = (0..clients).map(|_| {
        let (host, next, stop) = (Arc::clone(host), Arc::clone(next), Arc::clone(&stop));
        thread::spawn(move || {
            let (mut taken, mut client) = (Vec::new(), None);
            while !stop.load(SeqCst) {
                if client.is_none() {
                    client = TcpStream::connect(host.address).ok().map(|socket| {
                        socket.set_nodelay(true).unwrap();
                        socket
                            .set_read_timeout(Some(Duration::from_secs(60)))
                            .unwrap();
                        Client::over(socket)
                    });
                }
                let Some(open) = &mut client else {
                    // The agent does not run; nothing tells when it does.
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                let number = next.fetch_add(1, SeqCst);
                match open.post(&(event(number) + "\n")) {
                    Ok((200, _)) => taken.push(number),
                    Ok(_) => {}
                    Err(_) => client = None,
                }
            }
            taken
        })
    });
    let threads = threads.collect();
    (stop, threads)
}

/// Kills the agent at random moments under load; all that was answered with 200 arrives at least once, and what arrives twice
/// was under way.
fn survive_kills(kills: u64, options: &[&str]) {
    let host = Arc::new(Host::new());
    let next = Arc::new(AtomicU64::new(0));
    let seed = std::env::var("CHAOS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let mut random: u64 = seed.unwrap_or(0x9e37_79b9_7f4a_7c15);
    let mut dice = |sides: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % sides
    };
    let (stop_load, clients) = load(&host, 16, &next);
    for round in 0..kills {
        host.hook.always(if dice(3) == 0 {
            Answer::status(503)
        } else {
            Answer::ok()
        });
        let agent = host.start(options);
        // What is waited for is a moment that nobody chose, not a condition.
        thread::sleep(Duration::from_millis(5 + dice(60)));
        let log = kill(agent);
        for wrong in ["panicked", " damaged", "can't be used", "lost"] {
            assert!(!log.contains(wrong), "after {round} kills:\n{log}");
        }
    }
    host.hook.serve_what_comes();
    let agent = host.start(options);
    stop_load.store(true, SeqCst);
    let taken: Vec<u64> = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap())
        .collect();
    assert!(taken.len() as u64 > kills, "{} answered", taken.len());
    // After a thousand kills that is more than a moment's work.
    let limit = Duration::from_secs(120);
    within(limit, "the spool is empty", || host.is_idle());
    let (balance, log) = stop(agent);
    assert_eq!((balance.left, balance.dropped), (0, 0), "{log}");
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    for event in arrived(&host.hook) {
        *times.entry(event).or_default() += 1;
    }
    let lost = taken
        .iter()
        .filter(|number| !times.contains_key(&event(**number)));
    let lost: Vec<_> = lost.collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost: {lost:?}",
        lost.len(),
        taken.len()
    );
    let again: u64 = times.values().map(|times| times - 1).sum();
    eprintln!(
        "{kills} kills: {} answered, {again} came twice",
        taken.len()
    );
}

#[test]
fn sixteen_clients_and_ten_kills_cost_no_event_that_was_answered() {
    survive_kills(10, &[]);
}

#[test]
fn neither_does_syncing_for_each_answer() {
    survive_kills(3, &["--spool-sync=always"]);
}

#[test]
#[ignore = "takes minutes: make chaos"]
fn chaos_kills_cost_no_event_that_was_answered() {
    let kills = std::env::var("SPOOL_KILLS").map_or(1000, |kills| kills.parse().unwrap());
    survive_kills(kills, &[]);
}

/// The agent with calls that fail as a file says.
struct Faulty {
    host: Host,
    faults: PathBuf,
    library: PathBuf,
}

impl Faulty {
    /// None, and the reason is printed, without a C compiler or in a static program.
    fn new() -> Option<Self> {
        let host = Host::new();
        let library = host.dir.path().join("faults.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/faults.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .status();
        if !compiled.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no C compiler");
            return None;
        }
        let faults = host.dir.path().join("faults");
        fs::write(&faults, "").unwrap();
        Some(Faulty {
            host,
            faults,
            library,
        })
    }

    fn start(&self, options: &[&str]) -> Agent {
        let command = self.host.command();
        let command = command.env("LD_PRELOAD", &self.library);
        start(command.env("FAULTS", &self.faults), options)
    }

    fn fail(&self, calls: &str) {
        // As a whole, for the agent reads it at any time.
        let new = self.faults.with_extension("new");
        fs::write(&new, calls).unwrap();
        fs::rename(new, &self.faults).unwrap();
    }
}

#[test]
fn a_disk_that_fails_refuses_clients_until_it_works_again() {
    for errno in [libc::EIO, libc::EROFS, libc::ENOSPC, libc::EDQUOT] {
        let Some(faulty) = Faulty::new() else { return };
        let host = &faulty.host;
        host.hook.always(Answer::status(503));
        let agent = faulty.start(&[]);
        assert_eq!(host.post(&lines(0..5)), 200);
        faulty.fail(&format!("writev {errno}"));
        assert_eq!(host.post(&lines(5..7)), 503);
        agent.wait_for_log("the spool can't be used: ");
        let is_full = [libc::ENOSPC, libc::EDQUOT].contains(&errno);
        agent.wait_for_log(match is_full {
            true => "events of other sources dropped",
            false => "events of other sources kept in memory",
        });
        assert_eq!(host.post(&lines(7..9)), 503);
        faulty.fail("");
        agent.wait_for_log("the spool takes events again");
        assert_eq!(host.post(&lines(9..12)), 200);
        host.hook.always(Answer::ok());
        host.hook.wait_for_events(8);
        let (balance, log) = stop(agent);
        let mut expected = [numbers(0..5), numbers(9..12)].concat();
        expected.sort();
        assert_eq!(sorted(&host.hook), expected, "{log}");
        assert_eq!(
            (balance.received, balance.delivered, balance.dropped),
            (8, 8, 0)
        );
    }
}

#[test]
fn a_stream_goes_through_memory_while_the_disk_fails() {
    let Some(faulty) = Faulty::new() else { return };
    let host = &faulty.host;
    faulty.fail(&format!("writev {}", libc::EIO));
    let mut agent = host
        .bare()
        .source("stdin")
        .arg("--spool-bytes=8MiB")
        .env("LD_PRELOAD", &faulty.library)
        .env("FAULTS", &faulty.faults)
        .spawn();
    agent.wait_for_log("started: ");
    let mut feed = |numbers: std::ops::Range<usize>| {
        use std::io::Write as _;
        agent.stdin().write_all(lines(numbers).as_bytes()).unwrap();
    };
    feed(0..3);
    let log = || fs::read_dir(host.spool()).unwrap().count();
    eventually("the failure is noticed", || (log() > 0).then_some(()));
    // These find the spool in trouble, and go through memory at once.
    eventually("events arrive", || {
        feed(3..4);
        arrived(&host.hook).contains(&event(3)).then_some(())
    });
    faulty.fail("");
    host.hook.wait_for_events(4);
    eventually("what was kept arrives", || {
        arrived(&host.hook).contains(&event(0)).then_some(())
    });
    agent.close_stdin();
    let balance = agent.wait().done();
    assert_eq!((balance.dropped, balance.left), (0, 0));
}

#[test]
fn a_sync_that_fails_is_final_for_its_segment_and_costs_nothing() {
    for mode in ["always", "second"] {
        let Some(faulty) = Faulty::new() else { return };
        let host = &faulty.host;
        host.hook.always(Answer::status(503));
        let agent = faulty.start(&[&format!("--spool-sync={mode}")]);
        assert_eq!(host.post(&lines(0..5)), 200);
        faulty.fail(&format!("fdatasync {}", libc::EIO));
        let answer = host.post(&lines(5..10));
        agent.wait_for_log("can't have it on disk: ");
        // Not even the other file can be had on disk.
        assert_eq!(answer, if mode == "always" { 503 } else { 200 });
        agent.wait_for_log("the spool can't be used: ");
        faulty.fail("");
        eventually("it works again", || {
            (host.post(&lines(10..11)) == 200).then_some(())
        });
        assert_eq!(host.post(&lines(11..12)), 200);
        assert!(host.segments().len() >= 2, "{:?}", host.segments());
        kill_and_serve(agent, &host.hook);
        let agent = faulty.start(&[]);
        host.hook.wait_for_events(12);
        let (balance, log) = stop(agent);
        let mut expected = numbers(0..12);
        expected.sort();
        assert_eq!(sorted(&host.hook), expected, "{log}");
        assert_eq!(balance.dropped, 0, "{log}");
    }
}

#[test]
fn a_disk_that_is_full_before_the_limit_refuses_and_recovers() {
    let host = Host::new();
    fs::create_dir(host.spool()).unwrap();
    let spool = host.spool();
    let Some(_mount) = Mount::new("tmpfs", Path::new("none"), &spool, "size=1m", 0) else {
        return;
    };
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    let body = format!("{{\"pad\":\"{}\"}}\n", "x".repeat(20_000));
    let mut taken = 0;
    while host.post(&body) == 200 {
        taken += 1;
        assert!(taken < 100);
    }
    agent.wait_for_log("No space left on device");
    host.hook.always(Answer::ok());
    host.hook.wait_for_events(taken);
    // Its position could be written, and so room is made.
    agent.wait_for_log("the spool takes events again");
    eventually("clients are taken", || {
        (host.post(&body) == 200).then_some(())
    });
    let (balance, log) = stop(agent);
    assert_eq!((balance.dropped, balance.left), (0, 0), "{log}");
}

#[test]
fn a_spool_that_can_not_be_opened_stops_no_start_and_is_opened_later() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..3)), 200);
    kill_and_serve(agent, &host.hook);
    let away = host.dir.path().join("away");
    fs::rename(host.spool(), &away).unwrap();
    fs::write(host.spool(), "in the way").unwrap();
    let agent = host.start(&[]);
    agent.wait_for_log("the spool can't be used: ");
    assert_eq!(host.post(&lines(3..4)), 503);
    fs::remove_file(host.spool()).unwrap();
    fs::rename(away, host.spool()).unwrap();
    agent.wait_for_log("spool: 3 events recovered");
    agent.wait_for_log("the spool takes events again");
    assert_eq!(host.post(&lines(4..6)), 200);
    host.hook.wait_for_events(5);
    let (balance, _) = stop(agent);
    assert_eq!((balance.received, balance.delivered), (2, 5));
}

#[test]
fn a_directory_of_others_is_not_made_a_spool_and_keeps_its_permissions() {
    let host = Host::new();
    let dir = tempfile::tempdir().unwrap();
    let set_mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode));
    let mode = || fs::metadata(dir.path()).unwrap().permissions().mode() & 0o7777;
    let option = format!("--spool-dir={}", dir.path().display());
    set_mode(0o1777).unwrap();
    fs::write(dir.path().join("others"), "").unwrap();
    let ended = host.command().args(["--spool-bytes=1MiB", &option]).run();
    let reason = "there are files of others; fix: use a directory of its own";
    assert!(
        ended.log.contains("--spool-dir") && ended.log.contains(reason),
        "{}",
        ended.log
    );
    assert_eq!((ended.code, mode()), (Some(1), 0o1777));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    // An empty one may be meant for it, with permissions that its agent needs, and is known then.
    fs::rename(dir.path().join("others"), dir.path().join("lost+found")).unwrap();
    set_mode(0o2775).unwrap();
    for start in 0..2 {
        let agent = host.start(&[&option]);
        assert_eq!(host.post(&lines(start..start + 1)), 200);
        stop(agent);
        assert_eq!(mode(), 0o2775);
        fs::write(dir.path().join("others"), "").unwrap();
    }
}

/// Of each segment, also of the newest, by agent and command.
#[test]
fn a_page_that_can_not_be_read_costs_its_events_and_is_logged_once() {
    let Some(faulty) = Faulty::new() else { return };
    let host = &faulty.host;
    host.hook.always(Answer::status(503));
    let agent = faulty.start(&["--spool-bytes=1MiB"]);
    let mut count = 0;
    while host.segments().len() < 2 {
        assert_eq!(host.post(&lines(count..count + 1000)), 200);
        count += 1000;
    }
    assert_eq!(host.post(&lines(count..count + 1000)), 200);
    count += 1000;
    wait_until_noted(host, count);
    kill(agent);
    faulty.fail("pread-page 5");
    let segments = host.segments();
    for action in ["cat", "list", "verify"] {
        let ended = Agent::command()
            .args(["spool", action, "--state-dir"])
            .arg(host.dir.path())
            .env("LD_PRELOAD", &faulty.library)
            .env("FAULTS", &faulty.faults)
            .run();
        assert_eq!(ended.code, Some(1), "{action}");
        for segment in &segments {
            let name = segment.file_name().unwrap().to_str().unwrap();
            assert!(
                ended.log.contains(&format!("{name}: ")),
                "{action}: {}",
                ended.log
            );
        }
        let printed = String::from_utf8(ended.stdout).unwrap().lines().count();
        assert!(
            action != "cat" || (1..count).contains(&printed),
            "{printed}"
        );
    }
    host.hook.always(Answer::ok());
    let agent = faulty.start(&[]);
    eventually("all is sent", || host.is_idle().then_some(()));
    let (balance, log) = stop(agent);
    assert!(balance.dropped > 0 && balance.delivered > 0, "{log}");
    assert_eq!(balance.delivered + balance.dropped, count as u64, "{log}");
    for segment in &segments {
        let what = format!("{} can't be read: ", segment.display());
        assert_eq!(log.matches(&what).count(), 1, "{log}");
    }
    assert_eq!(files(&host.spool(), ".bad").len(), segments.len(), "{log}");
}

/// As somebody who is short of disk space might do.
#[test]
fn what_is_answered_after_the_spools_files_were_removed_outlasts_a_kill() {
    for is_whole in [false, true] {
        let host = Host::new();
        let agent = host.start(&[]);
        assert_eq!(host.post(&lines(0..1)), 200);
        host.hook.wait_for_events(1);
        host.hook.always(Answer::status(503));
        match is_whole {
            true => fs::remove_dir_all(host.spool()).unwrap(),
            false => (host.segments().iter()).for_each(|path| fs::remove_file(path).unwrap()),
        }
        for number in 1..100 {
            assert_eq!(host.post(&lines(number..number + 1)), 200);
        }
        agent.wait_for_log("00.spool was removed; ");
        eventually("it takes events", || {
            (host.post(&lines(100..101)) == 200).then_some(())
        });
        let second = host
            .bare()
            .source(&format!("http:{}", free_address()))
            .arg("--spool-bytes=1MiB")
            .run();
        let refusal = "another agent has it";
        assert!(second.log.contains(refusal), "{}", second.log);
        kill_and_serve(agent, &host.hook);
        let agent = host.start(&[]);
        // The first may come again: that it was delivered may not have been noted.
        eventually("all arrive", || {
            let arrived = arrived(&host.hook);
            (0..101).all(|n| arrived.contains(&event(n))).then_some(())
        });
        let (balance, log) = stop(agent);
        assert_eq!(balance.dropped, 0, "{log}");
    }
}

/// As when a filesystem is mounted over it after the start.
#[test]
fn what_is_in_a_directory_that_is_not_in_its_place_is_delivered_or_counted_as_dropped() {
    let host = Host::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let displace = |name: &str| {
        fs::rename(host.spool(), elsewhere.path().join(name)).unwrap();
        fs::create_dir(host.spool()).unwrap();
    };
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..10)), 200);
    displace("first");
    agent.wait_for_log("10 events in it are delivered first");
    assert_eq!(host.post(&lines(10..11)), 503);
    assert!(host.segments().is_empty());
    host.hook.always(Answer::ok());
    host.hook.wait_for_events(10);
    agent.wait_for_log("the spool takes events again");
    assert_eq!(host.post(&lines(10..20)), 200);
    host.hook.wait_for_events(20);
    host.hook.always(Answer::status(503));
    assert_eq!(host.post(&lines(20..23)), 200);
    displace("second");
    agent.wait_for_log("3 events in it are delivered first");
    let (balance, log) = stop(agent);
    assert!(
        log.contains("3 events are in the directory that was there before"),
        "{log}"
    );
    let end = (balance.delivered, balance.dropped, balance.left);
    assert_eq!(end, (20, 3, 0), "{log}");
    // Nothing is left in the first one, and all is in the second.
    host.hook.always(Answer::ok());
    for (name, count) in [("first", 0), ("second", 3)] {
        let dir = elsewhere.path().join(name);
        let agent = host.start(&[&format!("--spool-dir={}", dir.display())]);
        eventually("all is sent", || host.is_idle().then_some(()));
        let (balance, log) = stop(agent);
        assert_eq!(
            (balance.recovered, balance.delivered),
            (count, count),
            "{log}"
        );
    }
}

#[test]
fn what_is_gone_is_missed_even_if_only_the_start_after_a_kill_knew_of_it() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..5)), 200);
    kill(agent);
    let agent = host.start(&[]);
    wait_until_noted(&host, 5);
    kill(agent);
    (host.segments().iter()).for_each(|path| fs::remove_file(path).unwrap());
    let agent = host.start(&[]);
    agent.wait_for_log("dropped 5 events (corrupt)");
    let (balance, _) = stop(agent);
    assert_eq!((balance.recovered, balance.dropped), (5, 5));
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

/// A spool with a few segments of a few hundred numbered events, whose agent was killed. Gives how many.
fn filled(host: &Host) -> usize {
    host.hook.always(Answer::status(503));
    let agent = host.start(&["--spool-bytes=1MiB"]);
    let mut count = 0;
    while host.segments().len() < 4 {
        assert_eq!(host.post(&lines(count..count + 3000)), 200);
        count += 3000;
    }
    wait_until_noted(host, count);
    kill_and_serve(agent, &host.hook);
    count
}

/// Once a second it is noted how much was written, so that what is gone from the end is missed.
fn wait_until_noted(host: &Host, count: usize) {
    within(Duration::from_secs(60), "that is noted", || {
        let position = fs::read(host.spool().join("position")).unwrap();
        let mut slots = position.chunks(512);
        slots.any(|slot| slot[24..32] == (count as u64).to_le_bytes())
    });
}

/// What happens to the segments of a spool.
type Damage = fn(&[PathBuf]);

#[test]
fn damage_costs_what_it_touches_and_is_counted_logged_and_set_aside() {
    let zero_a_page: Damage = |segments| {
        let mut bytes = fs::read(&segments[1]).unwrap();
        bytes[8192..12_288].fill(0);
        fs::write(&segments[1], bytes).unwrap();
    };
    let flip: Damage = |segments| {
        let mut bytes = fs::read(&segments[0]).unwrap();
        bytes[70_000] ^= 0x40;
        fs::write(&segments[0], bytes).unwrap();
    };
    let flip_a_head: Damage = |segments| {
        let mut bytes = fs::read(&segments[2]).unwrap();
        bytes[9] ^= 1;
        fs::write(&segments[2], bytes).unwrap();
    };
    let remove: Damage = |segments| fs::remove_file(&segments[1]).unwrap();
    let remove_the_newest: Damage = |segments| fs::remove_file(segments.last().unwrap()).unwrap();
    let empty: Damage = |segments| fs::write(&segments[1], "").unwrap();
    let no_room_for_the_newest: Damage = |segments| {
        let newest = segments.last().unwrap();
        fs::write(newest, vec![0; 9000]).unwrap();
        fs::create_dir(newest.with_extension("spool.bad")).unwrap();
    };
    let tear: Damage = |segments| {
        let last = segments.last().unwrap();
        let bytes = fs::read(last).unwrap();
        fs::write(last, &bytes[..bytes.len() - 10]).unwrap();
    };
    let foreign: Damage = |segments| {
        let dir = segments[0].parent().unwrap();
        fs::write(dir.join("README"), "hello").unwrap();
        fs::write(dir.join("1.spool"), "hello").unwrap();
        fs::create_dir(dir.join("00000000000000000001.spool")).unwrap();
    };
    let add_zeros: Damage = |segments| {
        let last = segments.last().unwrap();
        let mut bytes = fs::read(last).unwrap();
        bytes.extend([0; 5000]);
        fs::write(last, bytes).unwrap();
    };
    let position: Damage = |segments| {
        fs::write(segments[0].parent().unwrap().join("position"), "nonsense").unwrap();
    };
    let no_position: Damage = |segments| {
        fs::remove_file(segments[0].parent().unwrap().join("position")).unwrap();
    };
    let cases = [
        ("a zeroed page", zero_a_page, true, true),
        ("a flipped bit", flip, true, true),
        (
            "a flipped bit in a segment's head",
            flip_a_head,
            false,
            true,
        ),
        ("a missing segment", remove, true, false),
        ("no newest segment", remove_the_newest, true, false),
        ("an emptied segment", empty, true, true),
        (
            "a newest segment that can't be set aside",
            no_room_for_the_newest,
            true,
            true,
        ),
        ("a torn end", tear, true, true),
        ("zeros at the end", add_zeros, false, true),
        ("foreign files", foreign, false, false),
        ("a bad position", position, false, false),
        ("no position", no_position, false, false),
    ];
    // Each waits for what is noted once a second.
    thread::scope(|scope| {
        for (name, damage, is_counted, sets_aside) in cases {
            scope.spawn(move || assert_costs(name, damage, is_counted, sets_aside));
        }
    });
}

/// What this damage costs: events, or a segment that is set aside.
fn assert_costs(name: &str, damage: Damage, is_counted: bool, sets_aside: bool) {
    let host = Host::new();
    let count = filled(&host);
    damage(&host.segments());
    let agent = host.start(&[]);
    eventually(name, || host.is_idle().then_some(()));
    let corrupt = host
        .metrics()
        .of("events_dropped_total", "reason", "corrupt") as usize;
    let came = arrived(&host.hook);
    let mut numbers: Vec<usize> = came
        .iter()
        .map(|event| event[5..event.len() - 1].parse().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{name}: in order");
    numbers.dedup();
    // The killed agent may just have posted the first one.
    assert!(came.len() <= numbers.len() + 1, "{name}: once");
    assert_eq!(numbers.len() + corrupt, count, "{name}: {corrupt} corrupt");
    assert_eq!(corrupt > 0, is_counted, "{name}: {corrupt}");
    assert!(corrupt <= 6000 * 3, "{name}: {corrupt}");
    let (balance, log) = stop(agent);
    assert_eq!(
        balance.recovered,
        balance.delivered + corrupt as u64,
        "{name}: {log}"
    );
    let told = log.matches(" is damaged: ").count();
    assert_eq!(told, usize::from(is_counted || sets_aside), "{name}: {log}");
    assert_eq!(
        files(&host.spool(), ".bad").len(),
        usize::from(sets_aside),
        "{name}: {log}"
    );
    assert_eq!(
        log.contains("position is damaged or missing"),
        name.ends_with(" position"),
        "{log}"
    );
}

#[test]
fn the_command_shows_prints_and_checks_a_spool_beside_its_agent() {
    let host = Host::new();
    assert_eq!(host.cli("list", &[]).0, 1, "there is none");
    for others in [host.dir.path(), Path::new("/etc")] {
        let option = format!("--spool-dir={}", others.display());
        let (code, text) = host.cli("verify", &[&option]);
        assert!(
            code == 1 && text.contains("there is no spool; fix: "),
            "{text}"
        );
    }
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..250)), 200);
    let (code, text) = host.cli("list", &[]);
    assert!(
        code == 0 && text.contains("250 events not delivered"),
        "{text}"
    );
    let (code, text) = host.cli("cat", &[]);
    assert_eq!((code, text), (0, lines(0..250)));
    let (code, text) = host.cli("verify", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &json["events"], &json["damaged_bytes"]),
        (0, &250.into(), &0.into()),
        "{text}"
    );
    wait_until_noted(&host, 250);
    kill(agent);
    let segment = host.segments().pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (code, text) = host.cli("verify", &[]);
    assert!(code == 1 && text.contains("DAMAGED"), "{text}");
    let (code, _) = host.cli("list", &[]);
    assert_eq!(code, 0);
    let position = host.spool().join("position");
    let whole = fs::read(&position).unwrap();
    for (is_there, what) in [(true, "half of it is damaged"), (false, "missing")] {
        let mut half = whole.clone();
        half[0] ^= 1;
        match is_there {
            true => fs::write(&position, half).unwrap(),
            false => fs::remove_file(&position).unwrap(),
        }
        let (code, text) = host.cli("list", &[]);
        assert!(
            code == 1 && text.contains(&format!("position: {what}; so ")),
            "{text}"
        );
    }
    fs::write(&position, whole).unwrap();
    fs::remove_file(segment).unwrap();
    let (code, text) = host.cli("verify", &[]);
    assert!(
        code == 1 && text.contains("DAMAGED: 0 bytes, 250 events missing"),
        "{text}"
    );
}

#[test]
fn a_start_reads_no_more_of_a_large_backlog_than_of_a_small_one() {
    let host = Host::new();
    let count = filled(&host);
    let segments = host.segments();
    let (first, last) = (&segments[0], segments.last().unwrap());
    // Ten GiB between both, which nobody has to read before the first event is delivered.
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
    let _ = (first, last);
    let agent = host.start(&["--spool-bytes=20GiB"]);
    assert!(
        agent.log().contains(&format!("({count} events recovered)")),
        "{}",
        agent.log()
    );
    let request = host.hook.wait_for_requests(1).remove(0);
    assert!(request.contains(&event(0)));
    assert!(host.metrics().value("spool_bytes") > 10 << 30);
    assert!(agent.peak_kib() < 64 << 10, "{} KiB", agent.peak_kib());
    kill(agent);
}

#[test]
fn no_more_is_sent_a_second_than_max_rate() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    let pad = "x".repeat(1000);
    let body: String = (0..100)
        .map(|n| format!("{{\"n\":{n},\"pad\":\"{pad}\"}}\n"))
        .collect();
    assert_eq!(host.post(&body), 200);
    kill_and_serve(agent, &host.hook);
    let began = Instant::now();
    let agent = host.start(&["--max-rate=50KiB"]);
    host.hook.wait_for_events(100);
    // 100 KB: the first body at once, the last after more than a second.
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    // The first agent had no limit.
    let requests = host.hook.requests();
    let of_second = requests.iter().filter(|request| request.delivered());
    let largest = of_second.map(|request| request.text().len()).max();
    assert!(largest.unwrap() <= 50 << 10);
    stop(agent);
}
