//! `--hec-ack`: events count as delivered when Splunk has indexed them. What is done about lost acknowledgements is tested
//! beside the state machine; here, that requests, figures and commands are wired to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::delivery::{TOKEN, feed, numbered, start};
use super::source_http::free_address;
use super::status::get;
use super::support::{Agent, Answer, Metrics, Request, STATE_DIR, Webhook, end_input, eventually};

/// An indexer behind a balancer, which indexes nothing before it is told to.
struct Splunk {
    hook: Webhook,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The next id of each channel.
    next: BTreeMap<String, u64>,
    /// By channel and id, with the time of arrival.
    bodies: BTreeMap<(String, u64), (Vec<String>, Instant)>,
    /// How long a body waits to be indexed; none for ever.
    delay: Option<Duration>,
    indexed: Vec<String>,
    /// Answers queries instead.
    ack: Option<Answer>,
    /// What the balancer calls it.
    cookie: u32,
    /// Each answer has another cookie.
    renews: bool,
}

impl Splunk {
    fn start(delay: Option<Duration>) -> Self {
        let hook = Webhook::start();
        let state = Arc::new(Mutex::new(State {
            delay,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        hook.answer_by(move |request| shared.lock().unwrap().answer(request));
        Splunk { hook, state }
    }

    fn url(&self) -> String {
        format!("http://{}/services/collector/raw", self.hook.address())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn index_from_now_on(&self) {
        self.change(|state| state.delay = Some(Duration::ZERO));
    }

    fn indexed(&self) -> BTreeSet<String> {
        self.state.lock().unwrap().indexed.iter().cloned().collect()
    }

    /// Requests to this path.
    fn requests(&self, path: &str) -> Vec<Request> {
        let mut requests = self.hook.requests();
        requests.retain(|request| request.path.contains(path));
        requests
    }

    fn start_agent(&self, more: &[&str]) -> Agent {
        start(
            &self.url(),
            &[&["--hec-ack", "--batch-events=10"], more].concat(),
        )
    }

    /// Starts an agent with a status page and feeds it events, all of which are posted and none is indexed. Gives its
    /// figures by name, too.
    fn posted(&self, more: &[&str], events: usize) -> (Agent, impl Fn(&str) -> u64 + use<>) {
        let status = free_address();
        let page = format!("--status-listen={status}");
        let mut agent = self.start_agent(&[&[&*page], more].concat());
        agent.wait_for_log("started");
        feed(&mut agent, &numbered(0..events));
        wait_until_posted(status, events);
        (agent, move |name| Metrics::at(status).value(name))
    }

    /// Waits until this many bodies were posted.
    #[track_caller]
    fn wait_for_posts(&self, count: usize) {
        eventually("they are posted", || {
            (self.requests("/raw").len() >= count).then_some(())
        });
    }

    /// Ends the agent's input; then all is indexed, and nothing else delivered.
    #[track_caller]
    fn finish(&self, mut agent: Agent, events: usize) -> (u64, String) {
        agent.close_stdin();
        let ended = agent.wait();
        let balance = ended.balance();
        assert_eq!(
            (ended.code, balance.delivered),
            (Some(0), events as u64),
            "{}",
            ended.log
        );
        assert_eq!(self.indexed(), numbered(0..events).into_iter().collect());
        (ended.redelivered(), ended.log)
    }
}

/// Waits until the agent knows that so many events were posted, and none is indexed.
#[track_caller]
fn wait_until_posted(status: SocketAddr, events: usize) {
    eventually("all are posted", || {
        let posted = Metrics::at(status).value("unacknowledged_events");
        (posted == events as u64).then_some(())
    });
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let Some(channel) = request.header("X-Splunk-Request-Channel") else {
            return Answer::hec(400, "Data channel is missing", 10);
        };
        assert_eq!(channel.len(), 36, "{channel}");
        let channel = channel.to_owned();
        let answer = match request.path.ends_with("/ack") {
            true => self.acknowledge(request, &channel),
            false => {
                let next = self.next.entry(channel.clone()).or_default();
                let id = *next;
                *next += 1;
                let events = request.text().lines().map(str::to_owned).collect();
                self.bodies.insert((channel, id), (events, Instant::now()));
                Answer::ok().body(json!({"text": "Success", "code": 0, "ackId": id}).to_string())
            }
        };
        self.cookie += u32::from(self.renews);
        answer.header("Set-Cookie", &format!("SERVERID=s{}; path=/", self.cookie))
    }

    fn acknowledge(&mut self, request: &Request, channel: &str) -> Answer {
        if let Some(answer) = &self.ack {
            return answer.clone();
        }
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let mut acks = serde_json::Map::new();
        for id in asked["acks"].as_array().unwrap() {
            let key = (channel.to_owned(), id.as_u64().unwrap());
            let is_due = self
                .bodies
                .get(&key)
                .is_some_and(|(_, at)| self.delay.is_some_and(|delay| at.elapsed() >= delay));
            if is_due {
                self.indexed.extend(self.bodies.remove(&key).unwrap().0);
            }
            acks.insert(id.to_string(), is_due.into());
        }
        Answer::ok().body(json!({ "acks": acks }).to_string())
    }
}

#[test]
fn events_are_delivered_when_they_are_indexed() {
    let splunk = Splunk::start(None);
    let state = tempfile::tempdir().unwrap();
    let state_dir = format!("--state-dir={}", state.path().display());
    let (agent, figure) = splunk.posted(&["--compress=gzip", &state_dir], 100);
    assert_eq!(
        (figure("events_delivered_total"), figure("buffered_events")),
        (0, 100)
    );
    let shown = eventually("show has it", || {
        let shown = Agent::command().args(["show", "--config=/dev/null"]);
        let shown = shown.env(STATE_DIR, state.path()).run();
        let shown = String::from_utf8(shown.stdout).unwrap();
        shown.contains("not yet indexed").then_some(shown)
    });
    assert!(
        shown.contains("delivered 0") && shown.contains("buffered 100 (100 posted, "),
        "{shown}"
    );
    splunk.index_from_now_on();
    let (redelivered, log) = splunk.finish(agent, 100);
    assert_eq!(redelivered, 0, "{log}");
    let (posts, queries) = (splunk.requests("/raw"), splunk.requests("/ack"));
    assert!(posts.len() >= 10 && !queries.is_empty());
    let channel = posts[0].header("X-Splunk-Request-Channel").unwrap();
    for request in posts.iter().chain(&queries) {
        assert_eq!(request.header("X-Splunk-Request-Channel"), Some(channel));
        assert_eq!(
            (request.connection, request.header("Authorization")),
            (1, Some(TOKEN))
        );
        let is_query = request.path == "/services/collector/ack";
        assert_eq!(request.header("Content-Encoding").is_none(), is_query);
    }
    assert_eq!(posts[0].header("Cookie"), None);
    assert!(
        posts[1..]
            .iter()
            .chain(&queries)
            .all(|it| it.header("Cookie") == Some("SERVERID=s0"))
    );
}

/// With room for 20 events in memory, 200 are posted before the first is indexed. What was lost is read again.
#[test]
fn with_a_spool_what_is_not_indexed_takes_no_memory_and_is_read_again() {
    let splunk = Splunk::start(None);
    let (agent, figure) = splunk.posted(&["--spool-bytes=1MiB", "--buffer-events=20"], 200);
    let figures = ["spool_events", "buffered_events", "buffered_bytes"];
    eventually("they are in the spool alone", || {
        (figures.map(&figure) == [200, 0, 0]).then_some(())
    });
    let before = splunk.requests("/raw").len();
    splunk.change(|state| state.cookie = 1);
    agent.wait_for_log("the balancer's cookie changed");
    splunk.index_from_now_on();
    let (redelivered, log) = splunk.finish(agent, 200);
    assert_eq!(redelivered, 200, "{log}");
    let again: String = splunk.requests("/raw")[before..]
        .iter()
        .map(|request| String::from_utf8(request.body.clone()).unwrap())
        .collect();
    let expected: String = numbered(0..200)
        .iter()
        .map(|event| format!("{event}\n"))
        .collect();
    assert_eq!(again, expected);
}

#[test]
fn with_a_spool_an_agent_that_was_killed_sends_again_what_was_not_indexed() {
    let splunk = Splunk::start(None);
    let state = tempfile::tempdir().unwrap();
    let state = format!("--state-dir={}", state.path().display());
    let options = ["--spool-bytes=1MiB", "--buffer-events=20", &state];
    let mut agent = splunk.start_agent(&options);
    feed(&mut agent, &numbered(0..100));
    splunk.wait_for_posts(10);
    agent.signal(libc::SIGKILL);
    agent.wait();
    splunk.change(|state| state.bodies.clear());
    let before = splunk.requests("/raw").len();
    let agent = splunk.start_agent(&[&options[..], &["--shutdown-timeout=100ms"]].concat());
    splunk.wait_for_posts(before + 10);
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    assert_eq!((ended.balance().delivered, ended.balance().dropped), (0, 0));
    splunk.change(|state| {
        state.bodies.clear();
        state.delay = Some(Duration::ZERO);
    });
    let (_, log) = splunk.finish(splunk.start_agent(&options), 100);
    assert_eq!(splunk.indexed().len(), 100, "{log}");
}

#[test]
fn what_is_not_indexed_in_time_is_sent_again() {
    let splunk = Splunk::start(None);
    let mut agent = splunk.start_agent(&["--hec-ack-timeout=2s", "--connections=2"]);
    feed(&mut agent, &numbered(0..20));
    agent.wait_for_log("that may have arrived already (not indexed within 2s)");
    splunk.index_from_now_on();
    let (redelivered, log) = splunk.finish(agent, 20);
    // The other connection's body may be asked about once more before its time is over, and be indexed by then.
    assert!(redelivered >= 10, "{log}");
}

#[test]
fn another_cookie_or_count_has_what_was_posted_sent_again() {
    for (change, why) in [
        (
            (|state| state.cookie = 1) as fn(&mut State),
            "the balancer's cookie changed",
        ),
        (
            |state| {
                state.next.clear();
                state.bodies.clear();
            },
            "the indexer counts anew",
        ),
    ] {
        let splunk = Splunk::start(None);
        let mut agent = splunk.start_agent(&[]);
        feed(&mut agent, &numbered(0..20));
        splunk.wait_for_posts(2);
        splunk.change(change);
        feed(&mut agent, &numbered(20..30));
        agent.wait_for_log(why);
        splunk.index_from_now_on();
        let (redelivered, log) = splunk.finish(agent, 30);
        assert!(redelivered >= 20, "{log}");
    }
}

#[test]
fn a_cookie_that_each_answer_renews_is_no_other_indexer() {
    let splunk = Splunk::start(Some(Duration::ZERO));
    splunk.change(|state| state.renews = true);
    let mut agent = splunk.start_agent(&[]);
    feed(&mut agent, &numbered(0..50));
    let (redelivered, log) = splunk.finish(agent, 50);
    let posts = splunk.requests("/raw").len();
    assert!(redelivered <= 20 && posts < 12, "{posts}: {log}");
}

/// A request may have only one line of cookies, of which some balancers read only the first.
#[test]
fn a_cookie_of_ones_own_is_sent_beside_the_balancers() {
    let splunk = Splunk::start(Some(Duration::ZERO));
    let mut agent = splunk.start_agent(&["--header=Cookie: SERVERID=mine"]);
    feed(&mut agent, &numbered(0..20));
    splunk.finish(agent, 20);
    let mut expected = "SERVERID=mine";
    for request in splunk.hook.requests() {
        let is_cookie = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("cookie");
        let cookies: Vec<_> = request.headers.iter().filter(is_cookie).collect();
        assert!(
            cookies.len() == 1 && cookies[0].1 == expected,
            "{cookies:?}"
        );
        expected = "SERVERID=mine; SERVERID=s0";
    }
}

/// After a doubt only one body may wait at the first endpoint, which indexes nothing.
#[test]
fn an_endpoint_that_indexes_nothing_does_not_hold_up_another() {
    let (deaf, other) = (Splunk::start(None), Splunk::start(Some(Duration::ZERO)));
    let urls = format!("{} {}", deaf.url(), other.url());
    let mut agent = start(&urls, &["--hec-ack", "--batch-events=10"]);
    feed(&mut agent, &numbered(0..10));
    deaf.wait_for_posts(1);
    deaf.change(|state| state.cookie = 1);
    deaf.wait_for_posts(2);
    feed(&mut agent, &numbered(10..50));
    eventually("the other one has the rest", || {
        (other.indexed().len() == 40).then_some(())
    });
    deaf.index_from_now_on();
    agent.close_stdin();
    let ended = agent.wait();
    assert_eq!(ended.balance().delivered, 50, "{}", ended.log);
}

/// It takes what it is sent; only its queries are refused.
#[test]
fn an_endpoint_that_refuses_queries_does_not_hold_up_another() {
    let (first, other) = (Splunk::start(None), Splunk::start(Some(Duration::ZERO)));
    first.change(|state| state.ack = Some(Answer::status(404)));
    let urls = format!("{} {}", first.url(), other.url());
    let mut agent = start(&urls, &["--hec-ack", "--batch-events=10"]);
    feed(&mut agent, &numbered(0..50));
    let log = agent.wait_for_log("the other endpoints are used until it works again");
    let name = first.hook.address().to_string();
    assert!(log.contains(&name) && log.contains("HTTP 404"), "{log}");
    agent.close_stdin();
    let ended = agent.wait();
    assert_eq!(ended.balance().delivered, 50, "{}", ended.log);
    assert!(!ended.log.contains("delivery failed"), "{}", ended.log);
    assert_eq!(other.indexed(), numbered(0..50).into_iter().collect());
}

#[test]
fn queries_that_fail_are_made_again_and_those_that_are_refused_need_a_fix() {
    let splunk = Splunk::start(Some(Duration::ZERO));
    splunk.change(|state| state.ack = Some(Answer::status(503)));
    let mut agent = splunk.start_agent(&["--report-interval=1ms"]);
    feed(&mut agent, &numbered(0..20));
    let log = agent.wait_for_log("can't ask which events are indexed: HTTP 503");
    assert!(!log.contains("delivery failed"), "{log}");
    splunk.change(|state| state.ack = Some(Answer::hec(400, "ACK is disabled", 14)));
    let log = agent.wait_for_log("events are buffered; fix: turn indexer acknowledgement on");
    assert!(log.contains("HTTP 400 ACK is disabled"), "{log}");
    splunk.change(|state| state.ack = None);
    let (redelivered, log) = splunk.finish(agent, 20);
    assert!(
        redelivered >= 20 && log.contains("says again which events are indexed"),
        "{log}"
    );
}

#[test]
fn as_long_as_queries_fail_the_agent_is_not_healthy_and_says_so_again_and_again() {
    let splunk = Splunk::start(Some(Duration::ZERO));
    splunk.change(|state| state.ack = Some(Answer::status(503)));
    let status = free_address();
    let page = format!("--status-listen={status}");
    let options = [&*page, "--unhealthy-after=100ms", "--report-interval=1s"];
    let mut agent = splunk.start_agent(&options);
    feed(&mut agent, &numbered(0..20));
    agent.wait_for_log("can't ask which events are indexed: HTTP 503");
    agent.wait_for_log("can't ask which events are indexed for ");
    let health = eventually("it is not healthy", || {
        let (code, text) = get(status, "/healthz");
        (code == 503).then_some(text)
    });
    assert!(
        health.contains(": can't ask which events are indexed: HTTP 503"),
        "{health}"
    );
    assert_eq!(Metrics::at(status).value("webhook_up"), 0);
    splunk.change(|state| state.ack = None);
    eventually("it is healthy", || {
        (get(status, "/healthz").0 == 200).then_some(())
    });
    splunk.finish(agent, 20);
}

#[test]
fn a_token_with_other_settings_is_said_so() {
    let splunk = Splunk::start(Some(Duration::ZERO));
    let mut agent = start(&splunk.url(), &[]);
    feed(&mut agent, &numbered(0..1));
    let log = agent.wait_for_log("delivery failed");
    let fix = "HTTP 400 Data channel is missing; events are buffered; fix: turn indexer acknowledgement off for this token, or give --hec-ack";
    assert!(log.contains(fix), "{log}");

    let hook = Webhook::start();
    let url = format!("http://{}/services/collector/raw", hook.address());
    let mut agent = start(&url, &["--hec-ack"]);
    feed(&mut agent, &numbered(0..1));
    let log = agent.wait_for_log("delivery failed");
    assert!(
        log.contains("HTTP 200 without an ackId; events are buffered; fix: turn"),
        "{log}"
    );

    let refused = Agent::command()
        .args([
            "run",
            "--hec-ack",
            "--auth-token=x",
            "--endpoint=http://127.0.0.1:9/",
        ])
        .run();
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.log.contains("--hec-ack: is for Splunk's"),
        "{}",
        refused.log
    );
    let refused = Agent::command()
        .args(["check", "--config=/dev/null", "--auth-token=x", "--hec-ack"])
        .args(["--header", "X-Splunk-Request-Channel: mine"])
        .endpoint("http://127.0.0.1:9/services/collector/raw")
        .run();
    assert_eq!(refused.code, Some(2), "{}", refused.log);
    assert!(
        refused.log.contains("is what --hec-ack sets"),
        "{}",
        refused.log
    );
}

#[test]
fn test_asks_too() {
    let splunk = Splunk::start(Some(Duration::ZERO));
    let test = || {
        let test = Agent::command().args(["test", "--config=/dev/null", "--auth-token=x"]);
        let ended = test.arg("--hec-ack").endpoint(&splunk.url()).run();
        (
            ended.code,
            String::from_utf8(ended.stdout).unwrap(),
            ended.log,
        )
    };
    let (code, said, _) = test();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("event 0 is indexed") && said.contains("delivered"),
        "{said}"
    );
    splunk.change(|state| state.ack = Some(Answer::status(404)));
    let (code, said, log) = test();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        log.contains("HTTP 404") && log.contains("/services/collector/ack"),
        "{log}"
    );
}

