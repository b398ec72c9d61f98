//! Follows the settings file and the files that it names: without a restart, a running agent switches to another
//! webhook or to other rules, and is disabled and enabled.
//!
//! It polls their contents: that works on network mounts, and with Kubernetes' symbolic links. A file that differs
//! between two polls is still being written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::agent::destination;
use crate::config::effect;
use crate::config::invocation::{Invocation, first_line};
use crate::config::opt::Opt;
use crate::config::options::{Command, RulesOptions, RunOptions, WebhookOptions};
use crate::config::provenance::{Origin, Provenance};
use crate::config::startable;
use crate::delivery::sender::{self, Line};
use crate::delivery::target::{Numbering, Targets};
use crate::rules::{LiveRules, Rules};
use crate::sys::thread;
use crate::telemetry::Report;
use crate::telemetry::message::{self, Message};
use crate::telemetry::snapshot::Forwarding;
use crate::text::small_file;
use crate::webhook::encode::Format;
use crate::webhook::header;

/// The time between two polls. A change takes effect after at most three of them.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is logged that something has been missing since the start.
const REMIND: Duration = Duration::from_secs(60);

/// What has happened to a setting that is not there any more.
const REMOVED: &str = "was removed";

/// The settings file and the files that it names, each with its content.
pub type Contents = Vec<(PathBuf, Result<Vec<u8>, ErrorKind>)>;

/// The thread that follows the settings.
pub struct SettingsWatcher {
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
    /// The options' values with which the agent was started.
    started: BTreeMap<Opt, Vec<OsString>>,
    /// Those that are in effect, or whose change was logged.
    values: BTreeMap<Opt, Vec<OsString>>,
    /// Warnings about settings that were logged already.
    warned: Vec<String>,
    /// There was a settings file.
    had_file: bool,
    /// What the current settings were read from.
    applied: Contents,
    /// What the last attempt to apply settings has read, unless it is to be repeated.
    attempted: Contents,
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
    pub fn new(
        (contents, options, provenance): (Contents, &RunOptions, &Provenance),
        report: Arc<Report>,
        lines: &[Line],
        rules: LiveRules,
        requests: Receiver<()>,
    ) -> Self {
        let mut applied = contents.clone();
        if let Some(Forwarding::Awaited(error)) = report.forwarding() {
            // Even if it was there a moment before, or is now: it is not in use.
            applied.retain(|(path, _)| !lacks(&error, path));
        }
        SettingsWatcher {
            arguments: provenance.arguments.clone(),
            report,
            senders: lines.to_vec(),
            generation: 1,
            rules,
            requests,
            started: values(provenance),
            values: values(provenance),
            warned: texts(&effect::warnings(options, provenance)),
            had_file: provenance.file.settings.is_ok(),
            applied,
            // The first poll finds what has changed since then.
            attempted: Vec::new(),
            polled: contents,
            numbering: None,
            unwraps: Arc::default(),
            reminded: Instant::now(),
        }
    }

    /// Has webhooks that are switched to number events in this way.
    pub fn numbering(self, numbering: Option<Numbering>) -> Self {
        SettingsWatcher { numbering, ..self }
    }

    /// Has sources remove envelopes, or not, as suits the format of what is sent.
    pub fn unwraps(self, unwraps: Arc<AtomicBool>) -> Self {
        SettingsWatcher { unwraps, ..self }
    }

