//! Reads the command line over the environment, the settings file and the defaults.

use std::env;
use std::error::Error as _;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind as ClapErrorKind};
use clap::parser::ValueSource;
use clap::{CommandFactory, Error, FromArgMatches};

use crate::config::error::{CommandError, UsageError};
use crate::config::file::SettingsFile;
use crate::config::opt::Opt;
use crate::config::options::{Cli, Command, RunOptions};
use crate::config::provenance::Provenance;
use crate::text::escape;

/// The command line of the vendor's guide, for users who have named this program `weka`.
const GUIDE: [&str; 3] = ["s3", "cluster", "audit-webhook"];

/// The commands that change the settings file. They read it themselves, under its lock.
const EDITORS: [&str; 2] = ["enable", "disable"];

/// How many characters of a wrong value are shown.
const LONGEST: usize = 100;

/// A command with its options, and where their values come from.
#[derive(Debug)]
pub struct Invocation {
    /// The command with its options.
    pub command: Command,
    /// Where their values come from.
    pub provenance: Provenance,
}

impl Invocation {
    /// Reads the command line, the environment and the settings file.
    ///
    /// # Errors
    /// `--help` and `--version` are among them; the error prints itself and knows its exit code.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut arguments: Vec<_> = arguments.into_iter().collect();
        if arguments.get(1..=GUIDE.len()).is_some_and(|a| a == GUIDE) {
            arguments.drain(1..=GUIDE.len());
        }
        let first = Cli::command()
            .try_get_matches_from(&arguments)
            .map_err(|error| clarify(error, &arguments, None, true))?;
        let (name, matches) = first.subcommand().unwrap_or(("", &first));
        let config = Opt::Config.id();
        // `verify` has no settings.
        let path = matches.try_get_one::<PathBuf>(config).ok().flatten();
        let has_settings = path.is_some() && !EDITORS.contains(&name);
        let is_given =
            path.is_some() && matches.value_source(config) != Some(ValueSource::DefaultValue);
        let path = path.cloned().unwrap_or_default();
        let unread = |settings| SettingsFile {
            path: path.clone(),
            is_given,
            settings,
        };
        let file = if !has_settings {
            unread(Ok(Vec::new()))
        } else {
            match SettingsFile::read(path.clone(), is_given) {
                // `show` also shows the agents, and reads the file again as `run` does.
                Err(_) if name == "show" => unread(Err(ErrorKind::InvalidData)),
                file => file.map_err(of_file)?,
            }
        };
        Self::parse(arguments, name, file, true)
    }

    /// The options of `run` from the settings file alone, whatever is set in this environment.
    ///
    /// # Errors
    /// Names the line of a value that is wrong.
    pub fn of_file(file: SettingsFile) -> Result<(RunOptions, Provenance), String> {
        let arguments = ["s3-audit-webhook", "run"].map(OsString::from);
        let read = move || {
            let Invocation { provenance, .. } = Self::parse(arguments.into(), "run", file, false)?;
            let options = RunOptions::from_arg_matches(&provenance.matches)?;
            Ok((options, provenance))
        };
        read().map_err(|error: Error| first_line(&error))
    }

    fn parse(
        arguments: Vec<OsString>,
        name: &str,
        file: SettingsFile,
        uses_environment: bool,
    ) -> Result<Self, Error> {
        // For clap, the settings file's values are the defaults.
        let declaration = Cli::command().mut_subcommand(name, |command| {
            command.mut_args(|argument| {
                let has_variable = argument.get_env().is_some();
                let option = Opt::from_id(argument.get_id().as_str()).filter(|_| has_variable);
                let argument = match option.and_then(|option| file.setting(option)) {
                    Some(setting) => argument.default_value(setting.value.clone()),
                    None => argument,
                };
                if uses_environment {
                    argument
                } else {
                    argument.env(Resettable::Reset)
                }
            })
        });
        let mut matches = declaration
            .try_get_matches_from(&arguments)
            .map_err(|error| clarify(error, &arguments, Some(&file), uses_environment))?;
        let Cli { command } = Cli::from_arg_matches_mut(&mut matches.clone())?;
        let (name, matches) = matches.remove_subcommand().unwrap_or_default();
        let uses_environment = uses_environment && !EDITORS.contains(&&*name);
        Ok(Invocation {
            command,
            provenance: Provenance {
                arguments,
                file,
                matches,
                uses_environment,
            },
        })
    }
}

/// clap's message without its usage hints: for the log, and for errors that are not about a command line.
pub fn first_line(error: &Error) -> String {
    let message = error.to_string();
    let first = message.lines().next().unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}

fn usage(message: &str) -> Error {
    Error::raw(ClapErrorKind::ValueValidation, format!("{message}\n"))
}

