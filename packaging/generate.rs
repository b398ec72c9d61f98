//! Writes what follows from declarations: manual pages, shell completions, the example of a settings file, and the pages of
//! all options, metrics and log messages. `make manual` calls it with the directory to write into.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use clap_mangen::roff::{Roff, bold, roman};
use s3_audit_webhook::config::options::{Cli, Opt, RulesOptions, WebhookOptions};
use s3_audit_webhook::telemetry::counters::{Reason, Refusal};
use s3_audit_webhook::telemetry::expiry::Expiries;
use s3_audit_webhook::telemetry::message::{DESCRIPTIONS, Description};
use s3_audit_webhook::telemetry::metric::metrics;
use s3_audit_webhook::telemetry::requests::{Cause, RequestResult};

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
    fs::write(directory.join("metrics.md"), metrics_page())?;
    let first = |section| DESCRIPTIONS.partition_point(|message| message.section != section);
    let (rest, disks) = DESCRIPTIONS.split_at(first("The spool"));
    let (agent, sources) = rest.split_at(first("Sources"));
    let page = messages_page("Log messages", agent);
    fs::write(directory.join("log-messages.md"), page)?;
    let page = messages_page("Log messages of sources and files", sources);
    fs::write(directory.join("log-messages-sources.md"), page)?;
    let page = messages_page("Log messages of what is kept on disk", disks);
    fs::write(directory.join("log-messages-disks.md"), page)?;
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
         have: quotes around a value, and comments that begin with #. The commands enable and \
         disable of s3-audit-webhook(1) change it. Running agents follow what belongs to the webhook and the rules within \
         5 s; all else takes a restart. A file that is wrong is reported, and changes nothing. A flag or a variable of the \
         environment wins over it.",
    )]);
    page.control("SH", ["SETTINGS"]);
    for setting in settings(command) {
        page.control("TP", []);
        page.text([bold(format!("{}=", setting.name)), roman(setting.value)]);
        page.text([roman(setting.details)]);
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
    /// The same, and what else there is to know.
    details: String,
    /// The default, or what stands for a value.
    value: String,
}

fn settings(command: &Command) -> Vec<Setting> {
    let run = command.find_subcommand("run");
    let arguments = run.into_iter().flat_map(Command::get_arguments);
    // It can't say where it is itself.
    let arguments =
        arguments.filter(|argument| !matches!(argument.get_id().as_str(), "config" | "help"));
    let mut settings: Vec<_> = arguments
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
            let details = argument.get_long_help().map(ToString::to_string);
            let details = details.map(|text| text.replace("\n\n", ". "));
            Setting {
                id: argument.get_id().to_string(),
                flag: argument.get_long().unwrap_or_default().into(),
                name: name.display().to_string(),
                details: details.or(help.clone()).unwrap_or_default(),
                help: help.unwrap_or_default(),
                value: value.display().to_string(),
            }
        })
        .collect();
    // As the help has them: group by group, and in a group as declared.
    let mut headings: Vec<_> = Opt::ALL.iter().map(|option| option.heading()).collect();
    headings.dedup();
    settings.sort_by_key(|setting: &Setting| {
        let heading = Opt::from_id(&setting.id).map(Opt::heading);
        headings.iter().position(|known| Some(*known) == heading)
    });
    settings
}

/// Without this shell's environment, but with the names of variables.
fn declaration() -> Command {
    let shown = |argument: clap::Arg| argument.hide_env_values(true).hide_env(false);
    Cli::command().mut_subcommands(|command| command.mut_args(shown))
}

/// Every setting, as a comment with what it means and what it is if it is not set.
fn settings_file(command: &Command) -> String {
    let mut text = format!(
        "# Settings of {NAME}, in /etc/{NAME}/webhook.env or where --config says.\n\
         # `{NAME} enable` and `disable` edit those of the webhook. Running agents apply these and the rules\n\
         # within 5 s, all others when they are restarted. A flag or a variable of the environment wins over this file.\n"
    );
    for Setting {
        name, help, value, ..
    } in settings(command)
    {
        text += &format!("\n# {help}\n#{name}={value}\n");
    }
    text
}

/// Whether a running agent applies a change of the option in the settings file.
fn is_live(option: Opt, webhook: &[(Opt, clap::Arg)]) -> bool {
    let mut live = webhook.iter().map(|(option, _)| *option);
    live.any(|live| live == option) || RulesOptions::ALL.contains(&option) || option == Opt::Enabled
}

