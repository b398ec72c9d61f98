//! The settings file of a running agent: what changes in it is in force with the next request, without a restart, and
//! nothing is lost or sent twice by that; what is wrong in it changes nothing and is said.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::delivery::{feed, finish, lines_of, numbered, taken};
use super::source_http::{ask, free_address, request, success};
use super::support::{
    Agent, AgentCommand, Answer, Authority, BlackHole, Client, Request, Webhook, end_input,
    eventually, unchanged_for,
};

const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
const OTHER: &str = "Splunk 00000000-1111-2222-3333-444444444444";

/// A settings file, and a state directory that is not the host's.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("webhook.env")
    }

    /// Replaces the file as a careful editor does.
    fn write(&self, text: &str) {
        let new = self.0.path().join("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// An agent that has no setting of the webhook but those of the file.
    fn command(&self, more: &[&str]) -> AgentCommand {
        let mut command = Agent::command();
        for (name, value) in [
            ("BATCH_AGE", "0"),
            ("BACKOFF_MIN", "5ms"),
            ("BACKOFF_MAX", "20ms"),
            ("REPORT_INTERVAL", "1h"),
        ] {
            command = command.env(&format!("S3_AUDIT_WEBHOOK_{name}"), value);
        }
        command
            .args(["run", "--config"])
            .arg(self.file())
            .args(more)
    }

    fn start(&self, more: &[&str]) -> Agent {
        let agent = self.command(more).spawn();
        agent.wait_for_log("started:");
        agent
    }
}

/// The lines that set this webhook.
fn webhook(url: &str, token: &str) -> String {
    format!("S3_AUDIT_WEBHOOK_ENDPOINT={url}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN=\"{token}\"\n")
}

fn disabled(webhook: &str) -> String {
    format!("{webhook}S3_AUDIT_WEBHOOK_ENABLED=false\n")
}

/// A file would keep its events and a socket's writer may be ready for their loss, but a pipe's would be lost for nothing.
#[test]
fn standard_input_without_a_webhook_is_an_error() {
    let place = Place::new();
    let mut agent = place.command(&[]).spawn();
    agent.close_stdin();
    let ended = agent.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(
        ended
            .log
            .contains("stdin: its events would be lost: webhook not enabled yet in"),
        "{}",
        ended.log
    );
}

#[test]
fn an_agent_that_starts_before_anyone_enabled_it_drops_a_sockets_events_until_someone_does() {
    for begins_with in [None, Some("# to be enabled later\n")] {
        let hook = Webhook::start();
        let place = Place::new();
        if let Some(text) = begins_with {
            place.write(text);
        }
        let socket = place.0.path().join("audit.sock");
        let source = format!("unix-listen:{}", socket.display());
        let agent = place.start(&["--source", &source]);
        agent.wait_for_log("webhook not enabled yet");
        let events = numbered(0..20);
        let write = |events: &[String]| {
            let mut writer = UnixStream::connect(&socket).unwrap();
            writer.write_all(events.join("\n").as_bytes()).unwrap();
        };
        write(&events[..10]);
        // Discarded is not delivered: nothing may be buffered either.
        place.write(&webhook(&hook.url(), TOKEN));
        agent.wait_for_log("enabled (");
        write(&events[10..]);
        hook.wait_for_events(10);

        agent.signal(libc::SIGTERM);
        let ended = agent.wait();
        let balance = ended.done();
        assert_eq!(taken(&hook), events[10..]);
        assert_eq!(balance.by_reason["disabled"], 10);
        assert_eq!((balance.delivered, balance.dropped), (10, 10));
        assert!(
            ended.log.contains("10 events dropped before"),
            "{}",
            ended.log
        );
        assert!(!ended.log.contains("B5A79AAD"), "{}", ended.log);
    }
}

/// What the sender discards of a file is read again.
#[test]
fn a_file_loses_nothing_while_forwarding_is_disabled_and_enabled_again() {
    let hook = Webhook::start();
    let place = Place::new();
    let enabled = webhook(&hook.url(), TOKEN);
    place.write(&enabled);
    let log = place.0.path().join("audit.log");
    let events = numbered(0..3000);
    fs::write(&log, events[..1000].join("\n")).unwrap();
    let source = format!("file:{}", log.display());
    let agent = place.start(&["--source", &source, "--batch-events", "50"]);
    hook.wait_for_events(1000);
    let append = |events: &[String]| {
        let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
        file.write_all(format!("\n{}", events.join("\n")).as_bytes())
            .unwrap();
    };
    // Some are buffered when it is disabled.
    hook.always(Answer::status(503));
    append(&events[1000..2000]);
    agent.wait_for_log("delivery failed");
    place.write(&disabled(&enabled));
    agent.wait_for_log("webhook disabled by");
    append(&events[2000..]);
    // It has the time to read on, and to write a checkpoint, which it must not.
    thread::sleep(Duration::from_millis(1500));
    hook.always(Answer::ok());
    place.write(&enabled);
    agent.wait_for_log("enabled (");
    eventually("all of them arrive", || {
        let arrived: BTreeSet<_> = taken(&hook).into_iter().collect();
        (arrived.len() == events.len()).then_some(())
    });
    agent.signal(libc::SIGTERM);
    agent.wait();
}

#[test]
fn another_endpoint_or_token_is_in_force_with_the_next_request() {
    let (first, second) = (Webhook::start(), Webhook::start());
    let place = Place::new();
    place.write(&webhook(&first.url(), TOKEN));
    let mut agent = place.start(&[]);
    let events = numbered(0..30);
    feed(&mut agent, &events[..10]);
    first.wait_for_events(10);

    place.write(&webhook(&first.url(), OTHER));
    agent.wait_for_log("changed (");
    feed(&mut agent, &events[10..20]);
    first.wait_for_events(20);
    place.write(&webhook(&second.url(), OTHER));
    agent.wait_for_nth_log(2, "changed (");
    feed(&mut agent, &events[20..]);
    second.wait_for_events(10);

    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.dropped), (30, 0), "{log}");
    assert_eq!(
        (taken(&first), taken(&second)),
        (events[..20].to_vec(), events[20..].to_vec())
    );
    let tokens = |hook: &Webhook, token: &str| {
        let requests = hook.requests();
        let with = requests
            .iter()
            .filter(|request| request.header("Authorization") == Some(token));
        with.count()
    };
    assert!(tokens(&first, TOKEN) > 0 && tokens(&first, OTHER) > 0);
    assert_eq!(
        (tokens(&second, TOKEN), tokens(&second, OTHER)),
        (0, second.request_count())
    );
    // What has changed, and where, but not to what secret.
    let place = place.file();
    assert!(
        log.contains(&format!(
            "{}:2: S3_AUDIT_WEBHOOK_AUTH_TOKEN",
            place.display()
        )),
        "{log}"
    );
    assert!(!log.contains("00000000-1111"), "{log}");
}