#[test]
fn what_is_not_acknowledged_at_the_end_is_said_so_and_read_again_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events");
    let lines: String = numbered(0..20)
        .iter()
        .map(|event| format!("{event}\n"))
        .collect();
    fs::write(&file, lines).unwrap();
    let splunk = Splunk::start(None);
    let (source, state) = (
        format!("--source=file:{}", file.display()),
        format!("--state-dir={}", dir.path().display()),
    );
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let status = free_address();
        let page = format!("--status-listen={status}");
        let agent = splunk.start_agent(&[&source, &state, "--shutdown-timeout=100ms", &page]);
        agent.wait_for_log("started");
        wait_until_posted(status, 20);
        agent.signal(signal);
        let ended = agent.wait();
        if signal == libc::SIGTERM {
            assert_eq!((ended.balance().delivered, ended.balance().dropped), (0, 0));
            let said = "20 events posted but not acknowledged as indexed when the agent ended";
            assert!(ended.log.contains(said), "{}", ended.log);
        }
    }
    splunk.index_from_now_on();
    let agent = splunk.start_agent(&[&source, &state]);
    eventually("all are indexed", || {
        (splunk.indexed().len() == 20).then_some(())
    });
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait().balance().delivered, 20);
}

/// After a query that was so slow, none is made for seconds.
#[test]
fn a_stop_asks_at_once() {
    let splunk = Splunk::start(None);
    let slow = Answer::status(503).after(Duration::from_millis(1100));
    splunk.change(|state| state.ack = Some(slow));
    let (agent, _) = splunk.posted(&[], 20);
    agent.wait_for_log("can't ask which events are indexed");
    splunk.change(|state| state.ack = None);
    splunk.index_from_now_on();
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let balance = ended.balance();
    assert_eq!(
        (balance.delivered, balance.dropped),
        (20, 0),
        "{}",
        ended.log
    );
}

/// They are dropped, and nobody will know whether they arrived.
#[test]
fn what_is_not_acknowledged_when_forwarding_is_disabled_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("webhook.env");
    let enable = |value: &str| {
        let line = format!("S3_AUDIT_WEBHOOK_ENABLED={value}\n");
        fs::write(&file, line).unwrap();
    };
    enable("true");
    let splunk = Splunk::start(None);
    let (agent, _) = splunk.posted(&["--config", file.to_str().unwrap()], 20);
    enable("false");
    agent.wait_for_log(
        "20 events posted but not acknowledged as indexed when forwarding was disabled",
    );
    let (balance, log) = end_input(agent);
    assert_eq!(balance.by_reason["disabled"], 20, "{log}");
    assert_eq!(log.matches("not acknowledged").count(), 1, "{log}");
}
