//! Commands and options, each declared once: the flag, the environment variable, the default and the
//! help text come from here, and so do the settings file's example, the manual page and the completions.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Args, Parser, Subcommand};

use crate::source::{FileStart, Spec, WhenFull};
use crate::telemetry::log::LogFormat;
use crate::text::quantity::{parse_count, parse_duration, parse_size};
use crate::webhook::encode::{Compressed, Format};
use crate::webhook::header;

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

/// Settings of the webhook: those that a running agent takes over from the settings file as they change.
#[derive(Args)]
pub struct WebhookOptions {
    /// The webhook's URL, such as https://splunk:8088/services/collector/raw
    #[arg(
        long,
        env = "S3_AUDIT_WEBHOOK_ENDPOINT",
        value_name = "URL",
        hide_env_values = true
    )]
    pub endpoint: Option<String>,

    /// The Authorization header's value, scheme included: 'Splunk B5A79AAD-…'
    ///
    /// Anyone on this host can read it in the process list; --auth-token-file can't be read so. For a webhook that wants
    /// none: none.
    #[arg(
        long,
        env = "S3_AUDIT_WEBHOOK_AUTH_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub auth_token: Option<String>,

    /// A file that holds the Authorization header's value
    #[arg(long, env = "S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE", value_name = "FILE")]
    pub auth_token_file: Option<PathBuf>,

    /// What a body looks like: ndjson, array, single or hec
    ///
    /// ndjson: an event a line, as Splunk's raw endpoint takes them; array: one JSON array; single: one event a
    /// request; hec: the envelope of Splunk's event endpoint, …/services/collector/event.
    #[arg(
        long,
        env = "S3_AUDIT_WEBHOOK_FORMAT",
        value_name = "FORMAT",
        default_value = "ndjson"
    )]
    pub format: Format,

    /// One fixed line before each event, such as {"create":{}} for Elasticsearch's _bulk
    #[arg(long, env = "S3_AUDIT_WEBHOOK_EVENT_PREFIX", value_name = "LINE")]
    pub event_prefix: Option<String>,

    /// How bodies are compressed: none, gzip, or gzip:1 (fast, what gzip means) to gzip:9 (small)
    #[arg(
        long,
        env = "S3_AUDIT_WEBHOOK_COMPRESS",
        value_name = "HOW",
        default_value = "none"
    )]
    pub compress: Compressed,

    /// One more header for each request, such as 'DD-API-KEY: @/etc/key'; may be given several times, or separated by |
    ///
    /// Anyone on this host can read its value in the process list; 'Name: @FILE' takes it from a file, which can't be
    /// read so.
    #[arg(
        long = "header",
        env = "S3_AUDIT_WEBHOOK_HEADER",
        value_name = "NAME: VALUE",
        value_delimiter = header::SEPARATOR,
        hide_env_values = true
    )]
    pub headers: Vec<String>,

    /// Splunk's host for the events, with --format hec or the raw endpoint; if not given, this machine's name
    #[arg(long, env = "S3_AUDIT_WEBHOOK_HEC_HOST", value_name = "NAME")]
    pub hec_host: Option<String>,

    /// Splunk's source for the events, with --format hec or the raw endpoint
    #[arg(long, env = "S3_AUDIT_WEBHOOK_HEC_SOURCE", value_name = "NAME")]
    pub hec_source: Option<String>,

    /// Splunk's source type for the events, with --format hec or the raw endpoint
    #[arg(long, env = "S3_AUDIT_WEBHOOK_HEC_SOURCETYPE", value_name = "NAME")]
    pub hec_sourcetype: Option<String>,

    /// Splunk's index for the events, with --format hec or the raw endpoint
    #[arg(long, env = "S3_AUDIT_WEBHOOK_HEC_INDEX", value_name = "NAME")]
    pub hec_index: Option<String>,

    /// PEM file of the CAs to trust, instead of this host's own roots
    #[arg(long, env = "S3_AUDIT_WEBHOOK_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Do not verify the webhook's certificate: anyone on the way can read token and events
    #[arg(long, env = "S3_AUDIT_WEBHOOK_INSECURE", value_parser = parse_switch)]
    pub insecure: bool,

    /// PEM file of the certificate (with its chain) that this host shows to a webhook that wants one
    #[arg(long, env = "S3_AUDIT_WEBHOOK_CLIENT_CERT", value_name = "FILE")]
    pub client_cert: Option<PathBuf>,

    /// PEM file of that certificate's key, if it does not stand in the certificate's file
    #[arg(long, env = "S3_AUDIT_WEBHOOK_CLIENT_KEY", value_name = "FILE")]
    pub client_key: Option<PathBuf>,

    /// HTTP proxy on the way to the webhook, such as http://proxy:3128, instead of the environment's
    ///
    /// It is asked to CONNECT. Its user and password go before the host, as in http://user:password@proxy:3128;
    /// on the command line anyone on this host can read them in the process list. Without this option HTTPS_PROXY,
    /// http_proxy, ALL_PROXY and NO_PROXY are read as curl does.
    #[arg(
        long,
        env = "S3_AUDIT_WEBHOOK_PROXY",
        value_name = "URL",
        hide_env_values = true
    )]
    pub proxy: Option<String>,

    /// Use no proxy, although the environment names one
    #[arg(long, env = "S3_AUDIT_WEBHOOK_NO_PROXY", value_parser = parse_switch)]
    pub no_proxy: bool,

    /// Time for finding the webhook's address, and for connecting to it
    #[arg(long, env = "S3_AUDIT_WEBHOOK_CONNECT_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub connect_timeout: Duration,

    /// Time for a whole request
    #[arg(long, env = "S3_AUDIT_WEBHOOK_REQUEST_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub request_timeout: Duration,
}

