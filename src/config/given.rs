//! What was asked for: a flag wins over the environment, that over the settings file, and that over the
//! default; and which of them each value came from, so that a message can name what its reader wrote.

use std::cell::LazyCell;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, Error, FromArgMatches};

use crate::config::options::{Cli, Command, RunOptions};
use crate::config::text::{self, PREFIX, Setting};
use crate::telemetry::log;
use crate::telemetry::message::Message;

/// The guide's command line, for those who have given this program the name `weka`.
const GUIDE: [&str; 3] = ["s3", "cluster", "audit-webhook"];

/// The commands that change the settings file. They read it themselves, when nobody else changes it.
const EDITORS: [&str; 2] = ["enable", "disable"];

/// What was asked for, and how it was written.
#[derive(Debug)]
pub struct Given {
    /// The command with its options.
    pub command: Command,
    /// Where their values come from.
    pub origins: Origins,
}

/// Where the values of a command's options come from.
pub struct Origins {
    /// The command line.
    pub arguments: Vec<OsString>,
    matches: ArgMatches,
    /// Of the command that was given.
    declaration: clap::Command,
    /// What stands in the environment is meant.
    has_environment: bool,
    /// The settings file.
    pub config: Config,
}

/// The settings file, as far as it is there.
#[derive(Debug)]
pub struct Config {
    /// Where it is.
    pub path: PathBuf,
    /// It was asked for, so it is more than the place where one may be.
    pub is_given: bool,
    /// What is in it, or why that is not known.
    pub settings: Result<Vec<Setting>, io::ErrorKind>,
}

/// Where a value comes from; the later the stronger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody has set it.
    Default,
    /// A line of the settings file.
    File(PathBuf, usize),
    /// The environment.
    Variable,
    /// The command line.
    Flag,
}

/// Something that was asked for and can't be: which option, and what is wrong with it.
#[derive(Debug)]
pub struct UsageError(pub String);

impl Given {
    /// Reads the command line, the environment and the settings file.
    ///
    /// # Errors
    /// `--help` and `--version` among them; the error prints itself and knows its exit code.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut arguments: Vec<_> = arguments.into_iter().collect();
        if arguments.len() > GUIDE.len() && arguments[1..=GUIDE.len()] == GUIDE {
            arguments.drain(1..=GUIDE.len());
        }
        let first = Cli::command()
            .try_get_matches_from(&arguments)
            .map_err(|error| put_right(error, &arguments, None, true))?;
        let (name, matches) = first.subcommand().unwrap_or(("", &first));
        let path = matches.get_one::<PathBuf>("config").cloned();
        let path = path.unwrap_or_default();
        let is_given = matches.value_source("config") != Some(ValueSource::DefaultValue);
        let not_read = |settings| Config {
            path: path.clone(),
            is_given,
            settings,
        };
        let config = if EDITORS.contains(&name) {
            not_read(Ok(Vec::new()))
        } else {
            match Config::read(path.clone(), is_given) {
                // It has much else to tell, and reads the file again as `run` does.
                Err(_) if name == "show" => not_read(Err(io::ErrorKind::InvalidData)),
                config => config?,
            }
        };
        Self::parse(arguments, name, config, true)
    }

    /// What the settings file alone makes of `run`: as a running agent takes it over, no matter what
    /// stands in this environment.
    ///
    /// # Errors
    /// Names the line of a value that is wrong.
    pub fn in_file(config: Config) -> Result<(RunOptions, Origins), String> {
        let arguments = ["s3-audit-webhook", "run"].map(OsString::from);
        let read = move || {
            let Given { origins, .. } = Self::parse(arguments.into(), "run", config, false)?;
            Ok((RunOptions::from_arg_matches(&origins.matches)?, origins))
        };
        read().map_err(|error: Error| in_a_line(&error))
    }

    fn parse(
        arguments: Vec<OsString>,
        name: &str,
        config: Config,
        has_environment: bool,
    ) -> Result<Self, Error> {
        let declared = Cli::command();
        // As the settings file has the defaults, so to speak.
        let declaration = declared.clone().mut_subcommand(name, |command| {
            command.mut_args(|argument| {
                let argument = match config.setting(&argument) {
                    Some(setting) => argument.default_value(setting.value.clone()),
                    None => argument,
                };
                if has_environment {
                    argument
                } else {
                    argument.env(Resettable::Reset)
                }
            })
        });
        let mut matches = declaration
            .try_get_matches_from(&arguments)
            .map_err(|error| put_right(error, &arguments, Some(&config), has_environment))?;
        let Cli { command } = Cli::from_arg_matches_mut(&mut matches.clone())?;
        let (name, matches) = matches.remove_subcommand().unwrap_or_default();
        let has_environment = has_environment && !EDITORS.contains(&&*name);
        let declaration = declared.find_subcommand(name).cloned();
        Ok(Given {
            command,
            origins: Origins {
                arguments,
                matches,
                declaration: declaration.unwrap_or_default(),
                has_environment,
                config,
            },
        })
    }
}

