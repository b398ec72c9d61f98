//! `show`: what is configured, where each value comes from, and the status of all agents.
//!
//! With `--json` it prints one object, whose names are stable:
//!
//! - `webhook`: `enabled` (null if this user may not read the file), `settings_file`, and each setting of the webhook
//!   that has a value, under its option's name with `_` for `-`; `endpoint` and `auth_token` are null if not set.
//!   `origins` has for each of them where it comes from: a line of the file, or a variable. Null if the settings are
//!   wrong.
//! - `agents`: for each its `name` in the state directory, `status` (`up`, `ended`, or `silent` if it has not
//!   reported for three minutes), `heard_seconds_ago`, and what it has written: `version`, `host`, `pid`; `started`,
//!   `written` and `ended` (null while it runs); `webhook` with `state` (`connected`, `failing`, `disabled`, or
//!   `untried` before its first answer), `endpoint`, `endpoints` (if there are several, each with `name`,
//!   `failing_since` and `why`), `failing_since`, `why`, `last_delivery`; `sources`, each
//!   with `name`, `received`, `away_since`, `why`, `requests_refused` by reason, `last_refused`, `lost_bytes`,
//!   `lag_bytes`, `lag_seconds`, `unreadable`; `received`, `recovered`, `delivered`, `dropped` by reason, `rejected`, `filtered` by
//!   rule, `redacted_values`, `redelivered`, `in_buffer`, and how many of those are `posted_not_indexed`;
//!   `spool` with `bytes`, `limit`, `events`, `oldest_seconds`,
//!   `corrupt_bytes`; `settings_rejected` with `since` and `why`; `trail` with `stream`, `last` (the number that was
//!   assigned last), `pending` (records that were not delivered); and `last_error` with `at` and `what`. Times are RFC
//!   3339 by the agent's clock. What does not apply is null.

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::agent::{self, destination, proxy_choice};
use crate::cli::agent_text::block;
use crate::cli::terminal::{Paint, columns, print, shown};
use crate::config::error::{CommandError, UsageError};
use crate::config::file::SettingsFile;
use crate::config::invocation::{Invocation, first_line};
use crate::config::opt::Opt;
use crate::config::options::{Command, RunOptions, ShowOptions, WebhookOptions};
use crate::config::provenance::{Origin, Provenance};
use crate::config::startable;
use crate::state::agents::{self, Agent};
use crate::sys::exit;
use crate::telemetry::message::Message;
use crate::text::small_file;
use crate::text::token::Token;
use crate::webhook::endpoint::{self, Endpoint};
use crate::webhook::proxy::Proxy;

/// The time between two refreshes of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// How far the clock of the state directory's filesystem may be ahead of the local one.
const MAX_AHEAD: Duration = Duration::from_secs(3600);

/// The settings that an agent without flags would have.
struct Settings {
    /// `enabled`, `disabled`, `not set`, `wrong`, or `not known` if this user may not read the file.
    state: &'static str,
    /// What has enabled or disabled forwarding.
    enabled_by: String,
    /// The settings of the webhook that have a value.
    values: Vec<Setting>,
    /// The settings file.
    config: SettingsFile,
}

struct Setting {
    /// The option's field.
    id: String,
    /// The option without its `--`.
    flag: String,
    /// Without its secret parts.
    value: String,
    origin: String,
}

/// What goes to standard error.
#[derive(Default)]
struct Remarks {
    lines: Vec<String>,
    /// Something could not be determined.
    failed: bool,
}

impl Remarks {
    fn fail(&mut self, line: String) {
        self.lines.push(line);
        self.failed = true;
    }
}

/// Prints the status, once or repeatedly.
///
/// # Errors
/// Standard output can't be written to.
pub fn show(options: &ShowOptions, provenance: &Provenance) -> Result<ExitCode, CommandError> {
    let is_terminal = io::stdout().is_terminal();
    loop {
        let mut remarks = Remarks::default();
        let mut text = look(options, provenance, &mut remarks);
        if options.watch && is_terminal {
            text.insert_str(0, "\x1b[H\x1b[2J");
        }
        for line in remarks.lines {
            let _ = writeln!(io::stderr(), "s3-audit-webhook: {}", shown(&line));
        }
        if !print(io::stdout(), &text)? || !options.watch {
            return Ok(exit::code(!remarks.failed));
        }
        thread::sleep(WATCH_INTERVAL);
    }
}