/// Every option of `run`, as a page.
fn options_page(command: &Command) -> String {
    let webhook = WebhookOptions::declarations();
    let mut text = "# All options\n\n\
        Options of `s3-audit-webhook run`, written by `make manual` from their declaration. Each is a flag,\n\
        a variable (`--batch-bytes` is `S3_AUDIT_WEBHOOK_BATCH_BYTES`), and a line in the settings file with\n\
        that name. `enable` and `test` take those of the first four groups, except `--enabled`. Durations\n\
        have the units `ms`, `s`, `m`, `h` or `d`; without a unit they are seconds. Sizes have `KiB`, `MiB`\n\
        or `GiB`; `k`, `kB` and so on are the same, powers of 1024; without a unit they are bytes. Which\n\
        setting wins: [configuration](configuration.md).\n"
        .to_owned();
    let mut heading = "";
    for setting in settings(command) {
        let Some(option) = Opt::from_id(&setting.id) else {
            continue;
        };
        if option.heading() != heading {
            heading = option.heading();
            let applied = match is_live(option, &webhook) {
                true => "A running agent applies changes in the settings file within 5 s.",
                false => "Changes take a restart of the agent.",
            };
            text += &format!(
                "\n## {heading}\n\n{applied}\n\n| flag | default | what |\n|---|---|---|\n"
            );
        }
        let Setting {
            flag,
            details,
            value,
            ..
        } = setting;
        let details = details.replace('|', "\\|").replace('*', "\\*");
        // What stands for a value is no default.
        let (value, default) = match value.strip_prefix('<') {
            Some(_) => (format!(" {}", value.replace('|', "\\|")), String::new()),
            None => (String::new(), format!(" `{value}`")),
        };
        text += &format!("| `--{flag}{value}` |{default} | {details} |\n");
    }
    text
}

/// Every metric, as a page.
fn metrics_page() -> String {
    let mut text = "# Metrics\n\n\
        What `/metrics` of `--status-listen` serves, in Prometheus' text format; written by `make manual`\n\
        from the declaration. All names begin with `s3_audit_webhook_`. Counters begin at 0 when the agent\n\
        starts. Times are in seconds since 1970. A metric without a value, as those of the spool without\n\
        `--spool-bytes`, is left out. Alerts and a dashboard: [monitoring](monitoring.md).\n\n\
        | name | type | labels | what it says |\n|---|---|---|---|\n"
        .to_owned();
    for metric in metrics() {
        let labels = metric.labels.split_whitespace();
        let labels: Vec<_> = labels.map(|label| format!("`{label}`")).collect();
        text += &format!(
            "| `{}` | {} | {} | {} |\n",
            metric.name,
            metric.kind(),
            labels.join(", "),
            metric.help
        );
    }
    text += "\n## Labels\n\n| label | values |\n|---|---|\n";
    let listed = |values: &[&str]| format!("`{}`", values.join("`, `"));
    let results = RequestResult::ALL.map(RequestResult::label);
    for (label, values) in [
        ("`source`", "a source, as it was given".to_owned()),
        (
            "`reason` of `events_dropped_total`",
            listed(&Reason::ALL.map(Reason::label)),
        ),
        (
            "`reason` of `requests_refused_total`",
            listed(&Refusal::ALL.map(Refusal::label)),
        ),
        (
            "`rule`",
            "a rule of `--exclude`, as it was given".to_owned(),
        ),
        ("`result`", listed(&results)),
        ("`cause`", listed(&Cause::ALL.map(Cause::label))),
        (
            "`endpoint`",
            "one of several endpoints, without what may be a secret".to_owned(),
        ),
        (
            "`certificate`",
            listed(&Expiries::default().each().map(|(name, ..)| name)),
        ),
        ("`of`", "`webhook`, or a source".to_owned()),
    ] {
        text += &format!("| {label} | {values} |\n");
    }
    text
}

/// Messages, as a page.
fn messages_page(title: &str, messages: &[Description]) -> String {
    let mut text = format!(
        "# {title}\n\n\
        Written by `make manual` from the program. Of each message: its name, its level and text with `…`\n\
        for what varies, what it means, and what fixes it. The other messages: [the agent, the webhook and\n\
        settings](log-messages.md); [sources and files](log-messages-sources.md); [what is kept on\n\
        disk](log-messages-disks.md). Where the log is, and why events are dropped: [the log](log.md).\n"
    );
    let mut section = "";
    for message in messages {
        if message.section != section {
            section = message.section;
            text += &format!("\n## {section}\n\n");
        }
        let shown = format!("{} {}", message.level, with_ellipses(message.text));
        // Markdown puts code that has backquotes between two of them.
        let shown = match shown.contains('`') {
            true => format!("`` {shown} ``"),
            false => format!("`{shown}`"),
        };
        let about = message.about.concat();
        // A backslash breaks the line.
        text += &wrapped(&format!("- `{}` {shown} \\", message.name));
        match about.split_once("**Fix:**") {
            Some((cause, fix)) => {
                text += &wrapped(&format!(" {cause} \\"));
                text += &wrapped(&format!(" **Fix:** {fix}"));
            }
            None => text += &wrapped(&format!(" {about}")),
        }
    }
    text
}

/// The text of a message with `…` for each field, and one for fields that touch.
fn with_ellipses(text: &str) -> String {
    let mut shown = String::new();
    for (place, part) in text.split(['{', '}']).enumerate() {
        if place % 2 == 0 {
            shown += part;
        } else if !shown.ends_with('…') {
            shown.push('…');
        }
    }
    shown
}

/// A part of a list's item, in lines of up to 100 columns; one that begins with a blank continues the item.
fn wrapped(item: &str) -> String {
    let mut text = String::new();
    let mut columns = 0;
    for word in item.split_whitespace() {
        let width = word.chars().count();
        if text.is_empty() && item.starts_with(' ') {
            text.push_str("  ");
            columns = 2;
        } else if columns + 1 + width > 100 {
            text.push_str("\n  ");
            columns = 2;
        } else if !text.is_empty() {
            text.push(' ');
            columns += 1;
        }
        text += word;
        columns += width;
    }
    text + "\n"
}
