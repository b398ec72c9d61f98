//! Options of the webhook, declared once: a running agent follows their changes in the settings file.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, Command};

use crate::config::opt::Opt;
use crate::delivery::route::Mode;
use crate::text::certificate::{Fingerprint, parse_fingerprint};
use crate::text::quantity::parse_duration;
use crate::webhook::address_family::AddressFamily;
use crate::webhook::encode::{Compressed, Format};
use crate::webhook::endpoint;
use crate::webhook::event_time::TimePath;
use crate::webhook::header;

/// Options of the webhook: a running agent follows their changes in the settings file.
#[derive(Args)]
pub struct WebhookOptions {
    /// URL of the webhook, such as https://splunk:8088/services/collector/raw
    ///
    /// Repeatable, or separated by blanks or commas: endpoints of one webhook, with the same token; see --endpoint-mode.
    #[arg(
        id = "endpoint",
        long = "endpoint",
        value_name = "URL",
        hide_env_values = true
    )]
    pub endpoints: Vec<String>,

    /// How to use several endpoints: failover (the first that works) or spread
    ///
    /// failover: the first in the list that works. spread: each connection uses another endpoint every 30 s. In both cases,
    /// events that one endpoint fails to take go to another at once.
    #[arg(long, value_name = "failover|spread", default_value = "failover")]
    pub endpoint_mode: Mode,

    /// With failover, how long an endpoint must work before it is used again
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub failback: Duration,

    /// Value of the Authorization header, such as 'Splunk B5A79AAD-…'; or none
    ///
    /// Everyone on this host can see it in the process list: prefer --auth-token-file.
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub auth_token: Option<String>,

    /// File that contains the value of the Authorization header
    #[arg(long, value_name = "FILE")]
    pub auth_token_file: Option<PathBuf>,

    /// Format of request bodies: ndjson, array, single or hec
    ///
    /// ndjson: one event per line, for Splunk's raw endpoint; array: one JSON array; single: one event per request;
    /// hec: the envelope of Splunk's event endpoint, …/services/collector/event.
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    pub format: Format,

    /// Fixed line before each event, such as {"create":{}} for Elasticsearch's _bulk
    #[arg(long, value_name = "LINE")]
    pub event_prefix: Option<String>,

    /// Compression of request bodies: none, gzip, or gzip:1 (fast) to gzip:9 (small)
    ///
    /// gzip is the same as gzip:1.
    #[arg(long, value_name = "HOW", default_value = "none")]
    pub compress: Compressed,

    /// Additional request header, such as 'DD-API-KEY: @/etc/key'; repeatable
    ///
    /// Several in one value are separated by |. Everyone on this host can see its value in the process list: prefer 'Name:
    /// @FILE', which reads it from a file.
    #[arg(
        id = "header",
        long = "header",
        value_name = "NAME: VALUE",
        value_delimiter = header::SEPARATOR,
        hide_env_values = true
    )]
    pub headers: Vec<String>,

    /// File of the key that requests are signed with, as in Standard Webhooks
    ///
    /// The key is whsec_ and base64. Two keys, a line each, make two signatures, so that keys can be changed while
    /// receivers have either.
    #[arg(long, value_name = "FILE")]
    pub sign_key_file: Option<PathBuf>,

    /// Splunk's host of the events; by default the name of this host
    #[arg(long, value_name = "NAME")]
    pub hec_host: Option<String>,

    /// Splunk's source of the events
    #[arg(long, value_name = "NAME")]
    pub hec_source: Option<String>,

    /// Splunk's source type of the events
    #[arg(long, value_name = "NAME")]
    pub hec_sourcetype: Option<String>,

    /// Splunk's index of the events
    #[arg(long, value_name = "NAME")]
    pub hec_index: Option<String>,

    /// Count events as delivered once Splunk has indexed them (indexer acknowledgement)
    ///
    /// It must be turned on for the token, and Splunk Enterprise has it. Events are buffered until then.
    #[arg(long, value_parser = parse_switch)]
    pub hec_ack: bool,

    /// With --hec-ack, how long to wait before events are sent again
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub hec_ack_timeout: Duration,

    /// With --format hec, where the time is in an event, such as meta.when
    ///
    /// By default, members such as time, timestamp, eventTime and ts are tried. Dots separate the names of nested members;
    /// a number selects an element of an array.
    #[arg(long, value_name = "PATH")]
    pub time_field: Option<TimePath>,

    /// File of the CA certificates to trust instead of this host's, PEM or DER
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Trust only the certificate, or public key, with this SHA-256; repeatable
    ///
    /// Several in one value are separated by commas. Whatever its version, name and expiry, and instead of any CA: for
    /// certificates that can't be verified otherwise, such as the one that Splunk makes at installation. The command test
    /// shows both values of what the webhook has. It wins over --ca-file and --insecure.
    #[arg(
        id = "pin_sha256",
        long = "pin-sha256",
        value_name = "HEX",
        value_delimiter = ',',
        value_parser = parse_fingerprint
    )]
    pub pins: Vec<Fingerprint>,

    /// Name in the webhook's certificate, if it is not the endpoint's host
    #[arg(long, value_name = "NAME")]
    pub tls_server_name: Option<String>,

    /// Don't verify the webhook's certificate
    ///
    /// Anyone on the network path can then read the token and the events.
    #[arg(long, value_parser = parse_switch)]
    pub insecure: bool,

    /// File of this host's client certificate with its chain, PEM
    #[arg(long, value_name = "FILE")]
    pub client_cert: Option<PathBuf>,

    /// File of the client certificate's private key, if it is not in that file
    #[arg(long, value_name = "FILE")]
    pub client_key: Option<PathBuf>,

    /// HTTP proxy to the webhook, such as http://proxy:3128
    ///
    /// It is used with CONNECT. User and password go before the host, as in http://user:password@proxy:3128; everyone on this
    /// host can see them in the process list. Without this option, HTTPS_PROXY, http_proxy, ALL_PROXY and NO_PROXY are used
    /// as curl does.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub proxy: Option<String>,

    /// Use no proxy, even if the environment names one
    #[arg(long, value_parser = parse_switch)]
    pub no_proxy: bool,

    /// Which addresses of the webhook, or the proxy, to use: 4, 6 or any
    #[arg(long, value_name = "4|6|any", default_value = "any")]
    pub address_family: AddressFamily,

    /// Timeout for looking up the webhook's name, and for connecting to it
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub connect_timeout: Duration,

    /// Timeout for a whole request
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub request_timeout: Duration,
}

impl WebhookOptions {
    /// Each endpoint, as it was written.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().flat_map(|text| endpoint::list(text))
    }

    /// The files that are named.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let named = [
            &self.auth_token_file,
            &self.sign_key_file,
            &self.ca_file,
            &self.client_cert,
            &self.client_key,
        ];
        let named = named.into_iter().flatten().cloned();
        let in_headers = self.headers.iter().filter_map(|text| header::file(text));
        named.chain(in_headers)
    }

    /// Each option with its declaration: what `enable` may write, `show` shows, and a running agent follows.
    pub fn declarations() -> Vec<(Opt, Arg)> {
        let command = Self::augment_args(Command::new(""));
        let arguments = command.get_arguments();
        let declared =
            |argument: &Arg| Some((Opt::from_id(argument.get_id().as_str())?, argument.clone()));
        arguments.filter_map(declared).collect()
    }
}

impl fmt::Debug for WebhookOptions {
    /// They contain the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookOptions(…)")
    }
}

/// A boolean as people write it in the environment.
pub(crate) fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("is neither true nor false; fix: use one of them".into()),
    }
}
