//! Commands and options, each declared once: the flag, the default and the help text; the environment variable has the
//! flag's name. The example settings file, the manual pages and the completions are generated from them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

pub use crate::config::command_options::{DisableOptions, EnableOptions, ShowOptions, TestOptions};
pub use crate::config::opt::Opt;
pub use crate::config::rules_options::RulesOptions;
pub use crate::config::shared_options::ConfigOption;
pub use crate::config::spool_options::{SpoolAction, SpoolOptions, SpoolRunOptions};
pub use crate::config::trail_options::{TrailOptions, VerifyOptions};
pub use crate::config::webhook_options::WebhookOptions;

use crate::config::command_options::grouped;
use crate::config::webhook_options::parse_switch;
use crate::source::spec::{FileStart, HecInput, Spec, WhenFull};
use crate::telemetry::log::LogFormat;
use crate::text::quantity::{parse_count, parse_duration, parse_size};

/// Forwards S3 audit events as JSON to a webhook such as Splunk's HTTP Event Collector.
///
/// S3 traffic never waits for it. Every lost event is counted and logged.
#[derive(Debug, Parser)]
#[command(name = "s3-audit-webhook", version, arg_required_else_help = true)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Forward events until the sources end or SIGTERM arrives
    Run(Box<RunOptions>),
    /// Set the webhook for all agents that use the settings file
    Enable(Box<EnableOptions>),
    /// Stop forwarding for all agents that use the settings file; its other settings remain
    Disable(DisableOptions),
    /// Show the configuration and the status of all agents
    #[command(visible_alias = "status")]
    Show(ShowOptions),
    /// Check settings and the files that they name, without starting anything
    #[command(override_usage = "s3-audit-webhook check [OPTIONS OF run]")]
    Check(Box<RunOptions>),
    /// Send a test event and report the result
    Test(Box<TestOptions>),
    /// Show, print or check what is in a spool; the agent need not be stopped for that
    Spool(SpoolOptions),
    /// Check an export of an archive that was made with --trail: is anything missing that no record reports?
    Verify(VerifyOptions),
}

/// Options of `run`.
#[derive(Debug, Args)]
#[command(
    mut_args(grouped),
    term_width = 0,
    after_help = "Each option is also a variable, and a line of the settings file: --batch-bytes is \
                  S3_AUDIT_WEBHOOK_BATCH_BYTES.\nThe log goes to standard error; S3_AUDIT_WEBHOOK_LOG sets its level: error, warn, info (default) \
                  or off, in the environment only.\nExit codes: 0 success, 1 failure, 2 wrong usage."
)]
pub struct RunOptions {
    /// The webhook.
    #[command(flatten)]
    pub webhook: WebhookOptions,

    /// Whether events are forwarded; enable and disable set it in the settings file
    #[arg(long, value_name = "true|false", default_value = "true", action = ArgAction::Set, value_parser = parse_switch)]
    pub enabled: bool,

    /// What leaves the host.
    #[command(flatten)]
    pub rules: RulesOptions,

