//! Where the value of each option comes from, so that a message can name what its reader wrote.

use std::cmp::Ordering;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::config::error::{CommandError, UsageError};
use crate::config::file::SettingsFile;
use crate::config::opt::{Opt, PREFIX};
use crate::telemetry::log;
use crate::telemetry::message::Message;

/// Where a value comes from; later ones win over earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The option is not set.
    Default,
    /// A line of the settings file.
    File(PathBuf, usize),
    /// The environment.
    Variable,
    /// The command line.
    Flag,
}

/// Where the values of a command's options come from.
pub struct Provenance {
    /// The command line.
    pub arguments: Vec<OsString>,
    /// The settings file.
    pub file: SettingsFile,
    pub(super) matches: ArgMatches,
    /// The command reads the environment.
    pub(super) uses_environment: bool,
}

impl fmt::Debug for Provenance {
    /// The arguments may contain a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provenance(…)")
    }
}

impl Provenance {
    /// An error that names the option as its user wrote it.
    pub fn error(&self, option: Opt, what: impl fmt::Display) -> UsageError {
        UsageError(format!("{}: {what}", self.name(option)))
    }

    /// The flag, variable or line that sets the option, with its name; the flag if nothing sets it.
    pub fn name(&self, option: Opt) -> String {
        match self.origin(option) {
            Origin::Variable => option.variable(),
            Origin::File(path, line) => {
                format!("{}:{line}: {}", path.display(), option.variable())
            }
            Origin::Flag | Origin::Default => option.flag(),
        }
    }

    /// Where the option is set, for a reader who knows which option is meant: `FILE:LINE`, the variable or the
    /// flag.
    pub fn location(&self, option: Opt) -> String {
        match self.origin(option) {
            Origin::File(path, line) => format!("{}:{line}", path.display()),
            _ => self.name(option),
        }
    }

    /// Where the option's value comes from.
    pub fn origin(&self, option: Opt) -> Origin {
        match (
            self.matches.value_source(option.id()),
            self.file.setting(option),
        ) {
            (Some(ValueSource::CommandLine), _) => Origin::Flag,
            (Some(ValueSource::EnvVariable), _) => Origin::Variable,
            (_, Some(setting)) => Origin::File(self.file.path.clone(), setting.line),
            _ => Origin::Default,
        }
    }

    /// Which of two mutually exclusive options is in effect if both are set: a flag wins over the environment, and that
    /// over the settings file.
    ///
    /// # Errors
    /// Both are set in one place.
    pub fn stronger(&self, one: Opt, other: Opt) -> Result<Opt, UsageError> {
        // Two lines of the file are the same place.
        let rank = |option| match self.origin(option) {
            Origin::File(path, _) => Origin::File(path, 0),
            origin => origin,
        };
        match rank(one).cmp(&rank(other)) {
            Ordering::Greater => Ok(one),
            Ordering::Less => Ok(other),
            Ordering::Equal => Err(UsageError(format!(
                "{} and {} are both set; fix: give one of them",
                self.name(one),
                self.name(other)
            ))),
        }
    }

    /// The option's values as they were written; empty if the command has no such option.
    pub fn raw(&self, option: Opt) -> impl Iterator<Item = &OsStr> {
        let values = self.matches.try_get_raw(option.id());
        values.ok().flatten().into_iter().flatten()
    }

    /// An environment variable that belongs to no option, such as `https_proxy`.
    pub fn variable(&self, name: &str) -> Option<String> {
        let value = env::var_os(name).filter(|_| self.uses_environment)?;
        Some(value.to_string_lossy().into_owned())
    }

    /// Checks that, if no webhook is set, none can be in a settings file that this user may not read.
    ///
    /// # Errors
    /// There may be one. An administrator can change that while a service retries.
    pub fn check_readable(&self, has_webhook: bool) -> Result<(), CommandError> {
        let is_hidden = self.file.settings == Err(ErrorKind::PermissionDenied);
        if !is_hidden || has_webhook {
            return Ok(());
        }
        Err(CommandError::Failed(format!(
            "{}: this user may not read the settings; fix: run this as root, or give --endpoint and --auth-token",
            self.file.path.display()
        )))
    }

    /// What an operator should know at the start: that this user may not read the settings file, which names in it are
    /// none of a setting, and which in the environment only look like one, so that typing errors are noticed.
    pub fn warnings(&self) -> Vec<Message> {
        let path = self.file.path.display();
        let in_file = self.file.settings().iter();
        let in_file = in_file.filter_map(|setting| {
            let place = format!("{path}:{}: ", setting.line);
            unknown(&setting.name, true, place)
        });
        let in_environment = env::vars_os().filter_map(|(name, _)| {
            let name = name.into_string().ok()?;
            unknown(&name, false, String::new())
        });
        let unreadable = self.file.settings.as_ref().err();
        let unreadable = unreadable.filter(|kind| **kind != ErrorKind::NotFound);
        let unreadable = unreadable.map(|kind| Message::SettingsUnreadable {
            path: path.to_string(),
            error: kind.to_string(),
        });
        let unreadable = unreadable.into_iter();
        unreadable.chain(in_file).chain(in_environment).collect()
    }
}

/// A message if a name is none of a setting where it is. In the environment it must look like one.
fn unknown(name: &str, in_file: bool, place: String) -> Option<Message> {
    let upper = name.to_ascii_uppercase();
    let rest = upper.strip_prefix(PREFIX);
    // In the environment, names without the prefix are those of others.
    let id = rest.or(in_file.then_some(&*upper))?.to_ascii_lowercase();
    let option = Opt::from_id(&id).filter(|option| !Opt::FLAGS_ONLY.contains(option));
    let is_log = name == log::VARIABLE;
    let (of, fix) = match option {
        _ if in_file && (is_log || rest.is_some() && option == Some(Opt::Config)) => {
            ("the settings file", "set it in the environment".to_owned())
        }
        Some(option) if option.variable() == name => return None,
        Some(option) => ("this version", format!("write {}", option.variable())),
        None if is_log => return None,
        None => ("this version", "correct the name, or remove it".to_owned()),
    };
    // The environment may be made of this file.
    if in_file && env::var_os(name).is_some() {
        return None;
    }
    let setting = format!("{place}{name}");
    Some(Message::UnknownSetting { setting, of, fix })
}
