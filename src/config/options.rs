//! Commands and options, each declared once: the flag, the environment variable, the default and the
//! help text come from here, and so do the settings file's example, the manual page and the completions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Args, Parser, Subcommand};

pub use crate::config::opt::Opt;
pub use crate::config::webhook_options::WebhookOptions;

use crate::config::webhook_options::parse_switch;
use crate::source::spec::{FileStart, Spec, WhenFull};
use crate::telemetry::logger::LogFormat;
use crate::text::quantity::{parse_count, parse_duration, parse_size};

/// The settings file if no other is given.
pub const DEFAULT_CONFIG: &str = "/etc/s3-audit-webhook/webhook.env";

/// Carries S3 audit events, as JSON, to a webhook such as Splunk's HTTP Event Collector.
///
/// Best effort: S3 traffic never waits, and every event that is lost is counted and logged.
#[derive(Debug, Parser)]
#[command(name = "s3-audit-webhook", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read events and post them until the sources end or SIGTERM comes
    Run(Box<RunOptions>),
    /// Set the webhook, for all agents that read the settings file
    Enable(Box<EnableOptions>),
    /// Stop forwarding, for all agents that read the settings file; its other settings stay
    Disable(DisableOptions),
    /// Tell what is set, and how the agents are doing
    Show(ShowOptions),
    /// Post one marked event with the settings in force, and tell what the webhook says
    Test(Box<TestOptions>),
}

/// The settings file.
#[derive(Debug, Args)]
pub struct ConfigOption {
    /// The settings file, in the syntax of environment files; a flag or variable wins over what it says
    #[arg(long, env = "S3_AUDIT_WEBHOOK_CONFIG", value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
}

/// The state directory.
#[derive(Debug, Args)]
pub struct StateOption {
    /// Where agents write how they are doing, for show, and how far they have read files; on a shared mount one
    /// directory for all hosts
    #[arg(
        long,
        env = "S3_AUDIT_WEBHOOK_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/s3-audit-webhook"
    )]
    pub state_dir: PathBuf,
}

/// Options of `enable`: flags only, since what stands in this shell's environment need not be meant.
#[derive(Debug, Args)]
#[command(
    mut_args(for_enable),
    override_usage = "s3-audit-webhook enable --endpoint <URL> --auth-token <TOKEN> [OPTIONS]"
)]
pub struct EnableOptions {
    /// The webhook's settings. Endpoint and token must be given.
    #[command(flatten)]
    pub webhook: WebhookOptions,

    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,
}

/// Options of `disable`.
#[derive(Debug, Args)]
pub struct DisableOptions {
    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,
}

/// Options of `show`.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,

    /// The state directory.
    #[command(flatten)]
    pub state: StateOption,

    /// For programs: one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `test`.
#[derive(Debug, Args)]
pub struct TestOptions {
    /// The webhook's settings.
    #[command(flatten)]
    pub webhook: WebhookOptions,

    /// What is tested need not be enabled yet, but its user may wonder.
    #[arg(long, env = "S3_AUDIT_WEBHOOK_ENABLED", hide = true, default_value = "true", action = ArgAction::Set, value_parser = parse_switch)]
    pub enabled: bool,

    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,
}