    /// Where events come from, such as file:/var/log/s3/audit.log; repeatable
    ///
    /// Several in one value are separated by commas. stdin; file:PATH (followed as it grows and is rotated; with *, ?, [
    /// or ** in any part, all files that match); unix:PATH (a socket to connect to, such as Ceph RGW's ops log);
    /// unix-listen:PATH (a socket that writers connect to); http:ADDR:PORT (a webhook for servers that push);
    /// https:ADDR:PORT (the same with TLS); fluent:ADDR:PORT or fluent:PATH (SeaweedFS, fluentd, Fluent Bit);
    /// fluents:ADDR:PORT (the same with TLS).
    #[arg(
        id = "source",
        long = "source",
        value_name = "SOURCE",
        value_delimiter = ',',
        default_value = "stdin"
    )]
    pub sources: Vec<Spec>,

    /// Whether sources drop or wait when the buffer is full; if not set, only file: and a file as standard input wait
    #[arg(long, value_name = "drop|wait")]
    pub when_full: Option<WhenFull>,

    /// Max size of an event; longer ones are dropped and counted
    ///
    /// --buffer-bytes is a limit too.
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = parse_size)]
    pub max_event_bytes: usize,

    /// Where the first start begins to read files that exist: beginning or end
    ///
    /// Later starts continue at the checkpoint of the previous one, and files that appear later are read from their
    /// beginning.
    #[arg(long, value_name = "beginning|end", default_value = "beginning")]
    pub file_start: FileStart,

    /// Files that no file: source reads, such as *.gz or /var/log/pods/**/debug.log; repeatable
    ///
    /// Several in one value are separated by commas. A pattern without a slash applies to file and directory names; one
    /// with a slash to the whole path.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', value_parser = parse_pattern)]
    pub exclude_files: Vec<String>,

    /// Max size of removed files that are kept open until they are read
    ///
    /// Beyond that, the oldest are lost and counted.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    pub max_deleted_bytes: usize,

    /// File of tokens, one of which clients of http: must send
    ///
    /// Required unless it listens on loopback. A line is the Authorization value, such as Splunk TOKEN or Bearer TOKEN; or
    /// USER:PASSWORD, for clients that take both from their URL. The file is read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub listen_token_file: Option<PathBuf>,

    /// PEM file of the certificate of https: and fluents:, with its chain
    ///
    /// It is read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub listen_cert: Option<PathBuf>,

    /// PEM file of that certificate's key, unless it is in the same file
    #[arg(long, value_name = "FILE")]
    pub listen_key: Option<PathBuf>,

    /// PEM file of CAs; clients of https: and fluents: need a certificate of one
    #[arg(long, value_name = "FILE")]
    pub listen_client_ca: Option<PathBuf>,

    /// Max connections of a listening source; of fluent:, http: and unix-listen: 4096 if not set
    ///
    /// Without it, an http: source reads 256 requests at a time, and other connections wait for their next. A further one replaces one that has waited long in an unfinished request or message, or between two requests. If there is none, http:
    /// answers 503, and others close it. Connections of http: that have shown a valid token are not replaced.
    #[arg(long, value_name = "N", default_value = "256", value_parser = parse_count::<usize>)]
    pub listen_connections: usize,

    /// Max connections of an http: source from one address; 0: no limit
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse_count::<usize>)]
    pub listen_connections_per_peer: usize,

    /// Timeout for a request or message to a listening source
    ///
    /// It counts from the first byte to the last.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub listen_timeout: Duration,

    /// Max size of a request body of an http: source, decompressed too
    ///
    /// Each http: source needs memory for up to four such bodies, 1 MiB more, and 96 KiB for each request at a
    /// time (https: 192 KiB for each connection), whatever the bodies contain.
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = parse_size)]
    pub max_body_bytes: usize,

    /// Whether an http: source keeps the envelopes of Splunk's event endpoint
    ///
    /// Clients that post to /services/collector/event put each event into {"event":…,"time":…,"host":…}. keep sends such
    /// envelopes on as they are, which --format hec needs to keep their time, host, index, source and source type; unwrap
    /// sends only the event. Default: keep with --format hec, unwrap otherwise.
    #[arg(long, value_name = "keep|unwrap")]
    pub hec_input: Option<HecInput>,

    /// Mode of socket files of fluent: and unix-listen:, in octal
    ///
    /// Their group is the agent's.
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = parse_mode)]
    pub socket_mode: u32,

    /// Max bytes of buffered events
    ///
    /// The agent needs up to 12 MiB more, and memory for the bodies that http: sources are reading.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub buffer_bytes: usize,

    /// Max number of buffered events; if not set, one for each 64 bytes of --buffer-bytes
    #[arg(long, value_name = "N", value_parser = parse_count::<usize>)]
    pub(super) buffer_events: Option<usize>,

    /// The state directory, and the spool.
    #[command(flatten)]
    pub spool: SpoolRunOptions,

    /// Max size of a request body, after compression; a longer event is sent alone
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_size)]
    pub batch_bytes: usize,

    /// Max size of a request body before compression; by default 8 times --batch-bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) batch_raw_bytes: Option<usize>,

    /// Max number of events in a request
    #[arg(long, value_name = "N", default_value = "10000", value_parser = parse_count::<usize>)]
    pub batch_events: usize,

    /// How long an event waits for others to share its request; 0: not at all
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub batch_age: Duration,

    /// Number of requests at a time, each over its own connection
    ///
    /// With more than 1, events may arrive out of order.
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count::<usize>)]
    pub connections: usize,

    /// Max bytes of request bodies per second, before compression; 0: no limit
    ///
    /// With a limit, a backlog leaves room on the line for others. A body then has a second's worth at most.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub max_rate: usize,

    /// Min delay before a retry; it doubles with each failure, with jitter
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    pub backoff_min: Duration,

    /// Max delay before a retry, even if Retry-After asks for more
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub backoff_max: Duration,

    /// How often an event may fail, while others pass, before it is rejected; 0: never
    ///
    /// These are failures of the event alone, in a row.
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_count::<u32>)]
    pub reject_after: u32,

    /// File for events that the webhook rejects, with its answer
    ///
    /// One JSON object per line.
    #[arg(long, value_name = "FILE")]
    pub reject_file: Option<PathBuf>,

    /// Max size of --reject-file; when it is full, it is renamed to FILE.1
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub reject_bytes: usize,

    /// Address to serve /healthz and /metrics on, such as 127.0.0.1:9108
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address)]
    pub status_listen: Option<SocketAddr>,

    /// File of tokens, one of which clients must send to read /metrics
    ///
    /// Lines as those of --listen-token-file, such as Bearer TOKEN. Without a token, a client still gets the status of
    /// /healthz, but not why it is unhealthy. The file is read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub status_token_file: Option<PathBuf>,

    /// How long delivery may fail before /healthz reports it
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    pub unhealthy_after: Duration,

    /// Time between log lines that sum up losses or an outage
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub report_interval: Duration,

    /// Format of log lines: text, or json with one object per line
    #[arg(long, value_name = "text|json", default_value = "text")]
    pub log_format: LogFormat,

    /// What the archive knows of losses.
    #[command(flatten)]
    pub trail: TrailOptions,

    /// Time to send buffered events after SIGTERM; the rest is dropped and counted
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub shutdown_timeout: Duration,

    /// Print request bodies to standard output instead of sending them
    #[arg(long, value_parser = parse_switch)]
    pub dry_run: bool,

    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.trim()
        .parse()
        .map_err(|_| "is no address; fix: use one such as 127.0.0.1:9108".into())
}

