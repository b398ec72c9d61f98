//! Follows the settings file, and the files that it names: a running agent takes over another webhook, and
//! its being disabled and enabled, without a restart.
//!
//! By looking at what is in them, again and again: that works on network mounts, and for Kubernetes'
//! symbolic links. A file that does not stay the same for two looks is being written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::agent::destination;
use crate::config::invocation::{Invocation, first_line};
use crate::config::limits;
use crate::config::opt::Opt;
use crate::config::options::{Command, RunOptions, WebhookOptions};
use crate::config::provenance::Provenance;
use crate::delivery::sender::Target;
use crate::sys::latest_value::LatestValue;
use crate::telemetry::Report;
use crate::telemetry::message::Message;
use crate::telemetry::snapshot::Forwarding;
use crate::webhook::header;

/// Between two looks. A change is in force after three of them at most.
const LOOK: Duration = Duration::from_secs(1);

/// What the settings are made of: the settings file and those that it names, and what is in them.
pub type Contents = Vec<(PathBuf, Result<Vec<u8>, ErrorKind>)>;

/// The thread that follows the settings.
pub struct Watch {
    /// The command line, to be read again over the changed file.
    arguments: Vec<OsString>,
    report: Arc<Report>,
    changes: LatestValue<Option<Box<dyn Target>>>,
    /// Somebody asks to look now.
    asked: Receiver<()>,
    /// Every option's value, as far as its being changed was seen to.
    values: BTreeMap<Opt, Vec<OsString>>,
    /// There was a settings file.
    had_file: bool,
    /// What the settings in force were made of.
    in_force: Contents,
    /// What was found when it was last tried to use it.
    tried: Contents,
    /// What was found at the last look.
    seen: Contents,
    /// What was said of a wrong file.
    wrong: Option<String>,
}

impl Watch {
    /// To follow the settings that the agent has started with, made of these files' `contents` or of later
    /// ones.
    pub fn new(
        contents: Contents,
        provenance: &Provenance,
        report: Arc<Report>,
        changes: LatestValue<Option<Box<dyn Target>>>,
        asked: Receiver<()>,
    ) -> Self {
        Watch {
            arguments: provenance.arguments.clone(),
            report,
            changes,
            asked,
            values: values(provenance),
            had_file: provenance.file.settings.is_ok(),
            in_force: contents.clone(),
            // The first look finds out what has changed since.
            tried: Vec::new(),
            seen: contents,
            wrong: None,
        }
    }

    /// Looks until the agent ends.
    pub fn run(mut self) {
        loop {
            match self.asked.recv_timeout(LOOK) {
                Ok(()) => self.look(true),
                Err(RecvTimeoutError::Timeout) => self.look(false),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self, at_once: bool) {
        let found = read(self.seen.iter().map(|(path, _)| path.clone()));
        let settled = found == self.seen;
        self.seen.clone_from(&found);
        if !at_once && (!settled || found == self.tried) {
            return;
        }
        self.tried = found;
        match self.apply(at_once) {
            Ok(()) => {
                if self.wrong.take().is_some() {
                    Message::SettingsValid {}.log();
                }
            }
            Err(what) if self.wrong.as_ref() != Some(&what) => {
                self.wrong = Some(what.clone());
                Message::SettingsInvalid { error: what }.log();
            }
            Err(_) => {}
        }
    }

    fn apply(&mut self, at_once: bool) -> Result<(), String> {
        let given = Invocation::read(self.arguments.iter().cloned());
        let given = given.map_err(|error| first_line(&error))?;
        let (Command::Run(options), provenance) = (given.command, given.provenance) else {
            return Ok(());
        };
        let config = &provenance.file;
        if let (Err(kind), true) = (&config.settings, self.had_file) {
            return Err(format!("{}: can't be read: {kind}", config.path.display()));
        }
        limits::check(&options, &provenance).map_err(|error| error.0)?;
        let found = contents(&options);
        let choice = destination::choose(&options, &provenance).map_err(|error| error.0)?;
        let was_on = matches!(self.report.forwarding(), Some(Forwarding::On(_)));
        if was_on && options.enabled && choice.target.is_none() {
            return Err(format!(
                "{}: S3_AUDIT_WEBHOOK_ENDPOINT is missing; to stop forwarding use `s3-audit-webhook disable`",
                config.path.display()
            ));
        }
        if found.first() != self.tried.first() || found != contents(&options) {
            // It was changed in between: the next look finds that.
            return Ok(());
        }
        self.had_file = config.settings.is_ok();
        let mut changed: Vec<_> = found
            .iter()
            .skip(1)
            .filter(|file| !self.in_force.contains(file))
            .map(|(path, _)| path.display().to_string())
            .collect();
        let webhook = WebhookOptions::declarations();
        let is_live = |option: &Opt| {
            *option == Opt::Enabled || webhook.iter().any(|(live, _)| live == option)
        };
        let values = values(&provenance);
        for (option, value) in &values {
            if self.values.get(option) == Some(value) {
                continue;
            }
            let name = provenance.name(*option);
            if is_live(option) {
                changed.push(name);
            } else {
                Message::SettingNeedsRestart { setting: name }.log();
            }
        }
        changed.extend(
            self.values
                .keys()
                .filter(|option| !values.contains_key(*option) && is_live(option))
                .map(|option| provenance.name(*option)),
        );
        self.values = values;
        self.tried.clone_from(&found);
        self.seen.clone_from(&found);
        self.in_force = found;
        if !changed.is_empty() {
            for warning in choice.warnings {
                warning.log();
            }
            self.changes.put(choice.target);
            self.report.forwards(choice.forwarding, &changed.join(", "));
        } else if at_once {
            Message::SettingsUnchanged {}.log();
        }
        Ok(())
    }
}

fn values(provenance: &Provenance) -> BTreeMap<Opt, Vec<OsString>> {
    let values = |option: &Opt| provenance.raw(*option).map(Into::into).collect::<Vec<_>>();
    let all = Opt::ALL.iter().map(|option| (*option, values(option)));
    all.filter(|(_, values)| !values.is_empty()).collect()
}

/// What there is at this moment.
pub fn contents(options: &RunOptions) -> Contents {
    read(files(options))
}

/// The settings file, and then those that it names.
fn files(options: &RunOptions) -> impl Iterator<Item = PathBuf> {
    let webhook = &options.webhook;
    let named = [
        &webhook.auth_token_file,
        &webhook.ca_file,
        &webhook.client_cert,
        &webhook.client_key,
    ];
    let named = named.into_iter().flatten().cloned();
    let named = named.chain(webhook.headers.iter().filter_map(|text| header::file(text)));
    let named = named.collect::<Vec<_>>();
    [options.config.config.clone()].into_iter().chain(named)
}

fn read(files: impl Iterator<Item = PathBuf>) -> Contents {
    files
        .map(|path| {
            let content = fs::read(&path).map_err(|error| error.kind());
            (path, content)
        })
        .collect()
}
