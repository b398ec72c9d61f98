//! Kills, one after an outage and many under load: whatever was answered arrives.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Duration;

use crate::source_http::lines;
use crate::support::{Answer, Client, arrived, event, within};

use super::{Host, kill, numbers, start, stop};

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