#[test]
fn a_request_in_flight_is_finished_and_not_sent_to_the_next_webhook_too() {
    let (first, second) = (Webhook::start(), Webhook::start());
    let place = Place::new();
    place.write(&webhook(&first.url(), TOKEN));
    let mut agent = place.start(&[]);
    let events = numbered(0..20);
    first.hold();
    feed(&mut agent, &events[..10]);
    let in_flight = first.wait_for_requests(1)[0].body.len();

    place.write(&webhook(&second.url(), TOKEN));
    agent.wait_for_log("changed (");
    feed(&mut agent, &events[10..]);
    first.release();
    let both = |hooks: [&Webhook; 2]| hooks.map(taken).concat();
    eventually("all arrive", || {
        (both([&first, &second]).len() >= 20).then_some(())
    });
    let (balance, log) = end_input(agent);
    assert_eq!(both([&first, &second]), events, "{log}");
    assert_eq!((balance.delivered, first.request_count()), (20, 1));
    assert_eq!(first.requests()[0].body.len(), in_flight);
}

#[test]
fn what_the_last_webhook_rejects_goes_to_the_next() {
    let (first, second) = (Webhook::start(), Webhook::start());
    first.always(Answer::status(400));
    let place = Place::new();
    place.write(&webhook(&first.url(), TOKEN));
    let mut agent = place.start(&[]);
    let events = numbered(0..1);
    first.hold();
    feed(&mut agent, &events);
    first.wait_for_requests(1);
    place.write(&webhook(&second.url(), TOKEN));
    agent.wait_for_log("changed (");
    first.release();
    second.wait_for_events(1);
    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.rejected), (1, 0), "{log}");
}

