//! Faults at the webhook and on the way there, one by one: none costs an event, and no event is delivered twice.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::delivery::{self, feed, finish, numbered, start_seeing, taken};
use crate::support::{
    Agent, Answer, Authority, Webhook, Wire, WireFault, eventually, own_loopback,
};

use super::books::Meaning;
use super::fault::meaning_of;

/// An agent that reports every outage.
fn start(endpoint: &str, more: &[&str]) -> Agent {
    let options = [&["--report-interval=1ms"], more].concat();
    delivery::start(endpoint, &options)
}

#[test]
fn each_status_that_there_is_has_one_meaning() {
    let hook = Webhook::start();
    // Fails by event, not in turns: an event that met a failure at each of its turns would be taken for their cause.
    let answered = Mutex::new(HashSet::new());
    hook.answer_by(move |request| {
        let status = number_of(&request.body);
        match answered.lock().unwrap().insert(status) {
            true => Answer::status(status).body(""),
            false => Answer::ok(),
        }
    });
    // One request after the other.
    let options = ["--batch-events=1", "--backoff-min=1ms", "--backoff-max=1ms"];
    let mut agent = start(&hook.url(), &options);
    let statuses: Vec<u16> = (200..600).collect();
    feed(&mut agent, &numbered(200..600));
    let is_rejected = |status: &&u16| meaning_of(**status) == Meaning::Refused;
    let rejected = statuses.iter().filter(is_rejected).count();
    hook.wait_for_events(statuses.len() - rejected);

    agent.close_stdin();
    let ended = agent.wait();
    let balance = ended.done();
    let log = &ended.log;
    assert_eq!(
        (balance.rejected, balance.dropped),
        (rejected as u64, 0),
        "{log}"
    );
    assert_eq!(
        balance.delivered,
        (statuses.len() - rejected) as u64,
        "{log}"
    );
    // Others overtake an event that failed, so the order differs; each comes as often as it must.
    let mut posts = BTreeMap::<u16, Vec<u16>>::new();
    for request in hook.requests() {
        let answers = posts.entry(number_of(&request.body)).or_default();
        answers.extend(request.answered);
    }
    for status in statuses {
        let expected = match meaning_of(status) {
            Meaning::Again | Meaning::Unclear => vec![status, 200],
            Meaning::Taken | Meaning::Refused => vec![status],
        };
        assert_eq!(posts[&status], expected, "{log}");
    }
}

/// The number of the only event of a body.
fn number_of(body: &[u8]) -> u16 {
    let number = body.strip_prefix(br#"{"number":"#).unwrap();
    let number = number.strip_suffix(b"}\n").unwrap();
    str::from_utf8(number).unwrap().parse().unwrap()
}

#[test]
fn a_handshake_that_breaks_anywhere_is_tried_again() {
    let ip = own_loopback();
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let server = authority.server(&[&ip.to_string()]);
    let hook = Webhook::builder().tls(server.server_config()).start();
    let mut wire = Wire::to(hook.address(), ip);
    let ca = authority.write_pem(dir.path(), "ca");
    let mut agent = start(
        &format!("https://{}/", wire.address()),
        &["--ca-file", ca.to_str().unwrap()],
    );
    // A hello has 250 bytes or more, and what the server says to a client that it recognises is not much shorter.
    let cut = |bytes| [WireFault::CutToWebhook(bytes), WireFault::CutToAgent(bytes)];
    let faults = [0, 1, 5, 40, 90, 130, 170, 200].map(cut);
    let events = numbered(0..faults.len() * 2);
    for (number, fault) in faults.into_iter().flatten().enumerate() {
        wire.set(fault);
        feed(&mut agent, &events[number..=number]);
        agent.wait_for_nth_log(number + 1, "delivery failed");
        assert_eq!(hook.request_count(), number, "{fault:?}");
        wire.set(WireFault::None);
        hook.wait_for_events(number + 1);
        agent.wait_for_nth_log(number + 1, "delivery restored");
    }
    finish(agent, &hook, &events);
}

#[test]
fn a_connection_that_breaks_anywhere_in_a_request_or_its_answer_costs_no_event() {
    let hook = Webhook::start();
    let mut wire = Wire::to(hook.address(), own_loopback());
    let mut agent = start(&format!("http://{}/", wire.address()), &[]);
    let mut events = Vec::new();
    let faults = [1, 20, 100, 150, 200, 250, 300].map(WireFault::CutToWebhook);
    let mute = [1, 12, 40, 80].map(WireFault::CutToAgent);
    let mut repeated = 0;
    for fault in faults.into_iter().chain(mute) {
        let before = hook.request_count();
        wire.set(fault);
        let event = format!(
            r#"{{"number":{},"pad":"{}"}}"#,
            events.len(),
            "x".repeat(200)
        );
        feed(&mut agent, std::slice::from_ref(&event));
        events.push(event);
        agent.wait_for_nth_log(events.len(), "delivery failed");
        wire.set(WireFault::None);
        agent.wait_for_nth_log(events.len(), "delivery restored");
        // All that came whole were answered, and all of these answers except the last were lost.
        let came = &hook.requests()[before..];
        let whole = came.iter().filter(|request| request.answered.is_some());
        let lost = whole.count() - 1;
        assert!(
            lost > 0 || matches!(fault, WireFault::CutToWebhook(_)),
            "{fault:?}"
        );
        assert!(
            lost == 0 || matches!(fault, WireFault::CutToAgent(_)),
            "{fault:?}"
        );
        repeated += lost;
    }
    agent.close_stdin();
    let balance = agent.wait().balance();
    balance.holds();
    assert_eq!(balance.delivered, events.len() as u64);
    let mut taken = taken(&hook);
    assert_eq!(taken.len(), events.len() + repeated);
    taken.dedup();
    assert_eq!(taken, events);
}

#[test]
fn what_leads_nowhere_and_then_to_the_webhook_is_delivered() {
    let hook = Webhook::start();
    let mut wire = Wire::to(hook.address(), own_loopback());
    let options = ["--connect-timeout=100ms", "--request-timeout=300ms"];
    let mut agent = start(&format!("http://{}/", wire.address()), &options);
    let events = numbered(0..4);
    let faults = [
        (WireFault::Refuse, "connection refused"),
        (WireFault::BlackHole, "not connected within 100ms"),
        (WireFault::Stall, "no answer within 300ms"),
        (
            WireFault::Drip(Duration::from_secs(1)),
            "no answer within 300ms",
        ),
    ];
    for (number, (fault, why)) in faults.into_iter().enumerate() {
        wire.set(fault);
        feed(&mut agent, &events[number..=number]);
        let line = agent.wait_for_nth_log(number + 1, "delivery failed");
        assert!(line.contains(why), "{fault:?}: {line}");
        wire.set(WireFault::None);
        agent.wait_for_nth_log(number + 1, "delivery restored");
    }
    agent.close_stdin();
    let balance = agent.wait().balance();
    balance.holds();
    assert_eq!(balance.delivered, 4);
    let mut taken = taken(&hook);
    // Events came twice while the answers only dripped.
    taken.dedup();
    assert_eq!(taken, events);
}

#[test]
fn a_certificate_that_has_expired_is_told_until_another_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    let here = &["127.0.0.1"];
    let old = Webhook::builder()
        .tls(authority.expired_server(here).server_config())
        .start();
    let mut agent = start(&old.url(), &["--ca-file", ca.to_str().unwrap()]);
    feed(&mut agent, &numbered(0..5));
    let line = agent.wait_for_log("delivery failed");
    assert!(line.contains("ERROR") && line.contains("expired"), "{line}");
    let address = old.address();
    assert_eq!(old.request_count(), 0);
    drop(old);
    let new = Webhook::builder()
        .address(address)
        .tls(authority.server(here).server_config())
        .start();
    new.wait_for_events(5);
    finish(agent, &new, &numbered(0..5));
}

