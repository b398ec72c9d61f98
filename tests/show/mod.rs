//! `show`: what is set and where it comes from, and all agents that tell of themselves in one state directory.

mod agents;
mod settings;

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::state::StateDir;
use super::support::{Agent, AgentCommand};

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