#[test]
fn a_webhook_that_is_away_does_not_delay_the_change_to_another() {
    let hook = Webhook::start();
    for away in ["http://127.0.0.1:9/raw", &BlackHole::start().url()] {
        let place = Place::new();
        place.write(&webhook(away, TOKEN));
        // The wait for the next attempt would outlast the test.
        let mut agent = place.start(&[
            "--backoff-min=1h",
            "--backoff-max=1h",
            "--connect-timeout=1s",
        ]);
        let events = numbered(0..10);
        let before = taken(&hook).len();
        feed(&mut agent, &events);
        agent.wait_for_log("delivery failed");
        place.write(&webhook(&hook.url(), TOKEN));
        hook.wait_for_events(before + 10);
        let (balance, log) = end_input(agent);
        assert_eq!(taken(&hook)[before..], events);
        assert_eq!((balance.delivered, balance.dropped), (10, 0));
        // Another webhook's coming is no recovery of the last one.
        assert!(!log.contains("delivery restored"), "{log}");
    }
}

#[test]
fn disabled_nothing_is_posted_what_is_held_is_counted_and_nobody_waits() {
    let hook = Webhook::start();
    let place = Place::new();
    let enabled = webhook(&hook.url(), TOKEN);
    place.write(&enabled);
    let mut agent = place.start(&["--buffer-events", "100", "--when-full", "wait"]);
    let events = numbered(0..2020);
    feed(&mut agent, &events[..10]);
    hook.wait_for_events(10);

    // Held, because the webhook is busy.
    hook.always(Answer::status(503));
    feed(&mut agent, &events[10..20]);
    agent.wait_for_log("delivery failed");
    place.write(&disabled(&enabled));
    agent.wait_for_log("webhook disabled by");
    let quiet = Duration::from_millis(100);
    let requests = unchanged_for(quiet, "the last request", || hook.request_count());
    // Far more than the buffer holds, from a writer that would wait for room.
    feed(&mut agent, &events[20..2010]);
    assert_eq!(hook.request_count(), requests);

    hook.always(Answer::ok());
    place.write(&enabled);
    agent.wait_for_log("enabled (");
    feed(&mut agent, &events[2010..]);
    hook.wait_for_events(20);
    let (balance, log) = end_input(agent);
    assert_eq!(
        taken(&hook),
        [&events[..10], &events[2010..]].concat(),
        "{log}"
    );
    assert_eq!(balance.by_reason["disabled"], 2000);
    assert_eq!(
        lines_of("WARN", &log).len(),
        2,
        "failing, and disabled:\n{log}"
    );
}

#[test]
fn an_agent_that_was_started_disabled_can_be_enabled() {
    let hook = Webhook::start();
    let place = Place::new();
    place.write(&disabled(&webhook(&hook.url(), TOKEN)));
    let mut agent = place.start(&[]);
    let line = format!("{}:3: S3_AUDIT_WEBHOOK_ENABLED", place.file().display());
    agent.wait_for_log(&format!("webhook disabled by {line}"));
    place.write(&webhook(&hook.url(), TOKEN));
    agent.wait_for_log("enabled (");
    let events = numbered(0..3);
    feed(&mut agent, &events);
    hook.wait_for_events(3);
    finish(agent, &hook, &events);
}

