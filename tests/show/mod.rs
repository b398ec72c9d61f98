//! `show`: what is set and where it comes from, and all agents that tell of themselves in one state directory.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::delivery::{feed, numbered};
use super::state::{StateDir, age, balance, host};
use super::support::{Agent, AgentCommand, Answer, STATE_DIR, Webhook, eventually};

const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D714D0";
/// Parts of what must not be shown.
const SECRETS: [&str; 4] = ["B5A79", "D822", "s3cret", "XXXXX"];

/// What `show` says: exit code, standard output, standard error.
type Said = (Option<i32>, String, String);

/// `show` with an empty settings file, unless the command names another.
struct Show {
    config: TempDir,
    command: AgentCommand,
}

impl Show {
    fn new() -> Self {
        let config = tempfile::tempdir().unwrap();
        let path = config.path().join("webhook.env");
        fs::write(&path, "").unwrap();
        let command = Agent::command().arg("show").arg("--config").arg(path);
        Self { config, command }
    }

    fn of(dir: &StateDir) -> Self {
        Self::new().arg(&dir.option())
    }

    fn arg(mut self, arg: &str) -> Self {
        self.command = self.command.arg(arg);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.command = self.command.env(&format!("S3_AUDIT_WEBHOOK_{name}"), value);
        self
    }

    /// The settings file's text. `HERE` in it stands for the file's directory.
    fn settings(self, text: &str) -> Self {
        let path = self.config.path();
        let text = text.replace("HERE", path.to_str().unwrap());
        fs::write(path.join("webhook.env"), text).unwrap();
        self
    }

    fn run(self) -> Said {
        let place = self.config.path().to_str().unwrap().to_owned();
        let ended = self.command.run();
        let stdout = String::from_utf8(ended.stdout).unwrap();
        for secret in SECRETS {
            let all = format!("{stdout}\n{}", ended.log);
            assert!(!all.contains(secret), "{secret} in:\n{all}");
        }
        for c in stdout.chars().chain(ended.log.chars()) {
            assert!(c == '\n' || !c.is_control(), "{c:?} in:\n{stdout}");
        }
        (
            ended.code,
            stdout.replace(&place, "HERE"),
            ended.log.replace(&place, "HERE"),
        )
    }

    /// What it says when all is well.
    #[track_caller]
    fn text(self) -> String {
        let (code, stdout, log) = self.run();
        assert_eq!((code, log.as_str()), (Some(0), ""), "{stdout}");
        stdout
    }

    #[track_caller]
    fn json(self) -> Value {
        serde_json::from_str(&self.arg("--json").text()).unwrap()
    }
}

/// Without what aligns them.
fn words(text: &str) -> String {
    let lines = text.lines();
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n");
    lines.collect()
}

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
fn settings_are_shown_with_their_origins_and_without_secrets() {
    let show = || {
        Show::new().settings(&format!(
            "# mine\nS3_AUDIT_WEBHOOK_ENDPOINT=https://hooks/T0000/B0000/XXXXXXXXXXXXXXXXXXXXXXXX?key=s3cret\n\
             S3_AUDIT_WEBHOOK_AUTH_TOKEN='\"{TOKEN}\"'\nS3_AUDIT_WEBHOOK_CA_FILE=/etc/ssl/ca.pem\n\
             S3_AUDIT_WEBHOOK_BATCH_AGE=2s\n"
        ))
    };
    let shown = "\
webhook     enabled
endpoint    https://hooks/T0000/B0000/XXXX…?…  HERE/webhook.env:2
auth-token  Splunk B5A7…14D0                   HERE/webhook.env:3
ca-file     /etc/ssl/ca.pem                    HERE/webhook.env:4
";
    let text = show().text();
    assert!(text.starts_with(&format!("{shown}\nno agent ")), "{text}");
    let webhook = &show().json()["webhook"];
    assert_eq!(
        *webhook,
        json!({
            "enabled": true,
            "settings_file": "HERE/webhook.env",
            "endpoint": "https://hooks/T0000/B0000/XXXX…?…",
            "auth_token": "Splunk B5A7…14D0",
            "ca_file": "/etc/ssl/ca.pem",
            "origins": {
                "endpoint": "HERE/webhook.env:2",
                "auth_token": "HERE/webhook.env:3",
                "ca_file": "HERE/webhook.env:4",
            },
        })
    );

    let text = show()
        .env("ENABLED", "no")
        .env("AUTH_TOKEN", "Bearer s3cret")
        .text();
    assert!(text.contains("webhook     disabled "), "{text}");
    assert!(text.contains("  S3_AUDIT_WEBHOOK_ENABLED\n"), "{text}");
    assert!(text.contains("auth-token  Bearer … "), "{text}");
    assert!(text.contains("  S3_AUDIT_WEBHOOK_AUTH_TOKEN\n"), "{text}");
}

