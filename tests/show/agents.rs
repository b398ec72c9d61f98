//! The agents that tell of themselves in a state directory, and what else is in it.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::delivery::{feed, numbered};
use crate::state::{StateDir, age, balance, host};
use crate::support::{Answer, STATE_DIR, Webhook, eventually};

use super::Show;

/// Waits until `show` has these words.
#[track_caller]
fn wait_for(dir: &StateDir, words: &str) -> String {
    eventually(words, || {
        let text = Show::of(dir).text();
        text.contains(words).then_some(text)
    })
}

#[test]
fn all_agents_are_listed_with_the_counts_of_their_logs() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    let mut agents = Vec::new();
    for number in 1..=3 {
        let mut agent = dir.start(&hook.url(), &["--source=stdin"]);
        feed(&mut agent, &numbered(0..number));
        feed(&mut agent, &vec!["{nonsense}".to_owned(); number * 2]);
        agents.push(agent);
    }
    for number in 1..=3 {
        let counts = format!(
            "  events      received {}, delivered {number}, dropped {} (malformed {}), buffered 0\n",
            number * 3,
            number * 2,
            number * 2
        );
        wait_for(&dir, &counts);
    }
    let text = Show::of(&dir).text();
    assert_eq!(
        text.matches(&format!("{}  up ", host())).count(),
        3,
        "{text}"
    );
    let connected = format!(
        "  webhook     http://{} connected; last delivery ",
        hook.address()
    );
    assert_eq!(text.matches(&connected).count(), 3, "{text}");
    for (number, agent) in (1..).zip(&agents) {
        assert!(
            text.contains(&format!(", pid {}, version ", agent.id())),
            "{text}"
        );
        assert!(
            text.contains(&format!("  source      stdin received {}\n", number * 3)),
            "{text}"
        );
    }

    let mut balances = Vec::new();
    for mut agent in agents {
        agent.close_stdin();
        balances.push(agent.wait().balance());
    }
    let all = Show::of(&dir).json();
    let shown: Vec<_> = all["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(balance)
        .collect();
    assert_eq!(shown, balances);
    for agent in all["agents"].as_array().unwrap() {
        assert_eq!(agent["status"], "ended");
        assert!(agent["heard_seconds_ago"].as_u64().unwrap() < 60, "{agent}");
    }
    let text = Show::of(&dir).text();
    assert_eq!(
        text.matches(&format!("{}  ended ", host())).count(),
        3,
        "{text}"
    );
}

#[test]
fn an_outage_is_shown_with_how_long_and_why_and_so_is_its_end() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    hook.always(Answer::hec(403, "Invalid token", 4));
    let missing = format!("unix:{}/missing.sock", dir.path().display());
    let mut agent = dir.start(&hook.url(), &["--source=stdin", "--source", &missing]);
    // The webhook's error is to be the last one.
    agent.wait_for_log("no such socket");
    feed(&mut agent, &numbered(0..5));
    let text = wait_for(&dir, "buffered 5");
    let unreachable = format!("http://{} failing for ", hook.address());
    assert!(text.contains(&unreachable), "{text}");
    assert!(
        text.contains("s: HTTP 403 Invalid token; fix: give the token"),
        "{text}"
    );
    assert!(
        text.contains(&format!("{missing} received 0; unavailable for ")),
        "{text}"
    );
    assert!(text.contains("  last error  "), "{text}");
    assert!(text.contains(" ago: webhook: HTTP 403"), "{text}");
    let state = &Show::of(&dir).json()["agents"][0];
    assert_eq!(state["webhook"]["state"], "failing");
    assert_eq!(state["sources"][1]["why"], "no such socket");

    hook.always(Answer::ok());
    let text = wait_for(&dir, "delivered 5");
    assert!(text.contains(" connected; last delivery "), "{text}");
    assert!(text.contains(" ago: webhook: HTTP 403"), "{text}");
    let state = &Show::of(&dir).json()["agents"][0];
    assert_eq!(state["webhook"]["failing_since"], Value::Null);
}

#[test]
fn an_agent_whose_webhook_is_disabled_says_by_what() {
    let dir = StateDir::new();
    let mut agent = dir.start("http://127.0.0.1:9", &["--enabled=false"]);
    feed(&mut agent, &numbered(0..3));
    let text = wait_for(&dir, "dropped 3 (disabled 3)");
    assert!(
        text.contains("  webhook     disabled by --enabled\n"),
        "{text}"
    );
    assert_eq!(
        Show::of(&dir).json()["agents"][0]["webhook"]["state"],
        "disabled"
    );
}

#[test]
fn an_agent_that_was_killed_is_not_heard_of() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    let killed = dir.start(&hook.url(), &[]);
    let _alive = dir.start(&hook.url(), &[]);
    killed.signal(libc::SIGKILL);
    killed.wait();
    age(&dir.file(1), Duration::from_secs(170));
    assert_eq!(Show::of(&dir).json()["agents"][0]["status"], "up");
    age(&dir.file(1), Duration::from_secs(12 * 60 + 5));

    let text = Show::of(&dir).text();
    assert!(
        text.contains(&format!("{}  silent for 12m0", host())),
        "{text}"
    );
    assert_eq!(
        text.matches(&format!("{}  up ", host())).count(),
        1,
        "{text}"
    );
    let agents = &Show::of(&dir).json()["agents"];
    assert_eq!(
        (&agents[0]["status"], &agents[1]["status"]),
        (&json!("silent"), &json!("up"))
    );
}