    /// Follows the settings in a thread of its own, until the agent ends.
    ///
    /// # Errors
    /// No more threads can be started.
    pub fn spawn(self) -> io::Result<()> {
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
        let found = read(self.polled.iter().map(|(path, _)| path.clone()));
        let is_settled = found == self.polled;
        self.polled.clone_from(&found);
        if !is_requested && (!is_settled || found == self.attempted) {
            return;
        }
        self.attempted = found;
        let applied = self.apply(is_requested);
        if applied != Ok(true) {
            // It may be something that is not in these files, or that was in them for a moment only: the next poll retries.
            self.attempted.clear();
        }
        match applied {
            Ok(true) => self.report.settings(None),
            Ok(false) => {}
            // Logged when the agent started.
            Err(error) if self.report.forwarding() == Some(Forwarding::Awaited(error.clone())) => {}
            Err(error) => self.report.settings(Some(error)),
        }
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
    fn apply(&mut self, is_requested: bool) -> Result<bool, String> {
        let (options, provenance, rules) = self.settings()?;
        let file = &provenance.file;
        let found = contents(&options);
        if found.first() != self.attempted.first() {
            return Ok(false);
        }
        // The files that they name are followed from now on, even if they can't be used yet.
        self.attempted.clone_from(&found);
        self.polled.clone_from(&found);
        self.warn(effect::warnings(&options, &provenance), is_requested);
        let mut destination =
            destination::choose(&options, &provenance).map_err(|error| error.0)?;
        if let (Some(targets), Some(numbering)) = (&mut destination.targets, &self.numbering) {
            targets.number(numbering);
        }
        let was_enabled = matches!(self.report.forwarding(), Some(Forwarding::On(_)));
        if was_enabled && options.enabled && destination.targets.is_none() {
            return Err(format!(
                "{}: {} is missing; fix: set it, or use `s3-audit-webhook disable` to stop forwarding",
                file.path.display(),
                Opt::Endpoint.variable()
            ));
        }
        if found != contents(&options) {
            return Ok(false);
        }
        self.had_file = file.settings.is_ok();
        let (changed_options, changed_rules) = self.changed_options(&provenance);
        let changed = [self.changed_files(&found), changed_options].concat();
        self.applied = found;
        if !changed_rules.is_empty() {
            self.change_rules(rules, &changed_rules);
        }
        if !changed.is_empty() {
            for warning in destination.warnings {
                warning.log();
            }
            let changed = changed.join(", ");
            // What was given at the start holds until the next one.
            if !self.started.contains_key(&Opt::HecInput) {
                let is_hec = options.webhook.format == Format::Hec;
                self.unwraps.store(!is_hec, Ordering::Relaxed);
            }
            self.change(destination.targets);
            self.report.forwards(destination.forwarding, &changed);
        } else if is_requested && changed_rules.is_empty() {
            Message::SettingsUnchanged {}.log();
        }
        Ok(true)
    }

    /// Logs what is new about settings that do nothing, or all of it for who asks.
    fn warn(&mut self, warnings: Vec<Message>, is_requested: bool) {
        let known = std::mem::replace(&mut self.warned, texts(&warnings));
        let due = |warning: &&Message| is_requested || !known.contains(&warning.text());
        warnings.iter().filter(due).for_each(Message::log);
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

    /// The changed options that a running agent follows: those of the webhook, and those of the rules. Changes of
    /// others are logged.
    fn changed_options(&mut self, provenance: &Provenance) -> (Vec<String>, Vec<String>) {
        let previous = std::mem::replace(&mut self.values, values(provenance));
        let webhook = WebhookOptions::declarations();
        let is_live =
            |option: Opt| option == Opt::Enabled || webhook.iter().any(|(live, _)| *live == option);
        let (mut changed, mut changed_rules) = (Vec::new(), Vec::new());
        for option in Opt::ALL.iter().copied() {
            let value = self.values.get(&option);
            if value == previous.get(&option) {
                continue;
            }
            let (setting, what) = match provenance.origin(option) {
                Origin::Default => (option.variable(), REMOVED),
                _ => (provenance.name(option), "has changed"),
            };
            let is_rule = RulesOptions::ALL.contains(&option);
            let list = if is_rule {
                &mut changed_rules
            } else {
                &mut changed
            };
            if is_rule || is_live(option) {
                list.push(setting + if what == REMOVED { " removed" } else { "" });
            } else if value != self.started.get(&option) {
                Message::SettingNeedsRestart { setting, what }.log();
            }
        }
        (changed, changed_rules)
    }
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(Message::text).collect()
}

fn values(provenance: &Provenance) -> BTreeMap<Opt, Vec<OsString>> {
    let values = |option: &Opt| provenance.raw(*option).map(Into::into).collect::<Vec<_>>();
    let all = Opt::ALL.iter().map(|option| (*option, values(option)));
    all.filter(|(_, values)| !values.is_empty()).collect()
}

/// The current contents of the settings file and the files that it names.
pub fn contents(options: &RunOptions) -> Contents {
    let config = Some(options.config.config.clone());
    read(config.into_iter().chain(named_files(&options.webhook)))
}

/// Whether this error says that the file is missing or can't be read, and not what is wrong with its content.
pub fn lacks(error: &str, path: &Path) -> bool {
    let what = format!("{} can't be read", path.display());
    error.contains(&what) && !error.contains(small_file::NOT_UTF8)
}

/// The files that the webhook's settings name.
pub fn named_files(webhook: &WebhookOptions) -> impl Iterator<Item = PathBuf> {
    let named = [
        &webhook.auth_token_file,
        &webhook.sign_key_file,
        &webhook.ca_file,
        &webhook.client_cert,
        &webhook.client_key,
    ];
    let named = named.into_iter().flatten().cloned();
    let in_headers = webhook.headers.iter().filter_map(|text| header::file(text));
    named.chain(in_headers)
}

fn read(files: impl Iterator<Item = PathBuf>) -> Contents {
    files
        .map(|path| {
            let content = small_file::read(&path).map_err(|error| error.kind());
            (path, content)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use crossbeam_channel::never;

    use super::*;
    use crate::telemetry::expiry::Expiries;

    /// What an agent that was started with these arguments has.
    fn watcher(arguments: &str, forwarding: Forwarding) -> (SettingsWatcher, Arc<Report>) {
        let invocation = Invocation::read(arguments.split(' ').map(OsString::from)).unwrap();
        let Command::Run(options) = invocation.command else {
            panic!("not run");
        };
        let report = Arc::new(Report::new(Duration::from_secs(1), Vec::new()));
        report.forwards(forwarding, "");
        let settings = (contents(&options), &*options, &invocation.provenance);
        let rules = LiveRules::new(Rules::default());
        let watcher = SettingsWatcher::new(settings, Arc::clone(&report), &[], rules, never());
        (watcher, report)
    }

    #[test]
    fn nothing_is_known_of_a_webhook_before_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("webhook.env");
        let write = |host: &str, enabled: bool| {
            let text = format!(
                "S3_AUDIT_WEBHOOK_ENDPOINT=http://{host}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN=none\n\
                 S3_AUDIT_WEBHOOK_ENABLED={enabled}\n"
            );
            fs::write(&file, text).unwrap();
        };
        write("a", true);
        let arguments = format!("x run --config {}", file.display());
        let (mut watcher, report) = watcher(&arguments, Forwarding::On("a".into()));
        for (host, enabled) in [("b", true), ("b", false), ("b", true)] {
            report.delivery_restored();
            report.delivery_failed("no", None, Duration::ZERO);
            report.webhook_clock(0, 9);
            let expiries = Expiries {
                webhook: Some(SystemTime::now()),
                ..Expiries::default()
            };
            report.certificates("a".into(), expiries);
            write(host, enabled);
            watcher.poll(true);
            let now = report.snapshot();
            assert_eq!(report.is_forwarding(), enabled);
            let known = (now.reached, now.outage, now.clock_skew, now.expiries);
            assert_eq!(known, (false, None, None, Expiries::default()));
        }
    }

    /// While the agent started, the file was there, gone, and there again.
    #[test]
    fn a_file_that_was_only_missing_while_the_webhook_was_set_up_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        fs::write(&token, "Splunk x").unwrap();
        let arguments = "x run --config /missing --endpoint http://h/ --auth-token-file";
        let arguments = format!("{arguments} {}", token.display());
        let error = format!("--auth-token-file: {} can't be read: x", token.display());
        let (mut watcher, report) = watcher(&arguments, Forwarding::Awaited(error));
        watcher.poll(false);
        let now = report.forwarding();
        assert!(matches!(now, Some(Forwarding::On(_))), "{now:?}");
    }
}