/// Everything to print now.
fn look(options: &ShowOptions, provenance: &Provenance, remarks: &mut Remarks) -> String {
    let settings = Settings::read(&provenance.file, remarks);
    let agents = read_agents(options, provenance, remarks);
    let now = now(agents.iter().flatten(), SystemTime::now());
    if options.json {
        let agents = agents.iter().flatten().map(|agent| agent.json(now));
        let all = json!({
            "webhook": settings.as_ref().and_then(Settings::json),
            "agents": agents.collect::<Vec<_>>(),
        });
        return harmless(&format!("{all:#}\n"));
    }
    let paint = Paint(options.color.is_on());
    let settings = settings.as_ref().map(Settings::text);
    let agents = agents.map(|agents| match agents.as_slice() {
        [] => vec![format!(
            "no agent has reported in {}\n",
            shown(&options.state.state_dir.to_string_lossy())
        )],
        agents => {
            let blocks = agents.iter().map(|agent| block(agent, now, paint));
            blocks.collect()
        }
    });
    let parts = settings.into_iter().chain(agents.into_iter().flatten());
    parts.collect::<Vec<_>>().join("\n")
}

/// The time by the clock of the agents' filesystem, which may be ahead of this one. What is far ahead is a wrong date.
fn now<'a>(agents: impl Iterator<Item = &'a Agent>, local: SystemTime) -> SystemTime {
    let heard = agents.map(|agent| agent.heard);
    let credible = heard.filter(|heard| *heard <= local + MAX_AHEAD);
    credible.fold(local, SystemTime::max)
}