#[test]
fn a_host_whose_clock_is_wrong_is_told_of_rightly() {
    let dir = StateDir::new();
    for (name, day) in [("past", "2001-01-01"), ("future", "2199-01-01")] {
        let state = json!({
            "program": "s3-audit-webhook", "host": name,
            "started": format!("{day}T00:00:00Z"), "written": format!("{day}T03:00:00Z"),
            "webhook": {"state": "unreachable", "unreachable_since": format!("{day}T02:54:48Z"), "why": "x"},
        });
        let path = dir.path().join(format!("{name}.json"));
        fs::write(&path, state.to_string()).unwrap();
        let text = Show::of(&dir).text();
        assert!(text.contains(&format!("{name}  up 3h00m; ")), "{text}");
        assert!(text.contains("failing for 5m1"), "{text}");
    }
}

#[test]
fn what_others_have_put_into_the_directory_does_no_harm() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    let _agent = dir.start(&hook.url(), &[]);
    let evil = json!({
        "program": "s3-audit-webhook",
        "host": format!("\u{1b}[31mevil\u{202e}\u{9b}2J\r\n{}", "x".repeat(5000)),
        "pid": {"a": "\u{7}"}, "webhook": "no", "sources": {"a": 1}, "dropped": {"\u{1b}c": u64::MAX, "b": 1},
        "written": "yesterday", "ended": false, "last_error": {"at": 1},
    });
    for (name, text) in [
        ("evil.json", evil.to_string()),
        ("garbage\u{1b}.json", "garbage".into()),
        (
            "half.json",
            r#"{"program":"s3-audit-webhook","host":"ha"#.into(),
        ),
        ("other.json", "{}".into()),
        (".hidden.json", "garbage".into()),
        ("notes.txt", "garbage".into()),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    fs::create_dir(dir.path().join("dir.json")).unwrap();
    let fifo = std::ffi::CString::new(dir.path().join("fifo.json").to_str().unwrap()).unwrap();
    // SAFETY: a string that ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);

    let (code, text, log) = Show::of(&dir).run();
    assert_eq!(code, Some(0), "{log}");
    for name in [
        "garbage\\u{1b}.json",
        "half.json",
        "other.json",
        "dir.json",
        "fifo.json",
    ] {
        assert!(log.contains(name), "{name}: {log}");
    }
    assert_eq!(log.lines().count(), 5, "{log}");
    assert!(
        text.contains(r"\u{1b}[31mevil\u{202e}\u{9b}2J\r\nxxx"),
        "{text}"
    );
    assert!(
        text.lines().all(|line| line.chars().count() < 600),
        "{text}"
    );
    assert!(text.contains(&format!("{}  up ", host())), "{text}");
    let (code, json, _) = Show::of(&dir).arg("--json").run();
    assert_eq!(code, Some(0));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["agents"][0]["host"], evil["host"]);
}

#[test]
fn a_state_directory_that_cannot_be_read_is_an_error_after_the_settings_are_shown() {
    let show = Show::new().arg("--state-dir=/missing/state");
    let (code, text, log) = show.settings("S3_AUDIT_WEBHOOK_CONNECT_TIMEOUT=3s\n").run();
    assert_eq!(code, Some(1));
    assert!(
        log.contains("--state-dir: /missing/state: can't be read: No such file"),
        "{log}"
    );
    assert!(
        text.contains("connect-timeout  3s       HERE/webhook.env:1\n"),
        "{text}"
    );
    // It may be named where the agents have it from.
    let show = Show::new().settings(&format!("{STATE_DIR}=HERE\n"));
    let show = Show {
        command: show.command.without(STATE_DIR),
        ..show
    };
    assert!(show.text().contains("no agent has reported in HERE\n"));
}

#[test]
fn figures_hold_when_an_agent_ends_with_events_unsent() {
    let dir = StateDir::new();
    let hook = Webhook::start();
    hook.always(Answer::status(503));
    let limits = ["--buffer-events=10", "--shutdown-timeout=100ms"];
    let mut agent = dir.start(&hook.url(), &limits);
    feed(&mut agent, &numbered(0..50));
    agent.wait_for_log("delivery failed");
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let state = &Show::of(&dir).json()["agents"][0];
    assert_eq!(balance(state), ended.balance(), "{}", ended.log);
    assert!(state["dropped"]["shutdown"].as_u64() > Some(0), "{state}");
    let text = Show::of(&dir).text();
    assert!(text.contains("failing for "), "{text}");

    // Nor does it matter how it ends. A second signal leaves a loaded machine hardly time to write that down.
    hook.hold();
    let is_written = || {
        let mut agent = dir.start(&hook.url(), &[]);
        feed(&mut agent, &numbered(0..50));
        agent.signal(libc::SIGTERM);
        agent.wait_for_log("shutting down");
        agent.signal(libc::SIGINT);
        let ended = agent.wait();
        assert!(ended.log.contains("second signal"), "{}", ended.log);
        let state = &Show::of(&dir).json()["agents"][0];
        let is_written = state["ended"].is_string();
        if is_written {
            assert_eq!(balance(state), ended.balance(), "{}", ended.log);
        }
        is_written
    };
    assert!((0..5).any(|_| is_written()));
}