#[test]
fn a_token_file_is_shown_with_what_can_be_shown_of_its_token() {
    let settings =
        "S3_AUDIT_WEBHOOK_ENDPOINT=https://hec\nS3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE=HERE/token\n";
    let show = Show::new().settings(settings);
    fs::write(show.config.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let text = show.text();
    for line in [
        "auth-token Splunk B5A7…14D0 HERE/token\n",
        "auth-token-file HERE/token HERE/webhook.env:2\n",
    ] {
        assert!(words(&text).contains(line), "{line}: {text}");
    }
    // One that is for another user is no mistake.
    let (code, text, log) = Show::new().settings(settings).run();
    assert_eq!(code, Some(0), "{log}");
    assert!(text.contains("auth-token-file  HERE/token "), "{text}");
    assert!(log.contains(
        "HERE/webhook.env:2: S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE: HERE/token can't be read"
    ));
    // The environment wins, whichever of the two it has.
    let text = Show::new()
        .settings(settings)
        .env("AUTH_TOKEN", TOKEN)
        .text();
    assert!(!text.contains("auth-token-file"), "{text}");
}

#[test]
fn with_nothing_set_and_no_agents_it_says_so() {
    let dir = StateDir::new();
    let text = Show::of(&dir).text();
    let state_dir = dir.path().display();
    assert_eq!(
        text,
        format!(
            "webhook  not set\n\n`s3-audit-webhook enable` sets it in HERE/webhook.env for all agents that \
             read that\n\nno agent has reported in {state_dir}\n"
        )
    );
    let show = Show::of(&dir);
    fs::remove_file(show.config.path().join("webhook.env")).unwrap();
    let text = show.text();
    assert!(
        text.contains("HERE/webhook.env (not there yet) for all"),
        "{text}"
    );
    let all = Show::of(&dir).json();
    assert_eq!(all["agents"], json!([]));
    assert_eq!(all["webhook"]["endpoint"], Value::Null);
    assert_eq!(all["webhook"]["enabled"], false);
}

#[test]
fn wrong_settings_are_named_and_the_agents_shown_all_the_same() {
    let dir = StateDir::new();
    let _agent = dir.start("http://127.0.0.1:9", &[]);
    let endpoint = "S3_AUDIT_WEBHOOK_ENDPOINT=https://hec\n";
    let token = "S3_AUDIT_WEBHOOK_AUTH_TOKEN=s3cret\n";
    for (settings, message, state) in [
        ("A=1\ns3cret\n", "HERE/webhook.env:2: is neither", None),
        (
            "S3_AUDIT_WEBHOOK_BATCH_AGE=soon\n",
            "HERE/webhook.env:1: S3_AUDIT_WEBHOOK_BATCH_AGE: ",
            None,
        ),
        (
            &format!("S3_AUDIT_WEBHOOK_ENDPOINT=hec?s3cret\n{token}"),
            "HERE/webhook.env:1: S3_AUDIT_WEBHOOK_ENDPOINT: 'hec?…' ",
            Some("wrong"),
        ),
        (endpoint, "no token is set", Some("wrong")),
        (
            &format!("{endpoint}S3_AUDIT_WEBHOOK_AUTH_TOKEN=\n"),
            "HERE/webhook.env:2: S3_AUDIT_WEBHOOK_AUTH_TOKEN: is empty",
            Some("wrong"),
        ),
        (
            &format!("{endpoint}{token}S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE=x\n"),
            "give one of them",
            Some("wrong"),
        ),
    ] {
        let (code, text, log) = Show::of(&dir).settings(settings).run();
        assert_eq!(code, Some(1), "{settings}: {log}");
        assert!(log.contains(message), "{message}: {log}");
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(text.contains(&format!("{}  up ", host())), "{text}");
        let first = words(&text).lines().next().map(str::to_owned);
        assert_eq!(
            first.as_deref() == Some("webhook wrong"),
            state.is_some(),
            "{text}"
        );
        let (code, json, _) = Show::of(&dir).settings(settings).arg("--json").run();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(code, Some(1));
        assert_eq!(json["webhook"].is_null(), state.is_none(), "{json}");
        assert_eq!(json["agents"][0]["status"], "up");
    }
    // A slip of the pen is told, and nothing is wrong for it.
    let (code, _, log) = Show::of(&dir)
        .settings("S3_AUDIT_WEBHOOK_ENDPIONT=x\n")
        .run();
    assert_eq!(code, Some(0));
    assert!(
        log.contains("HERE/webhook.env:1: S3_AUDIT_WEBHOOK_ENDPIONT is not a setting"),
        "{log}"
    );
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

    // Nor does it matter how it ends.
    hook.hold();
    let mut agent = dir.start(&hook.url(), &[]);
    feed(&mut agent, &numbered(0..50));
    agent.signal(libc::SIGTERM);
    agent.wait_for_log("shutting down");
    agent.signal(libc::SIGINT);
    let ended = agent.wait();
    assert!(ended.log.contains("second signal"), "{}", ended.log);
    let state = &Show::of(&dir).json()["agents"][0];
    assert_eq!(balance(state), ended.balance(), "{}", ended.log);
    assert!(state["ended"].is_string(), "{state}");
}