/// JSON leaves characters unescaped that a terminal obeys or does not show, such as U+009B or U+202E.
fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c > '~' && c.escape_debug().count() > 1 {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text += &format!("\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

fn read_agents(
    options: &ShowOptions,
    provenance: &Provenance,
    remarks: &mut Remarks,
) -> Option<Vec<Agent>> {
    let dir = &options.state.state_dir;
    match agents::read(dir) {
        Ok((mut agents, wrong)) => {
            remarks.lines.extend(wrong);
            if options.prune {
                match agents::prune(dir, &agents, SystemTime::now()) {
                    Ok(pruned) => agents.retain(|agent| !pruned.contains(&agent.name)),
                    Err(error) => remarks.fail(format!("--prune: {}: {error}", dir.display())),
                }
            }
            Some(agents)
        }
        // No agent has created it yet.
        Err(error)
            if error.kind() == ErrorKind::NotFound
                && provenance.origin(Opt::StateDir) == Origin::Default =>
        {
            Some(Vec::new())
        }
        Err(error) => {
            let name = provenance.name(Opt::StateDir);
            remarks.fail(format!("{name}: {}: can't be read: {error}", dir.display()));
            None
        }
    }
}

impl Settings {
    /// Reads the settings as `run` does.
    fn read(config: &SettingsFile, remarks: &mut Remarks) -> Option<Self> {
        let mut arguments: Vec<OsString> = vec!["s3-audit-webhook".into(), "run".into()];
        if config.is_given {
            let mut argument = OsString::from("--config=");
            argument.push(&config.path);
            arguments.push(argument);
        }
        let Invocation {
            command,
            provenance,
        } = match Invocation::read(arguments) {
            Ok(given) => given,
            Err(error) => {
                remarks.fail(first_line(&error));
                return None;
            }
        };
        let Command::Run(options) = command else {
            return None;
        };
        let warnings = provenance.warnings();
        remarks.lines.extend(warnings.iter().map(Message::text));
        let unread = provenance.file.settings.as_ref().err();
        let is_unread = unread.is_some_and(|kind| *kind != ErrorKind::NotFound);
        remarks.failed |= is_unread;
        let has_endpoint = !options.webhook.endpoints.is_empty();
        let values = values(&options, &provenance);
        let state = match (check(&options, &provenance, remarks), options.enabled) {
            (Err(error), _) => {
                remarks.fail(error.0);
                "wrong"
            }
            (Ok(()), false) => "disabled",
            (Ok(()), true) if has_endpoint => "enabled",
            (Ok(()), true) if is_unread => "not known",
            (Ok(()), true) => "not set",
        };
        Some(Settings {
            state,
            enabled_by: origin(&provenance, Opt::Enabled),
            values,
            config: provenance.file,
        })
    }

    fn json(&self) -> Option<Value> {
        if self.state == "wrong" {
            return None;
        }
        let mut webhook = json!({
            "enabled": (self.state != "not known").then_some(self.state == "enabled"),
            "settings_file": self.config.path.to_string_lossy(),
            "endpoint": null,
            "auth_token": null,
            "origins": {},
        });
        if !self.enabled_by.is_empty() {
            webhook["origins"]["enabled"] = self.enabled_by.as_str().into();
        }
        for setting in &self.values {
            webhook["origins"][&setting.id] = setting.origin.as_str().into();
            webhook[&setting.id] = setting.value.as_str().into();
        }
        Some(webhook)
    }

    fn text(&self) -> String {
        let mut rows = vec![["webhook", self.state, self.enabled_by.as_str()]];
        let values = self.values.iter();
        rows.extend(values.map(|setting| [&*setting.flag, &*setting.value, &*setting.origin]));
        let mut text = columns(&rows);
        if self.state == "not set" {
            let path = shown(&self.config.path.to_string_lossy());
            let new = match self.config.settings {
                Err(_) => " (not there yet)",
                Ok(_) => "",
            };
            text += &format!(
                "\n`s3-audit-webhook enable` sets it in {path}{new} for all agents that read that\n"
            );
        }
        text
    }
}

/// Checks what `run` would end for, whatever its flags.
fn check(
    options: &RunOptions,
    provenance: &Provenance,
    remarks: &mut Remarks,
) -> Result<(), UsageError> {
    startable::check(options, provenance)?;
    if options.webhook.endpoints.is_empty() {
        return Ok(());
    }
    match destination::choose(options, provenance) {
        // An agent waits for the file; and only the agents' user may be allowed to read it.
        Err(error) if agent::is_awaited(&error, options) => remarks.lines.push(error.0),
        chosen => drop(chosen?),
    }
    Ok(())
}

/// The webhook's settings that are not defaults, without what can't be read or parsed.
fn values(options: &RunOptions, provenance: &Provenance) -> Vec<Setting> {
    let webhook = &options.webhook;
    let token = destination::token_option(webhook, provenance).ok();
    let proxy = proxy_choice::option(webhook, provenance).ok().flatten();
    let mut values = Vec::new();
    for (option, argument) in WebhookOptions::declarations() {
        let flag = argument.get_long().unwrap_or_default();
        if provenance.origin(option) == Origin::Default {
            continue;
        }
        let mut add = |flag: &str, value: String, origin: String| {
            values.push(Setting {
                id: flag.replace('-', "_"),
                flag: flag.into(),
                value,
                origin,
            });
        };
        let raw = || raw(option, provenance);
        let origin = origin(provenance, option);
        match option {
            Opt::Endpoint => {
                let urls = webhook.endpoints().map(Endpoint::parse);
                let urls = urls.map(|url| Ok(endpoint::shown(&url?.uri().to_string())));
                if let Ok(urls) = urls.collect::<Result<Vec<_>, String>>() {
                    add(flag, urls.join(" "), origin);
                }
            }
            // The other option is in effect.
            Opt::AuthToken | Opt::AuthTokenFile if token != Some(option) => {}
            Opt::Proxy | Opt::NoProxy if proxy != Some(option) => {}
            Opt::AuthToken => {
                if let Ok(token) = Token::parse(&raw()) {
                    add(flag, token.masked(), origin);
                }
            }
            Opt::AuthTokenFile => {
                let path = raw();
                if let Ok(token) = Token::from_file(path.as_ref()) {
                    add("auth-token", token.masked(), path.clone());
                }
                add(flag, path, origin);
            }
            Opt::Proxy => {
                if let Ok(proxy) = Proxy::parse(&raw(), "") {
                    add(flag, format!("http://{proxy}"), origin);
                }
            }
            _ if argument.is_hide_env_values_set() => add(flag, "…".into(), origin),
            _ => add(flag, raw(), origin),
        }
    }
    values
}

/// An option's values as they were written, unless they may be a secret where its file's name belongs.
fn raw(option: Opt, provenance: &Provenance) -> String {
    let values = provenance.raw(option);
    let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
    let text = values.join(",");
    let has_secret = [
        Opt::AuthTokenFile,
        Opt::SignKeyFile,
        Opt::ClientCert,
        Opt::ClientKey,
    ]
    .contains(&option);
    match has_secret && small_file::check_name(text.as_ref()).is_err() {
        true => "…".into(),
        false => text,
    }
}

/// Where an option's value comes from; empty for a default.
fn origin(provenance: &Provenance, option: Opt) -> String {
    match provenance.origin(option) {
        Origin::Default => String::new(),
        _ => provenance.location(option),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_by_the_clock_that_is_ahead_unless_it_is_wrong() {
        let local = SystemTime::now();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for (heard, expected) in [
            (vec![], local),
            (vec![local - minutes(5)], local),
            (
                vec![local + minutes(30), local + minutes(20)],
                local + minutes(30),
            ),
            (
                vec![local + minutes(61), local + minutes(20)],
                local + minutes(20),
            ),
        ] {
            let agents: Vec<_> = heard
                .into_iter()
                .map(|heard| Agent {
                    name: "a".into(),
                    heard,
                    state: Value::Null,
                })
                .collect();
            assert_eq!(now(agents.iter(), local), expected);
        }
    }

    #[test]
    fn json_for_a_terminal_is_the_same_json() {
        let value = json!("a\u{7f}\u{9b}\u{202e}\u{200b}\u{feff}\u{e0041}é\n");
        let text = harmless(&value.to_string());
        assert_eq!(
            text,
            "\"a\\u007f\\u009b\\u202e\\u200b\\ufeff\\udb40\\udc41é\\n\""
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
