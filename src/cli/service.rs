//! The service of the packages, as systemd sees it: whether it has failed, and which files its user can read, since the
//! service can't read all that root can.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::config::error::CommandError;
use crate::config::options::WebhookOptions;
use crate::state::agents::{self, Agent, Status};
use crate::sys::host;

/// The unit's name.
pub const NAME: &str = "s3-audit-webhook";

/// What systemd knows about the service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its state, such as `active` or `failed`.
    pub state: String,
    /// It ends again and again, and systemd is about to start it once more.
    is_looping: bool,
    user: String,
    group: String,
    groups: Vec<String>,
    /// Directories that the unit hides from the service.
    hidden: Vec<&'static str>,
}

impl Service {
    /// `None` if there is no systemd, or no such unit.
    pub fn find() -> Option<Self> {
        let show = Command::new("systemctl").arg("show").arg(NAME).output();
        Self::parse(&String::from_utf8_lossy(&show.ok()?.stdout))
    }

    fn parse(properties: &str) -> Option<Self> {
        let mut service = Service::default();
        let mut is_loaded = false;
        for (name, value) in properties.lines().filter_map(|line| line.split_once('=')) {
            match (name, value) {
                ("LoadState", value) => is_loaded = value == "loaded",
                ("ActiveState", value) => service.state = value.into(),
                ("SubState", value) => service.is_looping = value.starts_with("auto-restart"),
                ("User", value) => service.user = value.into(),
                ("Group", value) => service.group = value.into(),
                ("SupplementaryGroups", value) => {
                    service.groups = value.split_whitespace().map(Into::into).collect();
                }
                ("ProtectHome", "yes" | "tmpfs") => {
                    service.hidden.extend(["/root", "/home", "/run/user"]);
                }
                ("PrivateTmp", "yes" | "disconnected") => {
                    service.hidden.extend(["/tmp", "/var/tmp"]);
                }
                _ => {}
            }
        }
        is_loaded.then_some(service)
    }

    /// Why it does not run, if that is not because nobody has started it.
    fn failure(&self) -> Option<String> {
        match &*self.state {
            "failed" => Some(format!(
                "the service had failed; start it again: systemctl restart {NAME}"
            )),
            _ if self.is_looping => Some(format!(
                "the service keeps failing; see why: journalctl -u {NAME} -n 20"
            )),
            _ => None,
        }
    }

    /// Why the service can't read this file, if it can't.
    fn obstacle(&self, path: &Path) -> Option<String> {
        let real = path.canonicalize().unwrap_or_else(|_| path.into());
        let is_in = |hidden: &&&str| path.starts_with(hidden) || real.starts_with(hidden);
        if let Some(hidden) = self.hidden.iter().find(is_in) {
            return Some(format!("the unit hides {hidden} from it"));
        }
        let ids = |options: &[&str]| {
            let output = Command::new("id").args(options).arg(&self.user).output();
            let output = String::from_utf8_lossy(&output.ok()?.stdout).into_owned();
            Some(
                output
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>(),
            )
        };
        let group = match self.group.as_str() {
            "" => ids(&["-g"])?.pop()?,
            group => group.to_owned(),
        };
        let groups = [ids(&["-G"])?, self.groups.clone()].concat().join(",");
        let mut as_service = Command::new("setpriv");
        as_service.args([
            "--reuid", &self.user, "--regid", &group, "--groups", &groups,
        ]);
        let status = as_service.args(["test", "-r"]).arg(path).status().ok()?;
        // Any other code means that setpriv itself has failed.
        (status.code() == Some(1)).then(|| format!("its user {} may not", self.user))
    }
}

