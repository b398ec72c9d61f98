//! The trail's options, declared like those in [`options`](crate::config::options).

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::webhook_options::parse_switch;
use crate::text::quantity::parse_duration;

/// Options of `run` for the trail.
#[derive(Debug, Args)]
pub struct TrailOptions {
    /// Number events, and send records of losses, so that the archive shows what is missing
    ///
    /// Records of starts, stops and counts are sent too. With --format hec, events have the indexed fields audit_stream
    /// and audit_seq; before _bulk's {"create":{}} an _id with both; otherwise requests have the headers X-Audit-Stream and
    /// X-Audit-Seq. `s3-audit-webhook verify` checks an export.
    #[arg(long, value_parser = parse_switch)]
    pub trail: bool,

    /// How often --trail records the counts so far, also when nothing has happened
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    pub trail_interval: Duration,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub struct VerifyOptions {
    /// Exports of the archive, an event a line; - for standard input
    ///
    /// HEC's envelopes, exports of Splunk or Elasticsearch, or bare records.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Print one JSON object, for programs
    #[arg(long)]
    pub json: bool,
}
