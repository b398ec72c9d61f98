//! Follows the settings file and the files that it names: without a restart, a running agent switches to another
//! webhook or to other rules, and is disabled and enabled.
//!
//! It polls their contents: that works on network mounts, and with Kubernetes' symbolic links. A file that differs
//! between two polls is still being written.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::agent::destination::{self, Destination};
use crate::agent::open;
use crate::agent::settings_changes::{Changes, Part};
use crate::agent::settings_files::{self, Contents, contents};
use crate::config::effect;
use crate::config::error::{CommandError, UsageError};
use crate::config::invocation::{Invocation, first_line};
use crate::config::opt::Opt;
use crate::config::options::{Command, RunOptions};
use crate::config::provenance::Provenance;
use crate::config::startable;
use crate::delivery::sender::{self, Line};
use crate::delivery::target::{Numbering, Targets};
use crate::rules::{LiveRules, Rules};
use crate::sys::thread;
use crate::telemetry::message::{self, Message};
use crate::telemetry::snapshot::Forwarding;
use crate::telemetry::{Kept, Refused, Report};
use crate::webhook::encode::Format;

/// The time between two polls. A change takes effect after at most three of them.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is logged that something has been missing since the start.
const REMIND: Duration = Duration::from_secs(60);

/// The thread that follows the settings.
pub(super) struct SettingsWatcher {
    /// The command line, to be parsed again with the changed file.
    arguments: Vec<OsString>,
    report: Arc<Report>,
    /// The way to each sender.
    senders: Vec<Line>,
    /// How many targets there have been.
    generation: u64,
    /// The rules that the sources apply.
    rules: LiveRules,
    /// Requests to read the settings now.
    requests: Receiver<()>,
    /// Which options have changed.
    changes: Changes,
    /// Warnings about settings that were logged already.
    warned: Vec<String>,
    /// There was a settings file.
    had_file: bool,
    /// What the current settings were read from.
    applied: Contents,
    /// What the last attempt to apply settings has read.
    attempted: Contents,
    /// It is to be repeated.
    repeats: bool,
    /// A request has no answer yet.
    is_asked: bool,
    /// What the last poll has read.
    polled: Contents,
    /// How events are numbered, if there is a trail.
    numbering: Option<Numbering>,
    /// Whether `http:` sources remove envelopes.
    unwraps: Arc<AtomicBool>,
    /// When it was last logged that a file of the webhook's settings has been missing since the start.
    reminded: Instant,
}

impl SettingsWatcher {
    /// Follows the settings that the agent has started with: those read from these contents, or from later ones.
    pub(super) fn new(
        (contents, options, provenance): (Contents, &RunOptions, &Provenance),
        report: Arc<Report>,
        lines: &[Line],
        rules: LiveRules,
        requests: Receiver<()>,
    ) -> Self {
        let mut applied = contents.clone();
        if let Some(Forwarding::Awaited(error)) = report.forwarding() {
            // Even if it was there a moment before, or is now: it is not in use.
            applied.retain(|(path, _)| !settings_files::lacks(&error, path));
        }
        SettingsWatcher {
            arguments: provenance.arguments.clone(),
            report,
            senders: lines.to_vec(),
            generation: 1,
            rules,
            requests,
            changes: Changes::new(provenance),
            warned: texts(&effect::warnings(options, provenance)),
            had_file: provenance.file.settings.is_ok(),
            applied,
            attempted: contents.clone(),
            // The first poll finds what has changed since then.
            repeats: true,
            is_asked: false,
            polled: contents,
            numbering: None,
            unwraps: Arc::default(),
            reminded: Instant::now(),
        }
    }

    /// Has webhooks that are switched to number events in this way.
    pub(super) fn numbering(self, numbering: Option<Numbering>) -> Self {
        SettingsWatcher { numbering, ..self }
    }

    /// Has sources remove envelopes, or not, as suits the format of what is sent.
    pub(super) fn unwraps(self, unwraps: Arc<AtomicBool>) -> Self {
        SettingsWatcher { unwraps, ..self }
    }

    /// Follows the settings in a thread of its own, until the agent ends.
    ///
    /// # Errors
    /// No more threads can be started.
    pub(super) fn spawn(self) -> io::Result<()> {
        thread::spawn("settings", || self.run())
    }