#[test]
fn a_wrong_file_changes_nothing_and_is_told_once_with_its_line() {
    let hook = Webhook::start();
    let place = Place::new();
    let right = webhook(&hook.url(), TOKEN);
    let missing = place.0.path().join("missing");
    let wrong = [
        ("a word\n".to_owned(), ":1: is neither NAME=value"),
        (
            format!("{right}S3_AUDIT_WEBHOOK_UNHEALTHY_AFTER=soon\n"),
            ":3: S3_AUDIT_WEBHOOK_UNHEALTHY_AFTER",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_BUFFER_EVENTS=0\n"),
            ":3: S3_AUDIT_WEBHOOK_BUFFER_EVENTS",
        ),
        (
            format!("{right}{right}"),
            ":3: S3_AUDIT_WEBHOOK_ENDPOINT is already set on line 1",
        ),
        (
            webhook("ftp://hec/", TOKEN),
            ":1: S3_AUDIT_WEBHOOK_ENDPOINT",
        ),
        (
            webhook(&hook.url(), "a\tb"),
            ":2: S3_AUDIT_WEBHOOK_AUTH_TOKEN",
        ),
        (right.lines().next().unwrap().to_owned(), "no token is set"),
        (
            right.lines().nth(1).unwrap().to_owned(),
            "S3_AUDIT_WEBHOOK_ENDPOINT is missing",
        ),
        (String::new(), "S3_AUDIT_WEBHOOK_ENDPOINT is missing"),
        (
            right[..right.len() - 5].to_owned(),
            ":2: S3_AUDIT_WEBHOOK_AUTH_TOKEN: lacks its closing quote",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_CA_FILE={}\n", missing.display()),
            ":3: S3_AUDIT_WEBHOOK_CA_FILE",
        ),
        // Nothing that a running agent applies, but it would not start again.
        (
            format!("{right}S3_AUDIT_WEBHOOK_LISTEN_KEY=/x\n"),
            ":3: S3_AUDIT_WEBHOOK_LISTEN_KEY: is of no use without --listen-cert",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_SOURCE=stdin,stdin\n"),
            ":3: S3_AUDIT_WEBHOOK_SOURCE: stdin: given twice",
        ),
        (
            format!("{right}S3_AUDIT_WEBHOOK_REJECT_FILE=/\n"),
            ":3: S3_AUDIT_WEBHOOK_REJECT_FILE: / is not a regular file",
        ),
    ];
    place.write(&right);
    let mut agent = place.start(&[]);
    let mut sent = 0;
    let mut tell = |agent: &mut Agent, what: &str| {
        agent.signal(libc::SIGHUP);
        let line = agent.wait_for_nth_log(sent + 1, "keeping the previous settings");
        assert!(line.contains(what), "{line}");
        feed(agent, &numbered(sent..sent + 1));
        sent += 1;
        hook.wait_for_events(sent);
    };
    for (number, (text, what)) in wrong.iter().enumerate() {
        place.write(text);
        tell(&mut agent, what);
        // Looking again tells nothing new.
        agent.signal(libc::SIGHUP);
        place.write(&right);
        agent.signal(libc::SIGHUP);
        agent.wait_for_nth_log(number + 1, "the settings are valid again");
    }
    fs::remove_file(place.file()).unwrap();
    tell(&mut agent, "can't be read: it is not there");
    fs::create_dir(place.file()).unwrap();
    tell(&mut agent, "Is a directory");

    let log = agent.log();
    assert_eq!(lines_of("ERROR", &log).len(), wrong.len() + 2, "{log}");
    assert!(!log.contains("changed ("), "{log}");
    finish(agent, &hook, &numbered(0..sent));
}

#[test]
fn a_file_that_is_being_written_is_not_taken_before_it_stays_the_same() {
    let (first, second) = (Webhook::start(), Webhook::start());
    let place = Place::new();
    place.write(&webhook(&first.url(), TOKEN));
    let mut agent = place.start(&[]);

    // In place, from nothing, a few bytes at a time, over several looks.
    let new = webhook(&second.url(), OTHER);
    let mut file = fs::File::create(place.file()).unwrap();
    for piece in new.as_bytes().chunks(3) {
        file.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(60));
    }
    agent.wait_for_log("changed (");
    let events = numbered(0..5);
    feed(&mut agent, &events);
    second.wait_for_events(5);
    let (_, log) = finish(agent, &second, &events);
    assert_eq!(lines_of("ERROR", &log), [""; 0]);
    assert_eq!(log.matches("changed (").count(), 1, "{log}");
    assert_eq!(first.request_count(), 0);
}

#[test]
fn sighup_asks_to_look_at_once_and_gets_an_answer() {
    let hook = Webhook::start();
    let place = Place::new();
    place.write(&webhook(&hook.url(), TOKEN));
    let agent = place.start(&[]);
    agent.signal(libc::SIGHUP);
    agent.wait_for_log("settings read again: nothing changed");
    place.write(&disabled(&webhook(&hook.url(), TOKEN)));
    agent.signal(libc::SIGHUP);
    agent.wait_for_log("webhook disabled by");
    let (balance, _) = end_input(agent);
    assert_eq!(balance.received, 0);
}

