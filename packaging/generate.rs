//! Writes what follows from the declaration of the options: manual pages, shell completions, the
//! example of a settings file, and the page of all options. `make manual` calls it with the directory to write into.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use clap_mangen::roff::{Roff, bold, roman};
use s3_audit_webhook::config::options::{Cli, Opt, RulesOptions, WebhookOptions};

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
    fs::write(directory.join("options.md"), options_page(&command))?;
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
    id: String,
    flag: String,
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
                id: argument.get_id().to_string(),
                flag: argument.get_long().unwrap_or_default().into(),
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
    for Setting {
        name, help, value, ..
    } in settings(command)
    {
        text += &format!("\n# {help}\n#{name}={value}\n");
    }
    text
}

/// Headings of the page, each with what the options below it begin with.
const GROUPS: [(&str, &[&str]); 8] = [
    ("Webhook and TLS", &[]),
    ("Rules", &[]),
    ("Sources", &["source", "when_full", "max_event_bytes"]),
    ("Files", &["file_", "exclude_files", "max_deleted"]),
    (
        "Listeners",
        &["listen_", "socket_", "hec_input", "max_body"],
    ),
    (
        "Buffer, spool and state directory",
        &["buffer_", "spool_", "state_", "trail"],
    ),
    (
        "Requests, retries and rejected events",
        &["batch_", "connections", "max_rate", "backoff_", "reject_"],
    ),
    ("Status, log and the rest", &[]),
];

fn group(setting: &Setting, webhook: &[(Opt, clap::Arg)]) -> usize {
    let is_one_of = |option: Opt| option.id() == setting.id;
    if is_one_of(Opt::Enabled) || webhook.iter().any(|(option, _)| is_one_of(*option)) {
        return 0;
    }
    if RulesOptions::ALL.into_iter().any(is_one_of) {
        return 1;
    }
    let begins = |names: &[&str]| names.iter().any(|name| setting.id.starts_with(name));
    let found = GROUPS.iter().position(|(_, names)| begins(names));
    found.unwrap_or(GROUPS.len() - 1)
}

/// Every option of `run`, as a page.
fn options_page(command: &Command) -> String {
    let webhook = WebhookOptions::declarations();
    let mut text = "# All options\n\n\
        Options of `s3-audit-webhook run`, written by `make manual` from their declaration. Each is a flag,\n\
        a variable (`--batch-bytes` is `S3_AUDIT_WEBHOOK_BATCH_BYTES`), and a line in the settings file with\n\
        that name. `enable` and `test` take those of the first group, except `--enabled`. Durations have\n\
        units such as `ms`, `s`, `m` or `h`, sizes such as `KiB` or `MiB`. Which setting wins:\n\
        [configuration](configuration.md).\n"
        .to_owned();
    for (place, (heading, _)) in GROUPS.iter().enumerate() {
        let applied = match place {
            0 | 1 => "A running agent applies changes in the settings file within 5 s.",
            _ => "Changes take a restart of the agent.",
        };
        text +=
            &format!("\n## {heading}\n\n{applied}\n\n| flag | default | what |\n|---|---|---|\n");
        for setting in settings(command) {
            if group(&setting, &webhook) == place {
                let Setting {
                    flag, help, value, ..
                } = setting;
                let text_of = |text: &str| text.replace('|', "\\|").replace('*', "\\*");
                // What stands for a value is no default.
                let (value, default) = match value.strip_prefix('<') {
                    Some(_) => (format!(" {}", value.replace('|', "\\|")), String::new()),
                    None => (String::new(), format!(" `{value}`")),
                };
                text += &format!("| `--{flag}{value}` |{default} | {} |\n", text_of(&help));
            }
        }
    }
    text
}
