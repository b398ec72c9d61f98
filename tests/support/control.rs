//! A settings file, and the commands that change it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use tempfile::TempDir;

use super::Agent;

pub(crate) const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
/// The part of the token that must not be shown.
pub(crate) const SECRET: &str = "B5A79AAD-D822";
/// Nobody listens here.
pub(crate) const ENDPOINT: &str = "https://127.0.0.1:9/services/collector/raw";

/// Enables it without a test event.
pub(crate) const ENABLE: [&str; 6] = [
    "enable",
    "--no-test",
    "--endpoint",
    ENDPOINT,
    "--auth-token",
    TOKEN,
];

/// A settings file, which may exist or not.
pub(crate) struct Settings {
    pub(crate) dir: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Settings {
    pub(crate) fn new() -> Self {
        Settings {
            dir: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn of(text: &str) -> Self {
        let settings = Settings::new();
        fs::write(settings.path(), text).unwrap();
        fs::set_permissions(settings.path(), fs::Permissions::from_mode(0o600)).unwrap();
        settings
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("webhook.env")
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// Whether the file has this line.
    pub(crate) fn has(&self, line: &str) -> bool {
        self.text().lines().any(|found| found == line)
    }

    /// Runs a command on the file, in its directory; asserts that the token is not shown.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, "", &[])
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &str, env: &[(&str, &str)]) -> Said {
        let mut command = Agent::command()
            .args(args)
            .env("S3_AUDIT_WEBHOOK_CONFIG", self.path())
            .input(input);
        for (name, value) in env {
            command = command.env(name, value);
        }
        let ended = command.run();
        let said = Said {
            code: ended.code,
            stdout: String::from_utf8(ended.stdout).unwrap(),
            stderr: ended.log,
        };
        assert!(!format!("{said:?}").contains(SECRET), "{said:?}");
        assert!(!said.stderr.contains("panicked"), "{said:?}");
        said
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(crate) fn must(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
        said.stdout
    }

    #[track_caller]
    pub(crate) fn enable(&self, more: &[&str]) -> String {
        self.must(&[&ENABLE, more].concat())
    }

    /// The inode, and the time of the last write.
    pub(crate) fn version(&self) -> (u64, i64, i64) {
        let metadata = fs::metadata(self.path()).unwrap();
        (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
    }
}
