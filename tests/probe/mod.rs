//! `test`: one marked event, each step with its time, the answer in words, and for every usual mistake the remedy.

mod remedies;
mod report;
mod settings;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rustls::ServerConfig;

use super::support::{Agent, Answer, Webhook};

const SECRET: &str = "B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
const HERE: &[&str] = &["127.0.0.1", "localhost"];
/// A settings file with nothing in it.
const EMPTY: &str = "/dev/null";

/// What `test` came to.
#[derive(Debug)]
struct Tested {
    code: Option<i32>,
    /// What it told, step by step.
    told: String,
    /// What it said on standard error.
    said: String,
}

impl Tested {
    /// What it told of a step, if it came so far.
    fn step(&self, name: &str) -> Option<&str> {
        let mut lines = self.told.lines().filter_map(|line| line.split_once(' '));
        lines
            .find(|(word, _)| *word == name)
            .map(|(_, rest)| rest.trim())
    }

    /// What it told of a step that has a time.
    #[track_caller]
    fn timed(&self, name: &str) -> &str {
        let step = self
            .step(name)
            .unwrap_or_else(|| panic!("no {name}: {self:#?}"));
        let (what, time) = step.rsplit_once(' ').unwrap();
        assert!(
            time.ends_with('s') && time.starts_with(|c: char| c.is_ascii_digit()),
            "{self:#?}"
        );
        what.trim()
    }

    #[track_caller]
    fn delivered(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        assert!(self.step("delivered").is_some(), "{self:#?}");
        self
    }

    /// It was not delivered, and said why and what to do.
    #[track_caller]
    fn failed(self, why: &str, remedy: &str) -> Self {
        assert_eq!(self.code, Some(1), "{why}: {self:#?}");
        assert_eq!(self.step("delivered"), None, "{self:#?}");
        let line = self.said.lines().last().unwrap_or_default();
        let rest = line.strip_prefix("s3-audit-webhook: not delivered: ");
        let rest = rest.unwrap_or_else(|| panic!("{self:#?}"));
        let remedied = rest
            .split_once(why)
            .is_some_and(|(_, rest)| rest.contains(remedy));
        assert!(remedied, "no {why:?}, {remedy:?}: {self:#?}");
        self
    }
}

#[track_caller]
fn run(config: &str, args: &[&str], env: &[(&str, &str)]) -> Tested {
    let mut command = Agent::command()
        .args(["test", "--config", config])
        .args(args);
    for (name, value) in env {
        command = command.env(name, value);
    }
    let ended = command.stdin(Stdio::null()).run();
    let tested = Tested {
        code: ended.code,
        told: String::from_utf8(ended.stdout).unwrap(),
        said: ended.log,
    };
    let output = format!("{}{}", tested.told, tested.said);
    assert!(
        !output.contains(SECRET) && !output.contains("s3cret"),
        "{tested:#?}"
    );
    assert!(!output.contains("panicked"), "{tested:#?}");
    assert!(
        !output.contains(|c: char| c.is_control() && c != '\n'),
        "{tested:#?}"
    );
    tested
}

#[track_caller]
fn test(url: &str, args: &[&str]) -> Tested {
    run(
        EMPTY,
        &[&["--endpoint", url, "--auth-token", TOKEN], args].concat(),
        &[],
    )
}

/// Tests a webhook that gives this answer.
#[track_caller]
fn answered(answer: Answer) -> Tested {
    let hook = Webhook::start();
    hook.script([answer]);
    let tested = test(&hook.url(), &["--request-timeout", "2s"]);
    assert_eq!(hook.request_count(), 1, "one attempt: {tested:#?}");
    tested
}

fn tls(config: Arc<ServerConfig>) -> Webhook {
    Webhook::builder().tls(config).start()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
