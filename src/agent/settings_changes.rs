//! Which options have changed since they were last taken over, by what a running agent does about it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::config::opt::Opt;
use crate::config::options::{RulesOptions, WebhookOptions};
use crate::config::provenance::{Origin, Provenance};
use crate::telemetry::message::Message;

/// What has happened to a setting that is not there any more.
const REMOVED: &str = "was removed";

/// The values of options, as they were written.
type Values = BTreeMap<Opt, Vec<OsString>>;

/// What a running agent does about the change of an option.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It applies other rules.
    Rules,
    /// It switches to another webhook, or is enabled or disabled.
    Webhook,
    /// It says that a restart is needed.
    Start,
}

/// The options' values that were taken over.
pub(super) struct Changes {
    /// Those with which the agent was started.
    started: Values,
    /// Those that are in effect, or whose change was logged.
    values: Values,
}

impl Changes {
    /// The agent was started with these.
    pub(super) fn new(provenance: &Provenance) -> Self {
        Changes {
            started: values(provenance),
            values: values(provenance),
        }
    }

    /// Whether the option was given when the agent was started.
    pub(super) fn was_given(&self, option: Opt) -> bool {
        self.started.contains_key(&option)
    }

    /// Whether an option of this part has changed.
    pub(super) fn is_changed(&self, part: Part, provenance: &Provenance) -> bool {
        !changed(&self.values, &values(provenance), part).is_empty()
    }

    /// Whether only the next start would use some of these values.
    pub(super) fn needs_restart(&self, provenance: &Provenance) -> bool {
        !changed(&self.started, &values(provenance), Part::Start).is_empty()
    }

    /// Takes over the options of this part. Names those that have changed.
    pub(super) fn take(&mut self, part: Part, provenance: &Provenance) -> Vec<String> {
        let changed = self.replace(part, provenance);
        let named = changed
            .into_iter()
            .map(|option| setting(option, provenance));
        let named = named.map(|(setting, what)| match what {
            REMOVED => setting + " removed",
            _ => setting,
        });
        named.collect()
    }

    /// Takes note of the options that only a restart applies. Returns a message for each that has changed.
    pub(super) fn restarts(&mut self, provenance: &Provenance) -> Vec<Message> {
        let mut changed = self.replace(Part::Start, provenance);
        changed.retain(|option| self.values.get(option) != self.started.get(option));
        let named = changed
            .into_iter()
            .map(|option| setting(option, provenance));
        let messages = named.map(|(setting, what)| Message::SettingNeedsRestart { setting, what });
        messages.collect()
    }

    fn replace(&mut self, part: Part, provenance: &Provenance) -> Vec<Opt> {
        let mut now = values(provenance);
        let changed = changed(&self.values, &now, part);
        for option in &changed {
            match now.remove(option) {
                Some(value) => self.values.insert(*option, value),
                None => self.values.remove(option),
            };
        }
        changed
    }
}

/// The options of this part whose values differ.
fn changed(previous: &Values, now: &Values, part: Part) -> Vec<Opt> {
    let webhook = WebhookOptions::declarations();
    let part_of = |option: Opt| match option {
        _ if RulesOptions::ALL.contains(&option) => Part::Rules,
        Opt::Enabled => Part::Webhook,
        _ if webhook.iter().any(|(of_webhook, _)| *of_webhook == option) => Part::Webhook,
        _ => Part::Start,
    };
    let options = Opt::ALL.iter().copied();
    let changed = options.filter(|option| previous.get(option) != now.get(option));
    changed.filter(|option| part_of(*option) == part).collect()
}

/// What the user wrote or removed, and which of both.
fn setting(option: Opt, provenance: &Provenance) -> (String, &'static str) {
    match provenance.origin(option) {
        Origin::Default => (option.variable(), REMOVED),
        _ => (provenance.name(option), "has changed"),
    }
}

fn values(provenance: &Provenance) -> Values {
    let values = |option: &Opt| provenance.raw(*option).map(Into::into).collect::<Vec<_>>();
    let all = Opt::ALL.iter().map(|option| (*option, values(option)));
    all.filter(|(_, values)| !values.is_empty()).collect()
}