/// The error's kind determines the exit code.
fn of_file(error: CommandError) -> Error {
    match error {
        CommandError::Usage(UsageError(what)) => usage(&what),
        CommandError::Failed(what) => Error::raw(ClapErrorKind::Io, format!("{what}\n")),
    }
}

/// Makes clap's messages about values name what the user wrote, which may be a variable or a line of the settings file,
/// and hide the rest of a token that lacks its quotes.
fn clarify(
    error: Error,
    arguments: &[OsString],
    file: Option<&SettingsFile>,
    uses_environment: bool,
) -> Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if error.kind() == ClapErrorKind::InvalidUtf8 {
        let name = not_utf8(arguments).unwrap_or_else(|| "an argument".into());
        let what = "contains bytes that are not UTF-8; fix: write it in UTF-8";
        return usage(&format!("{name}: {what}"));
    }
    let Some(argument) = context(ContextKind::InvalidArg) else {
        return error;
    };
    let flag = argument.split(' ').next().unwrap_or_default();
    let name = || {
        let name = name_in_use(flag, arguments, file, uses_environment);
        name.unwrap_or_else(|| flag.to_owned())
    };
    match (error.kind(), error.source()) {
        (ClapErrorKind::ValueValidation, Some(what)) => {
            let value = context(ContextKind::InvalidValue).unwrap_or_default();
            let value = escape::shown(value, LONGEST);
            usage(&format!("{}: '{value}' {what}", name()))
        }
        (ClapErrorKind::InvalidValue, _) => {
            let choices = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(choices)) => choices.join(", "),
                _ => String::new(),
            };
            let what = match context(ContextKind::InvalidValue) {
                Some(value) if !value.is_empty() => {
                    let value = escape::shown(value, LONGEST);
                    format!("'{value}' is not known; fix: use one of {choices}")
                }
                _ => "lacks its value; fix: give one, or leave the option out".into(),
            };
            usage(&format!("{}: {what}", name()))
        }
        (ClapErrorKind::TooManyValues, _) => {
            let what = "takes no value; fix: give it alone, or leave it out";
            usage(&format!("{flag}: {what}"))
        }
        (ClapErrorKind::ArgumentConflict, _)
            if context(ContextKind::PriorArg) == Some(argument) =>
        {
            usage(&format!("{flag}: is given twice; fix: give it once"))
        }
        (ClapErrorKind::UnknownArgument, _) if !argument.starts_with('-') => {
            let fix = match arguments.iter().any(|it| it == "--auth-token") {
                true => {
                    "put quotes around a value with spaces, such as --auth-token 'Splunk <token>'"
                }
                false => {
                    "leave it out; a value with spaces needs quotes, and a switch takes no value"
                }
            };
            let what = format!("an argument belongs to no option; fix: {fix}\n");
            Error::raw(ClapErrorKind::UnknownArgument, what)
        }
        _ => error,
    }
}

/// The flag or variable whose value is not UTF-8.
fn not_utf8(arguments: &[OsString]) -> Option<String> {
    if let Some(place) = arguments.iter().position(|text| text.to_str().is_none()) {
        // The value, which may be secret, is behind the = or an argument of its own.
        let argument = arguments[place].to_string_lossy();
        let (flag, _) = argument.split_once('=')?;
        return flag.starts_with('-').then(|| flag.to_owned());
    }
    let is_wrong =
        |option: &&Opt| env::var_os(option.variable()).is_some_and(|it| it.to_str().is_none());
    Opt::ALL
        .iter()
        .find(is_wrong)
        .map(|option| option.variable())
}

/// The variable or line of the settings file that sets the option; `None` if the command line does.
fn name_in_use(
    flag: &str,
    arguments: &[OsString],
    file: Option<&SettingsFile>,
    uses_environment: bool,
) -> Option<String> {
    let is_flag = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        argument == flag || argument.starts_with(&format!("{flag}="))
    };
    if arguments.iter().any(is_flag) {
        return None;
    }
    let option = Opt::ALL.iter().find(|option| option.flag() == flag)?;
    let variable = option.variable();
    let is_in_environment = uses_environment && env::var_os(&variable).is_some();
    let file = file.filter(|_| !is_in_environment);
    let line = file.and_then(|file| Some((file.path.display(), file.setting(*option)?.line)));
    Some(match line {
        Some((path, line)) => format!("{path}:{line}: {variable}"),
        None => variable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_shown() {
        let arguments = "x run --auth-token s3cret --endpoint http://x/?s3cret --config /missing";
        let invocation = Invocation::read(arguments.split(' ').map(OsString::from)).unwrap();
        let shown = format!("{invocation:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("Run"), "{shown}");
    }
}