/// Options of `run`. Each is also read from the environment; a flag wins.
#[derive(Debug, Args)]
#[command(
    after_help = "The log goes to standard error; S3_AUDIT_WEBHOOK_LOG=warn (error, warn, \
                        info, off) sets its level.\nExit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub struct RunOptions {
    /// The webhook's settings.
    #[command(flatten)]
    pub webhook: WebhookOptions,

    /// Whether events are posted; enable and disable set it in the settings file
    #[arg(long, env = "S3_AUDIT_WEBHOOK_ENABLED", value_name = "true|false", default_value = "true", action = ArgAction::Set, value_parser = parse_switch)]
    pub enabled: bool,

    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,

    /// The state directory.
    #[command(flatten)]
    pub state: StateOption,

    /// Where events come from; may be given several times, or separated by commas
    ///
    /// stdin; file:PATH (followed as it grows and is rotated; with * ? or [ in its name, all files that match); unix:PATH (a socket to connect to, such as
    /// Ceph RGW's ops log); unix-listen:PATH (a socket that writers connect to); http:ADDR:PORT (a webhook for
    /// servers that push); fluent:ADDR:PORT or fluent:PATH (SeaweedFS).
    #[arg(
        id = "source",
        long = "source",
        env = "S3_AUDIT_WEBHOOK_SOURCE",
        value_name = "SOURCE",
        value_delimiter = ',',
        default_value = "stdin"
    )]
    pub sources: Vec<Spec>,

    /// Where reading begins in files that are there when a file: source starts for the very first time
    ///
    /// beginning or end. Later starts go on from where the last one has come to, and files that appear later are
    /// read from their beginning.
    #[arg(
        long,
        env = "S3_AUDIT_WEBHOOK_FILE_START",
        value_name = "beginning|end",
        default_value = "beginning"
    )]
    pub file_start: FileStart,

    /// A file that holds what clients of http: must send as Authorization; needed beyond loopback
    #[arg(long, env = "S3_AUDIT_WEBHOOK_LISTEN_TOKEN_FILE", value_name = "FILE")]
    pub listen_token_file: Option<PathBuf>,

    /// Connections that an http: source has at a time; the next one is told 503
    #[arg(long, env = "S3_AUDIT_WEBHOOK_LISTEN_CONNECTIONS", value_name = "N", default_value = "256", value_parser = parse_count::<usize>)]
    pub listen_connections: usize,

    /// Time that a client of http: has for a request, from its first byte to its last
    #[arg(long, env = "S3_AUDIT_WEBHOOK_LISTEN_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub listen_timeout: Duration,

    /// Longest body that an http: source takes, also when decompressed
    #[arg(long, env = "S3_AUDIT_WEBHOOK_MAX_BODY_BYTES", value_name = "SIZE", default_value = "16MiB", value_parser = parse_size)]
    pub max_body_bytes: usize,

    /// Where to serve /healthz and /metrics, such as 127.0.0.1:9108
    #[arg(long, env = "S3_AUDIT_WEBHOOK_STATUS_LISTEN", value_name = "ADDR:PORT", value_parser = parse_address)]
    pub status_listen: Option<SocketAddr>,

    /// How long the webhook may be away before /healthz says so
    #[arg(long, env = "S3_AUDIT_WEBHOOK_UNHEALTHY_AFTER", value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    pub unhealthy_after: Duration,

    /// What sources do when the buffer is full: drop or wait
    ///
    /// Files wait and everything else drops if this is not given.
    #[arg(long, env = "S3_AUDIT_WEBHOOK_WHEN_FULL", value_name = "drop|wait")]
    pub when_full: Option<WhenFull>,

    /// Print the bodies that would be posted to standard output instead of posting them
    #[arg(long, env = "S3_AUDIT_WEBHOOK_DRY_RUN", value_parser = parse_switch)]
    pub dry_run: bool,

    /// Longest event that is forwarded, if --buffer-bytes is not less; longer ones are dropped and counted
    #[arg(long, env = "S3_AUDIT_WEBHOOK_MAX_EVENT_BYTES", value_name = "SIZE", default_value = "4MiB", value_parser = parse_size)]
    pub max_event_bytes: usize,

    /// Events held at most while the webhook is away or slow
    #[arg(long, env = "S3_AUDIT_WEBHOOK_BUFFER_EVENTS", value_name = "N", default_value = "100000", value_parser = parse_count::<usize>)]
    pub buffer_events: usize,

    /// Bytes of events held at most; the agent's memory stays within 12 MiB of this, but for bodies that http: is reading
    #[arg(long, env = "S3_AUDIT_WEBHOOK_BUFFER_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub buffer_bytes: usize,

    /// Events in a request at most
    #[arg(long, env = "S3_AUDIT_WEBHOOK_BATCH_EVENTS", value_name = "N", default_value = "10000", value_parser = parse_count::<usize>)]
    pub batch_events: usize,

    /// Bytes in a request's body at most; a longer event goes alone
    #[arg(long, env = "S3_AUDIT_WEBHOOK_BATCH_BYTES", value_name = "SIZE", default_value = "1MiB", value_parser = parse_size)]
    pub batch_bytes: usize,

    /// How long an event waits for others to share its request; 0 sends at once what is there
    #[arg(long, env = "S3_AUDIT_WEBHOOK_BATCH_AGE", value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub batch_age: Duration,

    /// Shortest wait before a failed request is tried again; it doubles, with jitter
    #[arg(long, env = "S3_AUDIT_WEBHOOK_BACKOFF_MIN", value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    pub backoff_min: Duration,

    /// Longest such wait, also where the webhook asks for more with Retry-After
    #[arg(long, env = "S3_AUDIT_WEBHOOK_BACKOFF_MAX", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub backoff_max: Duration,

    /// How often in a row a single event may fail, while others are delivered, before it is set aside as rejected; 0: never
    #[arg(long, env = "S3_AUDIT_WEBHOOK_REJECT_AFTER", value_name = "N", default_value = "5", value_parser = parse_count::<u32>)]
    pub reject_after: u32,

    /// Time for sending what is held after SIGTERM; what is left then is dropped and counted
    #[arg(long, env = "S3_AUDIT_WEBHOOK_SHUTDOWN_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub shutdown_timeout: Duration,

    /// Time between two lines of the log that sum up losses or an outage
    #[arg(long, env = "S3_AUDIT_WEBHOOK_REPORT_INTERVAL", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub report_interval: Duration,

    /// Form of the log's lines on standard error: text, or json (one object a line)
    #[arg(
        long,
        env = "S3_AUDIT_WEBHOOK_LOG_FORMAT",
        value_name = "text|json",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.trim()
        .parse()
        .map_err(|_| "expected an address such as 127.0.0.1:9108".into())
}

fn for_enable(argument: Arg) -> Arg {
    match argument.get_id().as_str() {
        id if id == Opt::Config.id() => argument,
        id if id == Opt::AuthToken.id() => argument.env(Resettable::Reset).long_help(
            "The Authorization header's value, scheme included: 'Splunk B5A79AAD-…'\n\n\
             Anyone on this host can read it in the process list. A - reads it from standard input instead: a \
             terminal asks for it and does not show it, of a pipe it is the first line.",
        ),
        _ => argument.env(Resettable::Reset),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_option_is_declared_and_every_declaration_has_its_option() {
        let command = Cli::command();
        let arguments = command
            .get_subcommands()
            .flat_map(clap::Command::get_arguments);
        let declared: BTreeSet<_> = arguments
            .map(|argument| argument.get_id().as_str())
            .filter(|id| *id != "help")
            .collect();
        assert_eq!(
            declared,
            Opt::ALL.iter().map(|option| option.id()).collect()
        );
    }

    #[test]
    fn every_option_has_the_flag_and_the_variable_of_its_name() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for option in Opt::ALL.iter().filter(|option| **option != Opt::Json) {
            let arguments = &mut run.get_arguments();
            let argument = arguments
                .find(|argument| argument.get_id() == option.id())
                .unwrap();
            assert_eq!(format!("--{}", argument.get_long().unwrap()), option.flag());
            assert_eq!(
                argument.get_env().unwrap().to_str(),
                Some(&*option.variable())
            );
        }
    }

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }
}