impl WebhookOptions {
    /// Their declaration by themselves: what `enable` may write, `show` tells, and a running agent takes over.
    pub fn declaration() -> clap::Command {
        Self::augment_args(clap::Command::new(""))
    }
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
    #[arg(long, env = "S3_AUDIT_WEBHOOK_LISTEN_CONNECTIONS", value_name = "N", default_value = "256", value_parser = parse_count)]
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
    #[arg(long, env = "S3_AUDIT_WEBHOOK_BUFFER_EVENTS", value_name = "N", default_value = "100000", value_parser = parse_count)]
    pub buffer_events: usize,

    /// Bytes of events held at most; the agent's memory stays within 12 MiB of this, but for bodies that http: is reading
    #[arg(long, env = "S3_AUDIT_WEBHOOK_BUFFER_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub buffer_bytes: usize,

    /// Events in a request at most
    #[arg(long, env = "S3_AUDIT_WEBHOOK_BATCH_EVENTS", value_name = "N", default_value = "10000", value_parser = parse_count)]
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

    /// Time for sending what is held after SIGTERM; what is left then is dropped and counted
    #[arg(long, env = "S3_AUDIT_WEBHOOK_SHUTDOWN_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub shutdown_timeout: Duration,

    /// Time between two lines of the log that sum up losses or an outage
    #[arg(long, env = "S3_AUDIT_WEBHOOK_REPORT_INTERVAL", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub report_interval: Duration,

    /// Form of the log's lines: text, or json for one object a line
    #[arg(
        long,
        env = "S3_AUDIT_WEBHOOK_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.trim()
        .parse()
        .map_err(|_| "expected an address such as 127.0.0.1:9108".into())
}

/// A switch as people write it in the environment.
fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

impl fmt::Debug for WebhookOptions {
    /// The token is shown nowhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookOptions(…)")
    }
}

fn for_enable(argument: Arg) -> Arg {
    match argument.get_id().as_str() {
        "config" => argument,
        "auth_token" => argument.env(Resettable::Reset).long_help(
            "The Authorization header's value, scheme included: 'Splunk B5A79AAD-…'\n\n\
             Anyone on this host can read it in the process list. A - reads it from standard input instead: a \
             terminal asks for it and does not show it, of a pipe it is the first line.",
        ),
        _ => argument.env(Resettable::Reset),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_option_has_a_variable_of_its_name() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let options = run
            .get_arguments()
            .filter(|argument| argument.get_id() != "help");
        let mut count = 0;
        for option in options {
            let name = option.get_long().unwrap().to_uppercase().replace('-', "_");
            let variable = option.get_env().and_then(|variable| variable.to_str());
            assert_eq!(variable, Some(format!("S3_AUDIT_WEBHOOK_{name}").as_str()));
            count += 1;
        }
        assert!(count > 15);
    }

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }
}
