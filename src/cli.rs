//! Commands and options, each declared once: the flag, the environment variable, the default and the
//! help text come from here.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::quantity::{Size, Took, parse_count, parse_duration, parse_size};
use crate::source::{Spec, WhenFull};

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
    Run(RunOptions),
}

/// Options of `run`. Each is also read from the environment; a flag wins.
#[derive(Debug, Args)]
#[command(
    after_help = "The log goes to standard error; S3_AUDIT_WEBHOOK_LOG=warn (error, warn, \
                        info, off) sets its level.\nExit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub struct RunOptions {
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
    /// Anyone on this host can read it in the process list; --auth-token-file can't be read so.
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

    /// Where events come from; may be given several times, or separated by commas
    ///
    /// stdin; file:PATH (followed as it grows and is rotated); unix:PATH (a socket to connect to, such as
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

    /// Time for finding the webhook's address, and for connecting to it
    #[arg(long, env = "S3_AUDIT_WEBHOOK_CONNECT_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub connect_timeout: Duration,

    /// Time for a whole request
    #[arg(long, env = "S3_AUDIT_WEBHOOK_REQUEST_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub request_timeout: Duration,

    /// PEM file of the CAs to trust, instead of this host's own roots
    #[arg(long, env = "S3_AUDIT_WEBHOOK_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Do not verify the webhook's certificate: anyone on the way can read token and events
    #[arg(long, env = "S3_AUDIT_WEBHOOK_INSECURE", value_parser = parse_switch)]
    pub insecure: bool,

    /// Time for sending what is held after SIGTERM; what is left then is dropped and counted
    #[arg(long, env = "S3_AUDIT_WEBHOOK_SHUTDOWN_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub shutdown_timeout: Duration,

    /// Time between two lines of the log that sum up losses or an outage
    #[arg(long, env = "S3_AUDIT_WEBHOOK_REPORT_INTERVAL", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub report_interval: Duration,
}

/// What was asked for, and how it was written.
#[derive(Debug)]
pub struct Given {
    /// The options.
    pub options: RunOptions,
    matches: ArgMatches,
}

/// Something that was asked for and can't be: which option, and what is wrong with it.
#[derive(Debug)]
pub struct UsageError(pub String);

impl Given {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// `--help` and `--version` among them; the error prints itself and knows its exit code.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let mut matches = Cli::command()
            .try_get_matches_from(&arguments)
            .map_err(|error| put_right(error, &arguments))?;
        let Cli {
            command: Command::Run(options),
        } = Cli::from_arg_matches_mut(&mut matches.clone())?;
        let (_, matches) = matches.remove_subcommand().unwrap_or_default();
        Ok(Given { options, matches })
    }

    /// An error that names option `id` (a field of [`RunOptions`]) as its user wrote it.
    pub fn wrong(&self, id: &str, what: impl std::fmt::Display) -> UsageError {
        UsageError(format!("{}: {what}", self.name(id)))
    }

    /// The flag or variable that option `id` came from.
    pub fn name(&self, id: &str) -> String {
        let command = Cli::command();
        let argument = command
            .find_subcommand("run")
            .and_then(|run| run.get_arguments().find(|argument| argument.get_id() == id));
        let Some(argument) = argument else {
            return id.to_owned();
        };
        match (self.matches.value_source(id), argument.get_env()) {
            (Some(ValueSource::EnvVariable), Some(variable)) => variable.display().to_string(),
            _ => format!("--{}", argument.get_long().unwrap_or(id)),
        }
    }

    /// Whether option `id` was given, as a flag rather than by the environment.
    pub fn is_flag(&self, id: &str) -> bool {
        self.matches.value_source(id) == Some(ValueSource::CommandLine)
    }

    /// Refuses limits that can't work, alone or together.
    ///
    /// # Errors
    /// Names the option.
    pub fn check_limits(&self) -> Result<(), UsageError> {
        let options = &self.options;
        for (id, value) in [
            ("max_event_bytes", options.max_event_bytes),
            ("buffer_events", options.buffer_events),
            ("buffer_bytes", options.buffer_bytes),
            ("batch_events", options.batch_events),
            ("batch_bytes", options.batch_bytes),
            ("listen_connections", options.listen_connections),
            ("max_body_bytes", options.max_body_bytes),
        ] {
            if value == 0 {
                return Err(self.wrong(id, "is 0; expected 1 or more"));
            }
        }
        for (id, value, most, shown) in [
            ("max_event_bytes", options.max_event_bytes, 1 << 30, "1GiB"),
            ("max_body_bytes", options.max_body_bytes, 1 << 30, "1GiB"),
            ("buffer_bytes", options.buffer_bytes, 1 << 40, "1024GiB"),
        ] {
            if value as u64 > most {
                let what = format!("{} is over {shown}; expected that or less", Size(value));
                return Err(self.wrong(id, what));
            }
        }
        for (id, value) in [
            ("listen_timeout", options.listen_timeout),
            ("connect_timeout", options.connect_timeout),
            ("request_timeout", options.request_timeout),
            ("backoff_min", options.backoff_min),
            ("report_interval", options.report_interval),
        ] {
            if value < Duration::from_millis(1) {
                let what = format!("{} is too short; expected 1ms or more", Took(value));
                return Err(self.wrong(id, what));
            }
        }
        if options.backoff_max < options.backoff_min {
            return Err(self.wrong(
                "backoff_max",
                format!(
                    "{} is less than {}, which is {}; expected that or more",
                    Took(options.backoff_max),
                    self.name("backoff_min"),
                    Took(options.backoff_min)
                ),
            ));
        }
        Ok(())
    }
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

/// Mends what clap says of a wrong command line: the variable that a value came from goes unnamed,
/// and the rest of a token without its quotes is shown.
fn put_right(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    match error.kind() {
        ErrorKind::ValueValidation => name_variable(&error, argument, arguments).unwrap_or(error),
        ErrorKind::UnknownArgument if !argument.starts_with('-') => clap::Error::raw(
            ErrorKind::UnknownArgument,
            "an argument that belongs to no option; a value with spaces needs quotes, such as \
             --auth-token 'Splunk <token>'\n",
        ),
        _ => error,
    }
}

/// clap names the flag of a wrong value even if it came from the environment: add the variable.
fn name_variable(
    error: &clap::Error,
    argument: &str,
    arguments: &[OsString],
) -> Option<clap::Error> {
    let flag = argument.split(' ').next().unwrap_or_default();
    let is_on_line = arguments.iter().any(|argument| {
        argument
            .to_str()
            .is_some_and(|text| text == flag || text.starts_with(&format!("{flag}=")))
    });
    if is_on_line {
        return None;
    }
    let variable = format!(
        "S3_AUDIT_WEBHOOK_{}",
        flag[2..].to_uppercase().replace('-', "_")
    );
    let message = error.to_string();
    let first = message
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    Some(clap::Error::raw(
        ErrorKind::ValueValidation,
        format!("{variable}: {first}\n"),
    ))
}

#[cfg(test)]
mod tests {
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
