//! Options of the commands `enable`, `disable`, `show` and `test`, declared like those in
//! [`options`](crate::config::options).

use clap::{Arg, ArgAction, Args};

use crate::config::opt::Opt;
use crate::config::shared_options::{ColorOption, ConfigOption, StateOption};
use crate::config::webhook_options::{WebhookOptions, parse_switch};

/// Options of `enable`: flags only, because variables of this shell may be meant for something else.
#[derive(Debug, Args)]
#[command(
    mut_args(for_enable),
    term_width = 0,
    override_usage = "s3-audit-webhook enable --endpoint <URL> --auth-token <TOKEN> [OPTIONS]\n       \
                      s3-audit-webhook enable        (resumes with the settings that `disable` has kept)"
)]
pub struct EnableOptions {
    /// The webhook. Endpoint and token are required, or nothing of it is given.
    #[command(flatten)]
    pub webhook: WebhookOptions,

    /// Don't send a test event once the settings are written
    ///
    /// If the webhook does not take it, they stay as they are, and the exit code is 1.
    #[arg(long)]
    pub no_test: bool,

    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,
}

/// Options of `disable`.
#[derive(Debug, Args)]
#[command(mut_args(with_variable))]
pub struct DisableOptions {
    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(mut_args(with_variable))]
pub struct ShowOptions {
    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,

    /// The state directory.
    #[command(flatten)]
    pub state: StateOption,

    /// Print one JSON object, for programs
    #[arg(long)]
    pub json: bool,

    /// Show it again every 2 s, until interrupted
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,

    /// Remove the files of agents that haven't reported for 30 days from the state directory first
    #[arg(long)]
    pub prune: bool,

    /// Colours.
    #[command(flatten)]
    pub color: ColorOption,
}

/// Options of `test`.
#[derive(Debug, Args)]
#[command(mut_args(grouped), term_width = 0)]
pub struct TestOptions {
    /// The webhook.
    #[command(flatten)]
    pub webhook: WebhookOptions,

    /// Only for a note: `test` works while forwarding is disabled too.
    #[arg(long, hide = true, default_value = "true", action = ArgAction::Set, value_parser = parse_switch)]
    pub enabled: bool,

    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,

    /// Colours.
    #[command(flatten)]
    pub color: ColorOption,
}

/// Adds the environment variable of its name, which the help needn't repeat for each option.
fn with_variable(argument: Arg) -> Arg {
    match Opt::from_id(argument.get_id().as_str()) {
        Some(option) if !Opt::FLAGS_ONLY.contains(&option) => {
            argument.env(option.variable()).hide_env(true)
        }
        _ => argument,
    }
}

/// The same, under the heading of its group.
pub(crate) fn grouped(argument: Arg) -> Arg {
    match Opt::from_id(argument.get_id().as_str()) {
        Some(option) if !Opt::FLAGS_ONLY.contains(&option) => {
            // A negative number is a wrong value, not an option.
            let takes_value = argument.get_action().takes_values();
            let argument = argument.allow_negative_numbers(takes_value);
            with_variable(argument).help_heading(option.heading())
        }
        _ => argument,
    }
}

fn for_enable(argument: Arg) -> Arg {
    match Opt::from_id(argument.get_id().as_str()) {
        Some(Opt::Config) => grouped(argument),
        Some(Opt::AuthToken) => argument.help_heading(Opt::AuthToken.heading()).long_help(
            "Value of the Authorization header, scheme included: 'Splunk B5A79AAD-…'; none for a webhook without one\n\n\
             Everyone on this host can see it in the process list. With - it is read from standard input: the first \
             line of a pipe, or typed in a terminal, which does not show it.",
        ),
        Some(option) if option != Opt::NoTest => argument.help_heading(option.heading()),
        _ => argument,
    }
}
