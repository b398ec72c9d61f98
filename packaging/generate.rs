//! Writes what follows from the declaration of the options: manual pages, shell completions, and the
//! example of a settings file. `make manual` calls it with the directory to write into.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use s3_audit_webhook::config::options::Cli;

const NAME: &str = env!("CARGO_PKG_NAME");

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("which directory?");
        return ExitCode::from(2);
    };
    match write(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &PathBuf) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let command = declaration();
    clap_mangen::generate_to(command.clone(), directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command.clone(), NAME, directory)?;
    }
    fs::write(directory.join("webhook.env"), settings_file(&command))
}

/// Without this shell's environment.
fn declaration() -> Command {
    let hidden = |argument: clap::Arg| argument.hide_env_values(true);
    Cli::command().mut_subcommands(|command| command.mut_args(hidden))
}

/// Every setting, as a comment with what it means and what it is if it is not set.
fn settings_file(command: &Command) -> String {
    let mut text = format!(
        "# Settings of {NAME}, in /etc/{NAME}/webhook.env or where --config says.\n\
         # `{NAME} enable` and `disable` edit the first ones; running agents take those over within 5 s,\n\
         # all others when they are restarted. A flag or a variable of the environment wins over this file.\n"
    );
    let run = command.find_subcommand("run");
    for argument in run.into_iter().flat_map(Command::get_arguments) {
        let name = argument.get_env().unwrap_or_default().display();
        // It can't say where it is itself.
        if matches!(argument.get_id().as_str(), "config" | "help") {
            continue;
        }
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let placeholder = argument.get_value_names().and_then(<[_]>::first);
        let value: OsString = match (argument.get_default_values(), placeholder) {
            ([value], _) => value.to_os_string(),
            (_, Some(name)) if argument.get_action().takes_values() => format!("<{name}>").into(),
            _ => "false".into(),
        };
        text += &format!("\n# {help}\n#{name}={}\n", value.display());
    }
    text
}