/// A mounted ConfigMap or Secret: the file is a link through a link to a directory that is swapped.
#[test]
fn kubernetes_swap_of_symbolic_links_is_followed() {
    let (first, second) = (Webhook::start(), Webhook::start());
    let place = Place::new();
    let dir = place.0.path();
    for (version, hook) in [("..1", &first), ("..2", &second)] {
        fs::create_dir(dir.join(version)).unwrap();
        fs::write(
            dir.join(version).join("webhook.env"),
            webhook(&hook.url(), TOKEN),
        )
        .unwrap();
    }
    symlink("..1", dir.join("..data")).unwrap();
    symlink("..data/webhook.env", place.file()).unwrap();
    let mut agent = place.start(&[]);
    symlink("..2", dir.join("..new")).unwrap();
    fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
    fs::remove_dir_all(dir.join("..1")).unwrap();
    agent.wait_for_log("changed (");
    let events = numbered(0..5);
    feed(&mut agent, &events);
    second.wait_for_events(5);
    finish(agent, &second, &events);
}

/// Sources remove envelopes unless the format needs them, so what they do follows the format.
#[test]
fn with_another_format_envelopes_are_kept_or_removed() {
    let hook = Webhook::start();
    let place = Place::new();
    let plain = webhook(&hook.url(), TOKEN);
    let in_envelopes = format!(
        "{}S3_AUDIT_WEBHOOK_FORMAT=hec\nS3_AUDIT_WEBHOOK_HEC_HOST=own\n",
        webhook(&hook.url().replace("/raw", "/event"), TOKEN)
    );
    let envelope = r#"{"event":{"n":1},"host":"its"}"#;
    let request = request(
        &format!(
            "POST /services/collector/event\nContent-Length: {}",
            envelope.len()
        ),
        envelope.as_bytes(),
    );
    let run = |first: &str, then: &str, options: &[&str]| {
        let address = free_address();
        let source = format!("http:{address}");
        place.write(first);
        let agent = place.start(&[&["--source", &source], options].concat());
        let before = hook.request_count();
        let mut client = Client::connect(address);
        ask(&mut client, &request, &success(""));
        hook.wait_for_requests(before + 1);
        place.write(then);
        agent.wait_for_log("settings changed");
        ask(&mut client, &request, &success(""));
        let requests = hook.wait_for_requests(before + 2);
        agent.signal(libc::SIGTERM);
        agent.wait();
        let text = |request: &Request| request.text().trim().to_owned();
        requests[before..].iter().map(text).collect::<Vec<_>>()
    };
    let wrapped = r#"{"event":{"n":1},"host":"own"}"#;
    assert_eq!(run(&plain, &in_envelopes, &[]), [r#"{"n":1}"#, envelope]);
    assert_eq!(run(&in_envelopes, &plain, &[]), [envelope, r#"{"n":1}"#]);
    // What was asked for at the start holds.
    let unwrap = ["--hec-input=unwrap"];
    assert_eq!(run(&in_envelopes, &plain, &unwrap), [wrapped, r#"{"n":1}"#]);
}

#[test]
fn what_takes_a_restart_is_said_once_and_the_rest_taken_over() {
    let hook = Webhook::start();
    let place = Place::new();
    let right = webhook(&hook.url(), TOKEN);
    place.write(&right);
    let agent = place.start(&[]);
    place.write(&format!(
        "{right}S3_AUDIT_WEBHOOK_SOURCE=stdin,unix:/nowhere\nS3_AUDIT_WEBHOOK_BATCH_EVENTS=5\n"
    ));
    agent.wait_for_log(
        ":4: S3_AUDIT_WEBHOOK_BATCH_EVENTS has changed; restart the agent to apply it",
    );
    agent.wait_for_log(":3: S3_AUDIT_WEBHOOK_SOURCE has changed");
    place.write(&format!(
        "{}S3_AUDIT_WEBHOOK_SOURCE=stdin,unix:/nowhere\nS3_AUDIT_WEBHOOK_BATCH_EVENTS=5\n",
        disabled(&right)
    ));
    agent.wait_for_log("webhook disabled by");
    let (_, log) = end_input(agent);
    assert_eq!(
        log.matches("restart the agent to apply it").count(),
        2,
        "{log}"
    );
}

/// What was never in effect needs no restart when it goes.
#[test]
fn what_is_removed_takes_a_restart_only_if_the_agent_was_started_with_it() {
    let hook = Webhook::start();
    let place = Place::new();
    let right = webhook(&hook.url(), TOKEN);
    let started = format!("{right}S3_AUDIT_WEBHOOK_BATCH_EVENTS=7\n");
    place.write(&started);
    let agent = place.start(&[]);
    place.write(&format!("{right}S3_AUDIT_WEBHOOK_BATCH_BYTES=5\n"));
    agent
        .wait_for_log("  S3_AUDIT_WEBHOOK_BATCH_EVENTS was removed; restart the agent to apply it");
    agent.wait_for_log(
        ":3: S3_AUDIT_WEBHOOK_BATCH_BYTES has changed; restart the agent to apply it",
    );
    place.write(&disabled(&started));
    agent.wait_for_log("webhook disabled by");
    let (_, log) = end_input(agent);
    let count = log.matches("restart the agent to apply it").count();
    assert_eq!(count, 2, "{log}");
}

#[test]
fn a_new_token_in_its_file_and_a_new_ca_in_its_file_are_taken_over() {
    let place = Place::new();
    let dir = place.0.path();
    let authorities = ["old", "new"].map(Authority::new);
    let hooks = authorities.each_ref().map(|authority| {
        Webhook::builder()
            .tls(authority.server(&["127.0.0.1"]).server_config())
            .start()
    });
    let token = dir.join("token");
    fs::write(&token, TOKEN).unwrap();
    let ca = authorities[0].write_pem(dir, "ca");
    place.write(&format!(
        "S3_AUDIT_WEBHOOK_ENDPOINT={}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE={}\nS3_AUDIT_WEBHOOK_CA_FILE={}\n",
        hooks[0].url(),
        token.display(),
        ca.display()
    ));
    // Its first attempt may meet the old webhook as it goes.
    let mut agent = place.start(&["--report-interval=100ms"]);
    let events = numbered(0..3);
    feed(&mut agent, &events[..1]);
    hooks[0].wait_for_events(1);

    fs::write(&token, OTHER).unwrap();
    agent.wait_for_log(&format!("changed ({})", token.display()));
    feed(&mut agent, &events[1..2]);
    hooks[0].wait_for_events(2);
    assert_eq!(hooks[0].requests()[1].header("Authorization"), Some(OTHER));

    // The same place, with a certificate of a CA that is trusted only when its file has changed.
    let address = hooks[0].address();
    hooks[0].stop();
    let tls = authorities[1].server(&["127.0.0.1"]).server_config();
    let renewed = Webhook::builder().address(address).tls(tls).start();
    feed(&mut agent, &events[2..]);
    agent.wait_for_log("certificate of an unknown CA");
    authorities[1].write_pem(dir, "ca");
    renewed.wait_for_events(1);
    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.dropped), (3, 0), "{log}");
    assert!(
        log.contains(&format!("changed ({})", ca.display())),
        "{log}"
    );
}

/// A ConfigMap and a Secret are mounted by themselves, in any order.
#[test]
fn new_settings_wait_for_the_file_that_they_name() {
    let (first, second) = (Webhook::start(), Webhook::start());
    let place = Place::new();
    place.write(&webhook(&first.url(), TOKEN));
    let mut agent = place.start(&[]);
    let token = place.0.path().join("token");
    place.write(&format!(
        "S3_AUDIT_WEBHOOK_ENDPOINT={}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE={}\n",
        second.url(),
        token.display()
    ));
    agent.wait_for_log("token can't be read");
    fs::write(&token, OTHER).unwrap();
    agent.wait_for_log("the settings are valid again");
    let events = numbered(0..5);
    feed(&mut agent, &events);
    second.wait_for_events(5);
    assert_eq!(second.requests()[0].header("Authorization"), Some(OTHER));
    finish(agent, &second, &events);
}

/// No file that the agent follows says when they can be used.
#[test]
fn settings_that_can_not_be_used_yet_are_tried_again() {
    let authority = Authority::new("host");
    let tls = authority.server(&["127.0.0.1"]).server_config();
    let (plain, secure) = (Webhook::start(), Webhook::builder().tls(tls).start());
    let place = Place::new();
    place.write(&webhook(&plain.url(), TOKEN));
    let roots = place.0.path().join("host.pem");
    let mut agent = place.command(&[]).env("SSL_CERT_FILE", roots).spawn();
    agent.wait_for_log("started:");
    place.write(&webhook(&secure.url(), TOKEN));
    agent.wait_for_log("no trusted roots there");
    authority.write_pem(place.0.path(), "host");
    agent.wait_for_log("the settings are valid again");
    let events = numbered(0..5);
    feed(&mut agent, &events);
    secure.wait_for_events(5);
    finish(agent, &secure, &events);
}

#[test]
fn settings_that_do_nothing_are_told_at_start() {
    let hook = Webhook::start();
    let place = Place::new();
    place.write(&format!(
        "{}S3_AUDIT_WEBHOOK_ENDPONT=x\nPATH=/bin\nS3_AUDIT_WEBHOOK_SPOOL_SYNC=always\n",
        webhook(&hook.url(), TOKEN)
    ));
    let agent = place.start(&[]);
    agent.wait_for_log(":3: S3_AUDIT_WEBHOOK_ENDPONT is not a setting of this version; ignored");
    agent.wait_for_log(":5: S3_AUDIT_WEBHOOK_SPOOL_SYNC: has no effect without --spool-bytes");
    let (_, log) = end_input(agent);
    assert_eq!(lines_of("WARN", &log).len(), 2, "{log}");
}

/// Misspelt names, names with another case or without what all begin with, and settings that only the environment can
/// have; but not what the environment has too, which may be made of this file.
#[test]
fn names_in_the_file_that_are_no_settings_are_told() {
    let hook = Webhook::start();
    let place = Place::new();
    place.write(&format!(
        "{}S3_AUDIT_WEBHOOK_LOG=off\nS3_AUDIT_WEBHOOK_CONFIG=/x\nBATCH_BYTES=1\n\
         s3_audit_webhook_batch_bytes=1\nS3_AUDIT_WEBHOK_COMPRESS=gzip\nBATCH_BYTE=1\nNO_PROXY=h\n",
        webhook(&hook.url(), TOKEN)
    ));
    let command = place.command(&[]).env("NO_PROXY", "h");
    let agent = command.spawn();
    let here = "is not a setting of the settings file; ignored; fix: set it in the environment";
    let write =
        "is not a setting of this version; ignored; fix: write S3_AUDIT_WEBHOOK_BATCH_BYTES";
    agent.wait_for_log(&format!(":3: S3_AUDIT_WEBHOOK_LOG {here}"));
    agent.wait_for_log(&format!(":4: S3_AUDIT_WEBHOOK_CONFIG {here}"));
    agent.wait_for_log(&format!(":5: BATCH_BYTES {write}"));
    agent.wait_for_log(&format!(":6: s3_audit_webhook_batch_bytes {write}"));
    let correct = "is not a setting of this version; ignored; fix: correct the name, or remove it";
    agent.wait_for_log(&format!(":7: S3_AUDIT_WEBHOK_COMPRESS {correct}"));
    agent.wait_for_log(&format!(":8: BATCH_BYTE {correct}"));
    let (_, log) = end_input(agent);
    assert_eq!(lines_of("WARN", &log).len(), 6, "{log}");
}

/// Someone who adds a rule with a typo to the file of a running agent must not believe that it is in force.
#[test]
fn settings_that_do_nothing_are_told_when_a_running_agent_reads_them_and_when_it_is_asked() {
    let hook = Webhook::start();
    let place = Place::new();
    let old = format!("{}S3_AUDIT_WEBHOOK_OLD=x\n", webhook(&hook.url(), TOKEN));
    place.write(&old);
    let agent = place.start(&[]);
    place.write(&format!(
        "{old}S3_AUDIT_WEBHOOK_REDCT=s3\nS3_AUDIT_WEBHOOK_SPOOL_SYNC=always\n"
    ));
    let unknown = ":4: S3_AUDIT_WEBHOOK_REDCT is not a setting of this version; ignored";
    agent.wait_for_log(unknown);
    agent.wait_for_log(":5: S3_AUDIT_WEBHOOK_SPOOL_SYNC: has no effect without --spool-bytes");
    assert_eq!(
        agent.log().matches("WEBHOOK_OLD is").count(),
        1,
        "{}",
        agent.log()
    );
    agent.signal(libc::SIGHUP);
    agent.wait_for_log("settings read again: nothing changed");
    let (_, log) = end_input(agent);
    assert_eq!(log.matches(unknown).count(), 2, "{log}");
    assert_eq!(log.matches("WEBHOOK_OLD is").count(), 2, "{log}");
}