#[test]
fn a_name_that_is_not_found_for_a_while_is_found_again() {
    let Some(names) = NameServer::start() else {
        eprintln!("skipped: needs port 53");
        return;
    };
    let hook = Webhook::start();
    // A kept connection needs no name lookup.
    hook.always(Answer::ok().close());
    let dir = tempfile::tempdir().unwrap();
    let resolv_conf = dir.path().join("resolv.conf");
    fs::write(
        &resolv_conf,
        format!("nameserver {}\noptions timeout:1 attempts:1\n", names.ip),
    )
    .unwrap();
    let endpoint = format!("http://webhook.test:{}/", hook.address().port());
    let Some(mut agent) = start_seeing(&resolv_conf, "/etc/resolv.conf", &endpoint, &[]) else {
        return;
    };
    let mut input = agent.take_stdin();
    let events = numbered(0..3);
    for (count, (event, failure)) in
        (1..).zip(
            events
                .iter()
                .zip([Reply::ServerFailure, Reply::NoSuchName, Reply::Silence]),
        )
    {
        names.reply(failure);
        let before = names.asked();
        writeln!(input, "{event}").unwrap();
        eventually("it is asked twice for the address", || {
            (names.asked() >= before + 3).then_some(())
        });
        assert_eq!(hook.request_count(), count - 1, "{failure:?}");
        names.reply(Reply::Address(
            hook.address().ip().to_string().parse().unwrap(),
        ));
        hook.wait_for_events(count);
    }
    drop(input);
    assert_eq!(agent.wait().code, Some(0));
    assert_eq!(taken(&hook), events);
}

/// What a name server answers.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Silence,
    ServerFailure,
    NoSuchName,
    Address(std::net::Ipv4Addr),
}

/// A name server on its own loopback address that answers each question in the same way.
struct NameServer {
    ip: std::net::Ipv4Addr,
    shared: Arc<Mutex<(Reply, usize)>>,
}

impl NameServer {
    fn start() -> Option<Self> {
        let ip = own_loopback();
        let socket = UdpSocket::bind((ip, 53)).ok()?;
        let shared = Arc::new(Mutex::new((Reply::Silence, 0)));
        let told = Arc::clone(&shared);
        // It ends with the process.
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query) {
                let reply = {
                    let mut told = told.lock().unwrap();
                    told.1 += 1;
                    told.0
                };
                if let Some(answer) = answer(&query[..length], reply) {
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Some(Self { ip, shared })
    }

    fn reply(&self, reply: Reply) {
        self.shared.lock().unwrap().0 = reply;
    }

    /// How many questions it got.
    fn asked(&self) -> usize {
        self.shared.lock().unwrap().1
    }
}

/// The answer to a query (RFC 1035, section 4), if there should be one.
fn answer(query: &[u8], reply: Reply) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let name = query[HEADER..].iter().position(|byte| *byte == 0)?;
    let question = &query[HEADER..HEADER + name + 5];
    let is_for_ipv4 = question[name + 1..name + 3] == [0, 1];
    let (code, address) = match reply {
        Reply::Silence => return None,
        Reply::ServerFailure => (2, None),
        Reply::NoSuchName => (3, None),
        Reply::Address(ip) => (0, is_for_ipv4.then_some(ip)),
    };
    let mut answer = query[..2].to_vec();
    answer.extend([
        0x81,
        0x80 | code,
        0,
        1,
        0,
        address.is_some().into(),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(question);
    if let Some(ip) = address {
        // A pointer to the question's name; A, IN; a TTL of 0; four bytes.
        answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(ip.octets());
    }
    Some(answer)
}
