//! Options of the webhook, declared once: those that a running agent takes over from the settings file.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, Command};

use crate::config::opt::Opt;
use crate::text::quantity::parse_duration;
use crate::webhook::encode::{Compressed, Format};
use crate::webhook::header;

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
        id = "header",
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
    /// Each with its declaration: what `enable` may write, `show` shows, and a running agent takes over.
    pub fn declarations() -> Vec<(Opt, Arg)> {
        let command = Self::augment_args(Command::new(""));
        let arguments = command.get_arguments();
        let declared =
            |argument: &Arg| Some((Opt::from_id(argument.get_id().as_str())?, argument.clone()));
        arguments.filter_map(declared).collect()
    }
}

impl fmt::Debug for WebhookOptions {
    /// The token is shown nowhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookOptions(…)")
    }
}

/// A switch as people write it in the environment.
pub(crate) fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}
