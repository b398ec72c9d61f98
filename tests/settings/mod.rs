//! The settings file of a running agent: what changes in it is in force with the next request, without a restart, and
//! nothing is lost or sent twice by that; what is wrong in it changes nothing and is said.

mod another_webhook;
mod taken_over;
mod told;
mod without_webhook;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::delivery::{TOKEN, prompt};
use super::support::{Agent, AgentCommand};

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
        prompt()
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
