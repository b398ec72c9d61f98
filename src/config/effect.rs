//! Options that are set and have no effect, because of others: most likely a mistake, such as `--spool-sync always`
//! without a spool.

use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::{Origin, Provenance};
use crate::delivery::route::Mode;
use crate::telemetry::message::Message;
use crate::webhook::encode::{Compressed, Format};

/// What an operator should know of the settings of `run`: such options, and the [rest](Provenance::warnings).
pub fn warnings(options: &RunOptions, provenance: &Provenance) -> Vec<Message> {
    let mut warnings = provenance.warnings();
    warnings.extend(without_effect(options, provenance));
    warnings
}

/// A message for each of them.
fn without_effect(options: &RunOptions, provenance: &Provenance) -> Vec<Message> {
    // A settings file is for all agents of a host, and the source that needs the option may be that of another agent.
    let is_of_others = |option| {
        let [option, source] = [option, Opt::Source].map(|option| provenance.origin(option));
        matches!(option, Origin::File(..)) && !matches!(source, Origin::File(..))
    };
    let of_sources = sources(options).into_iter();
    let of_sources = of_sources.filter(|(option, ..)| !is_of_others(*option));
    let needs = others(options).into_iter().chain(of_sources);
    let idle = needs
        .filter(|(option, is_met, _)| !is_met && provenance.origin(*option) != Origin::Default);
    idle.map(|(option, _, needed)| Message::WithoutEffect {
        option: provenance.name(option),
        needed: needed.to_owned(),
    })
    .collect()
}

/// Which options need others: whether these are there, and what they are.
fn others(options: &RunOptions) -> Vec<(Opt, bool, &'static str)> {
    let webhook = &options.webhook;
    let has_several = webhook.endpoints().nth(1).is_some();
    let has_failover = has_several && webhook.endpoint_mode == Mode::Failover;
    let has_spool = options.spool.spool_bytes > 0;
    let has_rejects = options.reject_file.is_some();
    let has_gzip = webhook.compress != Compressed::No;
    let is_hec = webhook.format == Format::Hec;
    vec![
        (Opt::EndpointMode, has_several, "a second --endpoint"),
        (
            Opt::Failback,
            has_failover,
            "a second --endpoint, with failover",
        ),
        (Opt::HecAckTimeout, webhook.hec_ack, "--hec-ack"),
        (Opt::TimeField, is_hec, "--format hec"),
        (Opt::SpoolDir, has_spool, "--spool-bytes"),
        (Opt::SpoolSync, has_spool, "--spool-bytes"),
        (Opt::RejectBytes, has_rejects, "--reject-file"),
        (Opt::BatchRawBytes, has_gzip, "--compress"),
        (Opt::TrailInterval, options.trail.trail, "--trail"),
        (
            Opt::MaxEventBytes,
            options.max_event_bytes <= options.buffer_bytes,
            "a --buffer-bytes that is as large",
        ),
    ]
}