impl Config {
    /// Reads the file. One that is not there, or that is not for this user and was not asked for, is
    /// no error yet.
    fn read(path: PathBuf, is_given: bool) -> Result<Self, Error> {
        let wrong = |line: usize, what: &dyn fmt::Display| {
            let place = if line > 0 {
                format!(":{line}")
            } else {
                String::new()
            };
            let message = format!("{}{place}: {what}\n", path.display());
            Error::raw(ErrorKind::ValueValidation, message)
        };
        let settings = match fs::read(&path) {
            Ok(bytes) => {
                let settings = text::decode(&bytes).and_then(text::parse);
                Ok(settings.map_err(|error| wrong(error.line, &error.what))?)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => Err(io::ErrorKind::NotFound),
                io::ErrorKind::PermissionDenied if !is_given => {
                    Err(io::ErrorKind::PermissionDenied)
                }
                _ => return Err(wrong(0, &format!("can't be read: {error}"))),
            },
        };
        Ok(Config {
            path,
            is_given,
            settings,
        })
    }

    fn settings(&self) -> &[Setting] {
        self.settings.as_deref().unwrap_or_default()
    }

    /// What it says of an option.
    fn setting(&self, argument: &clap::Arg) -> Option<&Setting> {
        // It can't name another file in its place.
        let name = argument
            .get_env()
            .filter(|_| argument.get_id() != "config")?;
        self.settings()
            .iter()
            .find(|setting| name == &*setting.name)
    }
}

impl fmt::Debug for Origins {
    /// The arguments may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origins(…)")
    }
}

impl Origins {
    /// An error that names option `id` (a field of the command's options) as its user wrote it.
    pub fn wrong(&self, id: &str, what: impl fmt::Display) -> UsageError {
        UsageError(format!("{}: {what}", self.name(id)))
    }

    /// The flag, variable or line that option `id` came from.
    pub fn name(&self, id: &str) -> String {
        let Some(argument) = self.argument(id) else {
            return id.to_owned();
        };
        let variable = argument.get_env().unwrap_or_default().display();
        match self.origin(id) {
            Origin::Variable => variable.to_string(),
            Origin::File(path, line) => format!("{}:{line}: {variable}", path.display()),
            Origin::Flag | Origin::Default => format!("--{}", argument.get_long().unwrap_or(id)),
        }
    }

    /// Where option `id` was set, for a reader who knows which option is meant: `FILE:LINE`, the variable
    /// or the flag.
    pub fn place(&self, id: &str) -> String {
        match self.origin(id) {
            Origin::File(path, line) => format!("{}:{line}", path.display()),
            _ => self.name(id),
        }
    }

    /// Where the value of option `id` comes from.
    pub fn origin(&self, id: &str) -> Origin {
        let setting = self
            .argument(id)
            .and_then(|argument| self.config.setting(argument));
        match (self.matches.value_source(id), setting) {
            (Some(ValueSource::CommandLine), _) => Origin::Flag,
            (Some(ValueSource::EnvVariable), _) => Origin::Variable,
            (_, Some(setting)) => Origin::File(self.config.path.clone(), setting.line),
            _ => Origin::Default,
        }
    }

    /// A variable of the environment that is none of ours, if the environment is meant.
    pub fn variable(&self, name: &str) -> Option<String> {
        let value = env::var_os(name).filter(|_| self.has_environment)?;
        Some(value.to_string_lossy().into_owned())
    }

    /// The value of option `id` as it was written; of several, the first.
    pub fn raw(&self, id: &str) -> Option<&OsStr> {
        self.matches.get_raw(id)?.next()
    }