fn parse_pattern(text: &str) -> Result<String, String> {
    // A blank behind a comma belongs to no name.
    let text = text.trim();
    let opened = text.rfind('[').map(|at| &text[at + 1..]);
    if text.is_empty() || opened.is_some_and(|set| !set.contains(']')) || text.contains(['{', '}'])
    {
        return Err(
            "is no pattern; fix: use *, ?, [a-z] and **, and the option once for each of several"
                .into(),
        );
    }
    Ok(text.to_owned())
}

/// A file's mode, as chmod takes it. Who connects to a socket needs the right to write to it.
fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        // It may be the decimal number that YAML has made of an octal one: 432 of 0660, with which others could write.
        Ok(mode @ ..=0o777) if !text.starts_with('+') && mode & 0o600 != 0o600 => Err(
            "is no mode with which the owner could read and write; fix: use three octal digits such as 0660, in quotes \
             in YAML: \"0660\""
                .into(),
        ),
        Ok(mode @ ..=0o777) if !text.starts_with('+') => Ok(mode),
        _ => Err("is no file mode; fix: use three octal digits such as 0660".into()),
    }
}

impl RunOptions {
    /// The files that listeners need, and the options that name them.
    pub fn listen_files(&self) -> [(Opt, &Option<PathBuf>); 5] {
        [
            (Opt::ListenTokenFile, &self.listen_token_file),
            (Opt::StatusTokenFile, &self.status_token_file),
            (Opt::ListenCert, &self.listen_cert),
            (Opt::ListenKey, &self.listen_key),
            (Opt::ListenClientCa, &self.listen_client_ca),
        ]
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
        let of_others = Opt::FLAGS_ONLY;
        for option in Opt::ALL.iter().filter(|option| !of_others.contains(option)) {
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
