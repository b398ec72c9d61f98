//! Writes what follows from the declaration of the options: manual pages, shell completions, and the
//! example of a settings file. `make manual` calls it with the directory to write into.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use clap_mangen::roff::{Roff, bold, roman};
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
    fs::write(directory.join("webhook.env.5"), settings_page(&command))?;
    fs::write(directory.join("webhook.env"), settings_file(&command))
}

/// The manual page of the settings file.
fn settings_page(command: &Command) -> String {
    let mut page = Roff::default();
    page.control(
        "TH",
        [
            "webhook.env",
            "5",
            "",
            concat!("s3-audit-webhook ", env!("CARGO_PKG_VERSION")),
        ],
    );
    page.control("SH", ["NAME"]);
    page.text([roman("webhook.env - settings of s3-audit-webhook")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "/etc/s3-audit-webhook/webhook.env, or the file of --config, has lines NAME=VALUE, as environment files of systemd \
         have: quotes around a value, a backslash before a line end, and comments that begin with #. The commands enable and \
         disable of s3-audit-webhook(1) change it. Running agents follow what belongs to the webhook and the rules within \
         5 s; all else takes a restart. A file that is wrong is reported, and changes nothing. A flag or a variable of the \
         environment wins over it.",
    )]);
    page.control("SH", ["SETTINGS"]);
    for setting in settings(command) {
        page.control("TP", []);
        page.text([bold(format!("{}=", setting.name)), roman(setting.value)]);
        page.text([roman(setting.help)]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([roman(
        "s3-audit-webhook(1), s3-audit-webhook-run(1), s3-audit-webhook-enable(1)",
    )]);
    page.render()
}

struct Setting {
    name: String,
    help: String,
    /// The default, or what stands for a value.
    value: String,
}

fn settings(command: &Command) -> Vec<Setting> {
    let run = command.find_subcommand("run");
    let arguments = run.into_iter().flat_map(Command::get_arguments);
    // It can't say where it is itself.
    let arguments =
        arguments.filter(|argument| !matches!(argument.get_id().as_str(), "config" | "help"));
    arguments
        .map(|argument| {
            let placeholder = argument.get_value_names().and_then(<[_]>::first);
            let value: OsString = match (argument.get_default_values(), placeholder) {
                ([value], _) => value.to_os_string(),
                (_, Some(name)) if argument.get_action().takes_values() => {
                    format!("<{name}>").into()
                }
                _ => "false".into(),
            };
            let name = argument.get_env().unwrap_or_default();
            let help = argument.get_help().map(ToString::to_string);
            Setting {
                name: name.display().to_string(),
                help: help.unwrap_or_default(),
                value: value.display().to_string(),
            }
        })
        .collect()
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
    for Setting { name, help, value } in settings(command) {
        text += &format!("\n# {help}\n#{name}={value}\n");
    }
    text
}
