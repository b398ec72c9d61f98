//! One of three endpoints is killed and comes back every few seconds, at 5,000 events a second through `http:`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::delivery::start;
use crate::source_http::free_address;
use crate::support::{Answer, Client, Webhook, Wire, WireFault, eventually, own_loopback};

use super::dice::Dice;

const CLIENTS: usize = 4;
/// How many events a client's request has, and the time between two requests of a client: 5,000 events a second.
const EACH: usize = 20;
const INTERVAL: Duration = Duration::from_millis(16);
const CALM: Duration = Duration::from_secs(20);
/// A minute of faults, after some time without.
const CHAOS: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How much longer than the connect timeout the longest pause may be.
const SLACK: Duration = Duration::from_secs(1);

/// What has arrived at any of the endpoints.
#[derive(Default)]
struct Arrived {
    numbers: HashSet<u64>,
    events: usize,
    last: Option<Instant>,
    /// The longest time without a delivery.
    pause: Duration,
}

impl Arrived {
    fn enter(&mut self, body: &[u8]) {
        let now = Instant::now();
        let pause = self.last.replace(now).map(|last| now - last);
        self.pause = self.pause.max(pause.unwrap_or_default());
        for line in body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let digits = line.iter().filter(|byte| byte.is_ascii_digit());
            let number = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
            self.numbers.insert(number);
            self.events += 1;
        }
    }
}

/// How a client fared: the numbers that were taken, how long each answer took, and when it was due.
#[derive(Default)]
struct Posted {
    taken: Vec<Range<u64>>,
    waits: Vec<(Duration, Duration)>,
}

/// Posts until the end, at fixed times whatever the answers.
fn post(address: SocketAddr, place: usize, until: Duration) -> Posted {
    let (mut client, begin) = (Client::connect(address), Instant::now());
    let mut posted = Posted::default();
    for turn in 0.. {
        let due = INTERVAL * turn + INTERVAL * place as u32 / CLIENTS as u32;
        if due > until {
            break;
        }
        thread::sleep(due.saturating_sub(begin.elapsed()));
        let first = ((turn as usize * CLIENTS + place) * EACH) as u64;
        let numbers = first..first + EACH as u64;
        let body: String = numbers
            .clone()
            .map(|number| format!("{{\"n\":{number}}}\n"))
            .collect();
        let sent = Instant::now();
        let (status, text) = client.post(&body).unwrap();
        posted.waits.push((due, sent.elapsed()));
        assert_eq!(status, 200, "{text}");
        posted.taken.push(numbers);
    }
    posted
}

/// The time within which 99 of 100 answers came in this part of the run.
fn p99(posted: &[Posted], part: Range<Duration>) -> Duration {
    let waits = posted.iter().flat_map(|posted| &posted.waits);
    let mut waits: Vec<_> = waits
        .filter(|(due, _)| part.contains(due))
        .map(|(_, wait)| *wait)
        .collect();
    waits.sort();
    waits[waits.len() * 99 / 100]
}

fn endure(mode: &str, connections: usize) {
    let arrived = Arc::new(Mutex::new(Arrived::default()));
    let hooks: Vec<_> = (0..3)
        .map(|_| Webhook::builder().forgetful().start())
        .collect();
    for hook in &hooks {
        let arrived = Arc::clone(&arrived);
        hook.answer_by(move |request| {
            arrived.lock().unwrap().enter(&request.body);
            Answer::ok()
        });
    }
    let wires = hooks
        .iter()
        .map(|hook| Wire::to(hook.address(), own_loopback()));
    let mut wires: Vec<_> = wires.collect();
    let urls = wires
        .iter()
        .map(|wire| format!("http://{}/", wire.address()));
    let http = free_address();
    let agent = start(
        &urls.collect::<Vec<_>>().join(" "),
        &[
            &format!("--source=http:{http}"),
            &format!("--endpoint-mode={mode}"),
            &format!("--connections={connections}"),
            &format!("--connect-timeout={}s", CONNECT_TIMEOUT.as_secs()),
            "--batch-age=100ms",
            "--failback=2s",
            "--backoff-min=500ms",
            "--backoff-max=30s",
        ],
    );
    agent.wait_until_running();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|place| thread::spawn(move || post(http, place, CALM + CHAOS)))
        .collect();
    // Without faults first.
    thread::sleep(CALM);
    arrived.lock().unwrap().pause = Duration::ZERO;

    let (mut dice, begin, mut kills) = (Dice(16), Instant::now(), 0);
    while begin.elapsed() + Duration::from_secs(7) < CHAOS {
        let place = dice.below(3) as usize;
        // A process that was killed, or a host that is gone.
        wires[place].set(dice.one_of(&[WireFault::Refuse, WireFault::BlackHole]));
        thread::sleep(Duration::from_millis(1000 + dice.below(2000)));
        wires[place].set(WireFault::None);
        thread::sleep(Duration::from_millis(2000 + dice.below(2000)));
        kills += 1;
    }
    let posted: Vec<_> = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect();
    let taken: HashSet<u64> = posted
        .iter()
        .flat_map(|posted| posted.taken.iter().cloned())
        .flatten()
        .collect();
    eventually("all that was taken arrives", || {
        (taken.len() <= arrived.lock().unwrap().numbers.len()).then_some(())
    });
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let balance = ended.done();
    let arrived = arrived.lock().unwrap();
    let [before, meanwhile] =
        [Duration::ZERO..CALM, CALM..CALM + CHAOS].map(|part| p99(&posted, part));
    println!(
        "{mode}, {connections} connections: {} events, {kills} kills; longest pause {:?}; {} came twice; p99 of answers {before:?} before, {meanwhile:?} meanwhile",
        taken.len(),
        arrived.pause,
        arrived.events - arrived.numbers.len(),
    );
    assert!(arrived.numbers == taken, "{}", ended.log);
    assert_eq!(
        (balance.delivered, balance.dropped),
        (taken.len() as u64, 0),
        "{}",
        ended.log
    );
    assert!(
        arrived.pause <= CONNECT_TIMEOUT + SLACK,
        "{:?}\n{}",
        arrived.pause,
        ended.log
    );
    assert!(
        meanwhile <= before * 2 + Duration::from_millis(20),
        "{meanwhile:?} after {before:?}"
    );
}

#[test]
#[ignore = "takes minutes: make chaos"]
fn one_of_three_is_killed_and_comes_back_every_few_seconds() {
    for (mode, connections) in [("failover", 1), ("spread", 4)] {
        endure(mode, connections);
    }
}