/// Which options need a source.
fn sources(options: &RunOptions) -> Vec<(Opt, bool, &'static str)> {
    let has = |kinds: &[&str]| options.sources.iter().any(|it| kinds.contains(&it.kind()));
    let has_file = has(&["file"]);
    let has_http = has(&["http", "https"]);
    let has_tls = has(&["https", "fluents"]);
    let listens = has_http || has_tls || has(&["fluent", "unix-listen"]);
    let (file, http) = ("a source file:", "a source http: or https:");
    let tls = "a source https: or fluents:";
    let listener = "a source that listens";
    vec![
        (Opt::FileStart, has_file, file),
        (Opt::ExcludeFiles, has_file, file),
        (Opt::MaxDeletedBytes, has_file, file),
        (Opt::ListenTokenFile, has_http, http),
        (Opt::ListenConnectionsPerPeer, has_http, http),
        (Opt::MaxBodyBytes, has_http, http),
        (Opt::HecInput, has_http, http),
        (Opt::ListenCert, has_tls, tls),
        (Opt::ListenKey, has_tls, tls),
        (Opt::ListenClientCa, has_tls, tls),
        (Opt::ListenConnections, listens, listener),
        (Opt::ListenTimeout, listens, listener),
        (
            Opt::SocketMode,
            has(&["fluent", "unix-listen"]),
            "a source fluent: or unix-listen: with a path",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::invocation::Invocation;
    use crate::config::options::Command;

    fn idle(arguments: &str) -> Vec<String> {
        let arguments = format!("x run --endpoint http://h/ --auth-token none {arguments}");
        let arguments = arguments.split_whitespace().map(OsString::from);
        let invocation = Invocation::read(arguments).unwrap();
        let Command::Run(options) = invocation.command else {
            panic!("not run");
        };
        let idle = without_effect(&options, &invocation.provenance);
        idle.iter().map(Message::text).collect()
    }

    #[test]
    fn each_option_has_an_effect_only_with_what_it_needs() {
        for (option, needed) in [
            ("--endpoint-mode spread", "--endpoint http://i/"),
            ("--failback 1m", "--endpoint http://i/"),
            ("--hec-ack-timeout 1m", "--hec-ack"),
            ("--time-field a", "--format hec"),
            ("--spool-dir /x", "--spool-bytes 1GiB"),
            ("--spool-sync always", "--spool-bytes 1GiB"),
            ("--reject-bytes 1MiB", "--reject-file /x"),
            ("--batch-raw-bytes 1MiB", "--compress gzip"),
            ("--trail-interval 1m", "--trail"),
            ("--max-event-bytes 65MiB", "--buffer-bytes 65MiB"),
            ("--file-start end", "--source file:/x"),
            ("--exclude-files *.gz", "--source stdin,file:/x"),
            ("--max-deleted-bytes 1GiB", "--source file:/x"),
            ("--listen-token-file /x", "--source http:127.0.0.1:1"),
            (
                "--listen-connections-per-peer 1",
                "--source https:127.0.0.1:1",
            ),
            ("--max-body-bytes 1MiB", "--source http:127.0.0.1:1"),
            ("--hec-input keep", "--source http:127.0.0.1:1"),
            ("--listen-cert /x", "--source fluents:127.0.0.1:1"),
            ("--listen-key /x", "--source https:127.0.0.1:1"),
            ("--listen-client-ca /x", "--source https:127.0.0.1:1"),
            ("--listen-connections 1", "--source fluent:127.0.0.1:1"),
            ("--listen-timeout 1s", "--source unix-listen:/x"),
            ("--socket-mode 0600", "--source fluent:/x"),
        ] {
            let name = option.split(' ').next().unwrap();
            let alone = idle(&format!("--config /missing {option}"));
            assert_eq!(alone.len(), 1, "{option}: {alone:?}");
            assert!(alone[0].starts_with(&format!("{name}: ")), "{alone:?}");
            let with = idle(&format!("--config /missing {option} {needed}"));
            assert_eq!(with, [""; 0], "{option} {needed}");
        }
        assert_eq!(idle("--config /missing"), [""; 0]);
        let spread = "--config /missing --endpoint http://i/ --endpoint-mode spread --failback 1m";
        assert_eq!(idle(spread).len(), 1, "spread goes nowhere back");
        let spooled = "--config /missing --max-event-bytes 65MiB --spool-bytes 1GiB";
        assert_eq!(
            idle(spooled).len(),
            1,
            "the buffer is a limit with a spool, too"
        );
    }

    #[test]
    fn a_file_that_several_agents_read_may_be_for_the_sources_of_others() {
        let of = |text: &str, arguments: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let path = file.path().display();
            idle(&format!("--config {path} {arguments}"))
        };
        const FILE_START: &str = "S3_AUDIT_WEBHOOK_FILE_START=end\n";
        assert_eq!(of(FILE_START, "--source stdin"), [""; 0]);
        let with_source = format!("{FILE_START}S3_AUDIT_WEBHOOK_SOURCE=stdin\n");
        assert_eq!(of(&with_source, "").len(), 1);
        assert_eq!(of("S3_AUDIT_WEBHOOK_SPOOL_SYNC=always\n", "").len(), 1);
    }
}