    /// Of every option of the command: its id, and its value as it was written.
    pub fn values(&self) -> impl Iterator<Item = (&str, Vec<&OsStr>)> {
        self.declaration.get_arguments().filter_map(|argument| {
            let id = argument.get_id().as_str();
            Some((id, self.matches.get_raw(id)?.collect()))
        })
    }

    /// What an operator should know at start: a settings file that is not for this user, and names in it
    /// and in the environment that look like ours and are not. A slip of the pen must not go unnoticed.
    pub fn warnings(&self) -> Vec<Message> {
        // The file has settings for all commands. To declare them takes longer than all the rest.
        let declaration = LazyCell::new(Cli::command);
        let is_unknown = |name: &str| {
            if !name.starts_with(PREFIX) || name == log::VARIABLE {
                return false;
            }
            let commands = declaration.get_subcommands();
            let mut arguments = commands.flat_map(clap::Command::get_arguments);
            arguments.all(|argument| argument.get_env().is_none_or(|known| known != name))
        };
        let in_file = self.config.settings().iter().map(|setting| {
            let place = format!("{}:{}: ", self.config.path.display(), setting.line);
            (place, setting.name.clone())
        });
        let in_environment =
            env::vars_os().filter_map(|(name, _)| Some((String::new(), name.into_string().ok()?)));
        let unreadable = self.config.settings.as_ref().err();
        let unreadable = unreadable.filter(|kind| **kind != io::ErrorKind::NotFound);
        let unreadable = unreadable.map(|kind| {
            let (path, error) = (self.config.path.display().to_string(), kind.to_string());
            Message::SettingsUnreadable { path, error }
        });
        let unknown = in_file
            .chain(in_environment)
            .filter(|(_, name)| is_unknown(name))
            .map(|(place, name)| Message::UnknownSetting {
                setting: format!("{place}{name}"),
            });
        unreadable.into_iter().chain(unknown).collect()
    }

    fn argument(&self, id: &str) -> Option<&clap::Arg> {
        let mut arguments = self.declaration.get_arguments();
        arguments.find(|argument| argument.get_id() == id)
    }
}

/// What is wrong, without clap's hints on usage: for the log, and for what is no command line.
pub fn in_a_line(error: &Error) -> String {
    let message = error.to_string();
    let first = message.lines().next().unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}

/// Mends what clap says of a wrong command line: the variable or the line that a value came from goes
/// unnamed, and the rest of a token without its quotes is shown.
fn put_right(
    error: Error,
    arguments: &[OsString],
    config: Option<&Config>,
    has_environment: bool,
) -> Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    match error.kind() {
        ErrorKind::ValueValidation => {
            name_origin(&error, argument, arguments, config, has_environment).unwrap_or(error)
        }
        ErrorKind::UnknownArgument if !argument.starts_with('-') => Error::raw(
            ErrorKind::UnknownArgument,
            "an argument that belongs to no option; a value with spaces needs quotes, such as \
             --auth-token 'Splunk <token>'\n",
        ),
        _ => error,
    }
}

/// clap names the flag of a wrong value even if it came from elsewhere: name that.
fn name_origin(
    error: &Error,
    argument: &str,
    arguments: &[OsString],
    config: Option<&Config>,
    has_environment: bool,
) -> Option<Error> {
    let flag = argument.split(' ').next().unwrap_or_default();
    let is_on_line = arguments.iter().any(|argument| {
        argument
            .to_str()
            .is_some_and(|text| text == flag || text.starts_with(&format!("{flag}=")))
    });
    if is_on_line {
        return None;
    }
    let variable = format!("{PREFIX}{}", flag[2..].to_uppercase().replace('-', "_"));
    let settings = config.map(Config::settings).unwrap_or_default();
    let setting = settings.iter().find(|setting| setting.name == variable);
    let origin = match (config, setting) {
        (Some(config), Some(setting)) if !has_environment || env::var_os(&variable).is_none() => {
            format!("{}:{}: {variable}", config.path.display(), setting.line)
        }
        _ => variable,
    };
    let message = format!("{origin}: {}\n", in_a_line(error));
    Some(Error::raw(ErrorKind::ValueValidation, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_shown() {
        let arguments = "x run --auth-token s3cret --endpoint http://x/?s3cret --config /missing";
        let given = Given::read(arguments.split(' ').map(OsString::from)).unwrap();
        let shown = format!("{given:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("Run"), "{shown}");
    }
}