/// What to do so that an agent runs on this host; `None` if one runs, as its status in `state_dir` or systemd says.
pub fn who_runs(state_dir: &Path) -> Option<String> {
    let service = Service::find();
    if let Some(failure) = service.as_ref().and_then(Service::failure) {
        return Some(failure);
    }
    let state = service.as_ref().map_or("", |service| &service.state);
    let (agents, _) = agents::read(state_dir).unwrap_or_default();
    let (now, host) = (SystemTime::now(), host::name());
    let runs = |agent: &Agent| agent.state["host"] == *host && agent.status(now) == Status::Up;
    if state.starts_with("activ") || agents.iter().any(runs) {
        return None;
    }
    let start = match service {
        Some(_) => format!("systemctl enable --now {NAME}"),
        None => "s3-audit-webhook run --source …".into(),
    };
    Some(format!(
        "no agent runs on this host, as far as {} shows; start one: {start}",
        state_dir.display()
    ))
}

/// Why the running service does not follow its settings file in `/etc`, if it can't read it; starting it fixes that.
pub fn cannot_follow(path: &Path) -> Option<String> {
    if host::user() != 0 || path.parent() != Some(Path::new("/etc").join(NAME).as_path()) {
        return None;
    }
    let service = Service::find().filter(|service| service.state.starts_with("activ"))?;
    let obstacle = service.obstacle(path)?;
    let fix = match path.is_symlink() {
        true => "let the service's group read what it leads to".into(),
        false => format!("systemctl restart {NAME}, which lets its group read it"),
    };
    let path = path.display();
    Some(format!(
        "{path}: the service can't read it: {obstacle}; fix: {fix}"
    ))
}

/// Checks, if run as root, that the service can read each file that the webhook's settings name and that is there.
///
/// # Errors
/// Names the first file that it can't read.
pub fn check_files(webhook: &WebhookOptions) -> Result<(), CommandError> {
    if host::user() != 0 {
        return Ok(());
    }
    let mut files = webhook.files().peekable();
    let service = files.peek().and_then(|_| Service::find());
    let Some(service) = service.filter(|service| !["", "root"].contains(&&*service.user)) else {
        return Ok(());
    };
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    for path in files.map(absolute).filter(|path| path.exists()) {
        if let Some(obstacle) = service.obstacle(&path) {
            return Err(CommandError::Failed(format!(
                "{}: the service {NAME} can't read it: {obstacle}; fix: move it to /etc/{NAME} and let the service's group \
                 read it, or hand it over with LoadCredential= in the unit",
                path.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_of_the_unit_is_understood() {
        let properties = "Restart=on-failure\nLoadState=loaded\nActiveState=failed\nUser=ceph\nGroup=\n\
                          SupplementaryGroups=adm ssl-cert\nProtectHome=yes\nPrivateTmp=no\n";
        let service = Service::parse(properties).unwrap();
        assert_eq!((&*service.state, &*service.user), ("failed", "ceph"));
        assert_eq!(service.groups, ["adm", "ssl-cert"]);
        assert!(
            service
                .obstacle(Path::new("/root/ca.pem"))
                .unwrap()
                .contains("/root")
        );
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("ca.pem");
        std::os::unix::fs::symlink("/home", &link).unwrap();
        assert!(service.obstacle(&link).unwrap().contains("hides /home"));
        assert!(!service.hidden.contains(&"/tmp"));
        assert_eq!(
            Service::parse("LoadState=not-found\nActiveState=inactive\n"),
            None
        );
        assert_eq!(Service::parse(""), None);
    }

    #[test]
    fn a_service_that_fails_and_is_started_again_does_not_run() {
        for (state, sub, what) in [
            ("active", "running", None),
            ("activating", "start", None),
            ("inactive", "dead", None),
            ("failed", "failed", Some("the service had failed; ")),
            (
                "activating",
                "auto-restart",
                Some("the service keeps failing; "),
            ),
            (
                "activating",
                "auto-restart-queued",
                Some("the service keeps failing; "),
            ),
        ] {
            let properties = format!("LoadState=loaded\nActiveState={state}\nSubState={sub}\n");
            let failure = Service::parse(&properties).unwrap().failure();
            let is_right = match what {
                Some(what) => failure.as_ref().is_some_and(|text| text.starts_with(what)),
                None => failure.is_none(),
            };
            assert!(is_right, "{sub}: {failure:?}");
        }
    }
}