    fn run(mut self) {
        loop {
            match self.requests.recv_timeout(POLL_INTERVAL) {
                Ok(()) => self.poll(true),
                Err(RecvTimeoutError::Timeout) => self.poll(false),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn poll(&mut self, is_requested: bool) {
        self.remind();
        self.is_asked |= is_requested;
        let found = settings_files::read(self.polled.iter().map(|(path, _)| path.clone()));
        let is_settled = found == self.polled;
        let is_new = found != self.attempted;
        self.polled.clone_from(&found);
        if !is_requested && (!is_settled || !is_new && !self.repeats) {
            return;
        }
        self.attempted = found;
        let applied = self.apply();
        // It may be something that is not in these files, or that was in them for a moment only: the next poll retries.
        self.repeats = applied != Ok(true);
        match applied {
            Ok(true) => self.report.settings(None, false),
            Ok(false) => return,
            Err(refused) if self.awaits(&refused.error) => {
                self.report.settings(None, false);
                // It was logged when the agent started.
                if self.is_asked {
                    self.reminded = Instant::now();
                    Message::WebhookAwaited {
                        error: refused.error,
                    }
                    .log();
                }
            }
            Err(refused) => self.report.settings(Some(refused), self.is_asked || is_new),
        }
        self.is_asked = false;
    }

    /// Whether this has been so since the start.
    fn awaits(&self, error: &str) -> bool {
        matches!(self.report.forwarding(), Some(Forwarding::Awaited(awaited)) if awaited == error)
    }

    /// Logs now and then what has been missing since the start.
    fn remind(&mut self) {
        if let Some(Forwarding::Awaited(error)) = self.report.forwarding()
            && self.reminded.elapsed() >= REMIND
        {
            self.reminded = Instant::now();
            Message::WebhookAwaited { error }.log();
        }
    }

    /// What the settings are now.
    fn settings(&self) -> Result<(Box<RunOptions>, Provenance, Rules), String> {
        let invocation = Invocation::read(self.arguments.iter().cloned());
        let Invocation {
            command,
            provenance,
        } = invocation.map_err(|error| first_line(&error))?;
        let Command::Run(options) = command else {
            return Err("these are not the arguments of an agent".into());
        };
        if let (Err(kind), true) = (&provenance.file.settings, self.had_file) {
            let what = match kind {
                ErrorKind::NotFound => "it is not there".into(),
                kind => kind.to_string(),
            };
            let path = provenance.file.path.display();
            return Err(format!("{path}: can't be read: {what}"));
        }
        let rules = startable::check(&options, &provenance).map_err(|error| error.0)?;
        Ok((options, provenance, rules))
    }

    /// Applies the settings, unless they change meanwhile. Returns whether they are in effect.
    fn apply(&mut self) -> Result<bool, Refused> {
        let (options, provenance, rules) = self.settings().map_err(whole)?;
        let file = &provenance.file;
        let found = contents(&options);
        if found.first() != self.attempted.first() {
            return Ok(false);
        }
        // The files that they name are followed from now on, even if they can't be used yet.
        self.attempted.clone_from(&found);
        self.polled.clone_from(&found);
        self.warn(effect::warnings(&options, &provenance));
        let starts = match self.changes.needs_restart(&provenance) {
            true => open::check_opening(&options, &provenance).map(drop),
            // This agent has started with them.
            false => Ok(()),
        };
        if let Err(CommandError::Usage(UsageError(error))) = starts {
            return Err(whole(error));
        }
        let destination = self.destination(&options, &provenance, &rules);
        if found != contents(&options) {
            return Ok(false);
        }
        if let Err(refused) = &destination
            && refused.kept == Kept::Settings
        {
            return Err(refused.clone());
        }
        self.had_file = file.settings.is_ok();
        let restarts = self.changes.restarts(&provenance);
        restarts.iter().for_each(Message::log);
        if let (Err(CommandError::Failed(error)), false) = (starts, restarts.is_empty()) {
            Message::RestartWouldFail { error }.log();
        }
        let changed_rules = self.changes.take(Part::Rules, &provenance);
        if !changed_rules.is_empty() {
            self.change_rules(rules, &changed_rules);
        }
        let destination = destination?;
        let options_changed = self.changes.take(Part::Webhook, &provenance);
        let changed = [self.changed_files(&found), options_changed].concat();
        self.applied = found;
        if !changed.is_empty() {
            self.switch(destination, &options, &changed);
        } else if self.is_asked && changed_rules.is_empty() {
            Message::SettingsUnchanged {}.log();
        }
        Ok(true)
    }

    /// Where events go with these settings.
    ///
    /// # Errors
    /// They can't be used. Unless they are wrong themselves, only the webhook's have to wait: what the rules mask must not
    /// leave because of a file that is missing.
    fn destination(
        &self,
        options: &RunOptions,
        provenance: &Provenance,
        rules: &Rules,
    ) -> Result<Destination, Refused> {
        let was_enabled = matches!(self.report.forwarding(), Some(Forwarding::On(_)));
        let chosen = destination::choose(options, provenance).map_err(|error| {
            let is_other = self.changes.is_changed(Part::Webhook, provenance);
            // With the same options, it is what their files contain, or something of the host.
            let can_wait = !is_other || settings_files::is_of_file(&error.0, &options.webhook);
            // What another webhook may know is not for the present one.
            let is_private = is_other && was_enabled && !self.rules.unmasked_by(rules).is_empty();
            Refused {
                error: error.0,
                kept: match can_wait && !is_private {
                    true => Kept::Webhook,
                    false => Kept::Settings,
                },
            }
        });
        let mut destination = chosen?;
        if let (Some(targets), Some(numbering)) = (&mut destination.targets, &self.numbering) {
            targets.number(numbering);
        }
        if was_enabled && options.enabled && destination.targets.is_none() {
            return Err(whole(format!(
                "{}: {} is missing; fix: set it, or use `s3-audit-webhook disable` to stop forwarding",
                provenance.file.path.display(),
                Opt::Endpoint.variable()
            )));
        }
        Ok(destination)
    }

    /// Logs what is new about settings that do nothing, or all of it for who asks.
    fn warn(&mut self, warnings: Vec<Message>) {
        let known = std::mem::replace(&mut self.warned, texts(&warnings));
        let due = |warning: &&Message| self.is_asked || !known.contains(&warning.text());
        warnings.iter().filter(due).for_each(Message::log);
    }

    /// Has the senders use another webhook, or none.
    fn switch(&mut self, destination: Destination, options: &RunOptions, changed: &[String]) {
        for warning in destination.warnings {
            warning.log();
        }
        // What was given at the start holds until the next one.
        if !self.changes.was_given(Opt::HecInput) {
            let is_hec = options.webhook.format == Format::Hec;
            self.unwraps.store(!is_hec, Ordering::Relaxed);
        }
        self.change(destination.targets);
        let changed = changed.join(", ");
        self.report.forwards(destination.forwarding, &changed);
    }

    /// Has the sources apply other rules.
    fn change_rules(&self, rules: Rules, changed: &[String]) {
        let description = message::Rules(rules.describe());
        let unmasked = self.rules.replace(rules);
        self.report.filters(&self.rules.excluding());
        // Only now, so that whoever reads this line can rely on it.
        Message::RulesChanged {
            changed: changed.join(", "),
            rules: description,
        }
        .log();
        if !unmasked.is_empty() {
            let fields = unmasked.join(", ");
            Message::MaskingRemoved { fields }.log();
        }
    }

    /// Hands each sender the target, with its own connection.
    fn change(&mut self, targets: Option<Targets>) {
        self.generation += 1;
        sender::change(&self.senders, self.generation, targets, &self.report);
    }

    /// The files that the settings name and whose content has changed.
    fn changed_files(&self, found: &Contents) -> Vec<String> {
        let named = found.iter().skip(1);
        let changed = named.filter(|file| !self.applied.contains(file));
        changed
            .map(|(path, _)| path.display().to_string())
            .collect()
    }
}

/// All of the settings are refused.
fn whole(error: String) -> Refused {
    Refused {
        error,
        kept: Kept::Settings,
    }
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(Message::text).collect()
}

#[cfg(test)]
mod tests;
