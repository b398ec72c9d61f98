//! Options that are set and have no effect, because of others: most likely a mistake, such as `--spool-sync always`
//! without a spool.

use std::io::ErrorKind;

use crate::config::open_files;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::{Origin, Provenance};
use crate::delivery::route::Mode;
use crate::source::Spec;
use crate::telemetry::message::Message;
use crate::text::quantity::Size;
use crate::webhook::encode::{Compressed, Format};
use crate::webhook::endpoint::Endpoint;

/// Many events of S3 are longer.
const EVENT_BYTES: usize = 1 << 10;

const SEVERAL_EVENTS: &str = "a --format with several events in a request";
const TWICE_THE_BYTES: &str = "a --buffer-bytes at least twice as large";

/// What an operator should know of the settings of `run`: such options, and the [rest](Provenance::warnings).
pub fn warnings(options: &RunOptions, provenance: &Provenance) -> Vec<Message> {
    let mut warnings = provenance.warnings();
    warnings.extend(missing_file(provenance));
    warnings.extend(without_effect(options, provenance));
    warnings.extend(tiny(options, provenance));
    warnings.extend(open_files::warnings(options, provenance));
    warnings
}

/// A message if there is no settings file, although it was named. At the default place there may well be none.
fn missing_file(provenance: &Provenance) -> Option<Message> {
    let file = &provenance.file;
    let is_missing = file.is_given && file.settings.as_ref().err() == Some(&ErrorKind::NotFound);
    is_missing.then(|| Message::SettingsAbsent {
        path: file.path.display().to_string(),
    })
}

/// A message for each limit below the size of a usual event.
fn tiny(options: &RunOptions, provenance: &Provenance) -> impl Iterator<Item = Message> {
    let limits = [
        (Opt::BufferBytes, options.buffer_bytes),
        (Opt::MaxEventBytes, options.max_event_bytes),
        (Opt::MaxBodyBytes, options.max_body_bytes),
        (Opt::MaxRate, options.max_rate),
    ];
    // 0 is no limit.
    let tiny = limits
        .into_iter()
        .filter(|(_, size)| (1..EVENT_BYTES).contains(size));
    tiny.map(|(option, size)| Message::LimitTiny {
        option: provenance.name(option),
        size: Size(size),
    })
}

/// A message for each option that is set and has no effect.
pub fn without_effect(options: &RunOptions, provenance: &Provenance) -> Vec<Message> {
    // A settings file is for all agents of a host, and the source that needs the option may be that of another agent.
    let is_of_others = |option| {
        let [option, source] = [option, Opt::Source].map(|option| provenance.origin(option));
        matches!(option, Origin::File(..)) && !matches!(source, Origin::File(..))
    };
    let of_sources = sources(options).into_iter();
    let of_sources = of_sources.filter(|(option, ..)| !is_of_others(*option));
    let needs = [others(options), bodies(options)].into_iter().flatten();
    let needs = needs.chain(of_sources);
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
    let is_https = |url| Endpoint::parse(url).is_ok_and(|endpoint| endpoint.is_https());
    let is_plain = !webhook.endpoints.is_empty() && !webhook.endpoints().any(is_https);
    let has_spool = options.spool.spool_bytes > 0;
    let has_rejects = options.reject_file.is_some();
    let has_gzip = webhook.compress != Compressed::No;
    let is_hec = webhook.format == Format::Hec;
    let has_status = options.status_listen.is_some();
    vec![
        (Opt::EndpointMode, has_several, "a second --endpoint"),
        (
            Opt::Failback,
            has_failover,
            "a second --endpoint, with failover",
        ),
        (Opt::Insecure, !is_plain, "an https:// endpoint"),
        (Opt::HecAckTimeout, webhook.hec_ack, "--hec-ack"),
        (Opt::TimeField, is_hec, "--format hec"),
        (Opt::SpoolDir, has_spool, "--spool-bytes"),
        (Opt::SpoolSync, has_spool, "--spool-bytes"),
        (Opt::RejectBytes, has_rejects, "--reject-file"),
        (Opt::BatchRawBytes, has_gzip, "--compress"),
        (Opt::TrailInterval, options.trail.trail, "--trail"),
        (Opt::StatusTokenFile, has_status, "--status-listen"),
        (Opt::UnhealthyAfter, has_status, "--status-listen"),
        (
            Opt::CaFile,
            !webhook.insecure && webhook.pins.is_empty(),
            "verification by CAs, which --insecure or --pin-sha256 replaces",
        ),
        (
            Opt::MaxEventBytes,
            options.max_event_bytes <= options.buffer_bytes,
            "a --buffer-bytes that is as large",
        ),
    ]
}

/// The same for the limits of a body, which are no limits where others are lower.
fn bodies(options: &RunOptions) -> Vec<(Opt, bool, &'static str)> {
    let has_gzip = options.webhook.compress != Compressed::No;
    let has_several = options.webhook.format != Format::Single;
    let fits_rate = |bytes| options.max_rate == 0 || bytes <= options.max_rate;
    vec![
        // A body has at most half the buffer.
        (
            Opt::BatchBytes,
            options.batch_bytes <= options.buffer_bytes.div_ceil(2),
            TWICE_THE_BYTES,
        ),
        (
            Opt::BatchRawBytes,
            !has_gzip || options.batch_raw_bytes() <= options.buffer_bytes.div_ceil(2),
            TWICE_THE_BYTES,
        ),
        (
            Opt::BatchEvents,
            options.batch_events <= options.buffer_events().div_ceil(2),
            "a --buffer-events at least twice as large",
        ),
        (Opt::BatchEvents, has_several, SEVERAL_EVENTS),
        (Opt::BatchAge, has_several, SEVERAL_EVENTS),
        // A body has at most a second's worth.
        (
            Opt::BatchBytes,
            fits_rate(options.batch_bytes),
            "a --max-rate that is as large",
        ),
        (
            Opt::BatchRawBytes,
            !has_gzip || fits_rate(options.batch_raw_bytes()),
            "a --max-rate that is as large",
        ),
        (
            Opt::BatchBytes,
            !has_gzip || options.batch_bytes <= options.batch_raw_bytes(),
            "a --batch-raw-bytes that is as large",
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
    let has_path = |it: &Spec| matches!(it, Spec::FluentUnix(_) | Spec::UnixListen(_));
    let is_http = |it: &Spec| matches!(it, Spec::Http(_) | Spec::Https(_));
    let is_file = |it: &Spec| matches!(it, Spec::File(_));
    let is_http_alone = options.sources.iter().all(is_http);
    let spools = options.spool.spool_bytes > 0;
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
            options.sources.iter().any(has_path),
            "a source fluent: or unix-listen: with a path",
        ),
        (
            Opt::WhenFull,
            !is_http_alone,
            "a source other than http: and https:, which refuse requests instead",
        ),
        (
            Opt::SpoolBytes,
            !(spools && options.sources.iter().all(is_file)),
            "a source other than file:, which reads again what was not sent",
        ),
        (
            Opt::MaxEventBytes,
            !is_http_alone || options.max_event_bytes <= options.max_body_bytes,
            "a --max-body-bytes that is as large",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::invocation::Invocation;
    use crate::config::options::Command;

    fn read(arguments: impl IntoIterator<Item = OsString>) -> (Box<RunOptions>, Provenance) {
        let invocation = Invocation::read(arguments).unwrap();
        let Command::Run(options) = invocation.command else {
            panic!("not run");
        };
        (options, invocation.provenance)
    }

    fn idle(arguments: &str) -> Vec<String> {
        let arguments = format!("x run --endpoint http://h/ --auth-token none {arguments}");
        let arguments = arguments.split_whitespace().map(OsString::from);
        let (options, provenance) = read(arguments);
        let idle = without_effect(&options, &provenance);
        idle.iter().map(Message::text).collect()
    }

    #[test]
    fn each_option_has_an_effect_only_with_what_it_needs() {
        for (option, needed) in [
            ("--endpoint-mode spread", "--endpoint http://i/"),
            ("--failback 1m", "--endpoint http://i/"),
            ("--insecure", "--endpoint https://i/"),
            ("--hec-ack-timeout 1m", "--hec-ack"),
            ("--time-field a", "--format hec"),
            ("--spool-dir /x", "--spool-bytes 1GiB"),
            ("--spool-sync always", "--spool-bytes 1GiB"),
            ("--reject-bytes 1MiB", "--reject-file /x"),
            ("--batch-raw-bytes 1MiB", "--compress gzip"),
            ("--trail-interval 1m", "--trail"),
            ("--status-token-file /x", "--status-listen 127.0.0.1:1"),
            ("--unhealthy-after 1s", "--status-listen 127.0.0.1:1"),
            ("--max-event-bytes 65MiB", "--buffer-bytes 65MiB"),
            ("--batch-bytes 33MiB", "--buffer-bytes 66MiB"),
            ("--batch-events 524289", "--buffer-events 1048578"),
            (
                "--batch-raw-bytes 33MiB",
                "--compress gzip --buffer-bytes 66MiB",
            ),
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
        for (without, with) in [
            (
                "--socket-mode 0600 --source fluent:127.0.0.1:1",
                "--socket-mode 0600 --source unix-listen:/x",
            ),
            (
                "--when-full wait --source http:127.0.0.1:1",
                "--when-full wait --source http:127.0.0.1:1,fluent:127.0.0.1:2",
            ),
            (
                "--when-full wait --source https:127.0.0.1:1",
                "--when-full wait",
            ),
            (
                "--when-full drop --source http:127.0.0.1:1",
                "--when-full drop --source http:127.0.0.1:1,unix:/x",
            ),
            (
                "--max-event-bytes 9MiB --max-body-bytes 8MiB --source http:127.0.0.1:1",
                "--max-event-bytes 9MiB --max-body-bytes 8MiB --source http:127.0.0.1:1,unix:/x",
            ),
            ("--batch-events 5 --format single", "--batch-events 5"),
            ("--batch-age 1m --format single", "--batch-age 1m"),
            (
                "--batch-bytes 2MiB --max-rate 1MiB",
                "--batch-bytes 2MiB --max-rate 2MiB",
            ),
            (
                "--batch-raw-bytes 4MiB --compress gzip --max-rate 2MiB",
                "--batch-raw-bytes 4MiB --compress gzip --max-rate 4MiB",
            ),
            (
                "--batch-bytes 2MiB --compress gzip --batch-raw-bytes 1MiB",
                "--batch-bytes 2MiB --compress gzip --batch-raw-bytes 2MiB",
            ),
            (
                "--spool-bytes 1GiB --source file:/x",
                "--spool-bytes 1GiB --source file:/x,stdin",
            ),
            (
                "--ca-file /x --insecure --endpoint https://i/",
                "--ca-file /x",
            ),
            (
                "--batch-raw-bytes 33MiB --compress gzip",
                "--batch-raw-bytes 32MiB --compress gzip",
            ),
            (
                &*format!("--ca-file /x --pin-sha256 {}", "0a".repeat(32)),
                "--insecure --endpoint https://i/",
            ),
        ] {
            for (options, count) in [(without, 1), (with, 0)] {
                let found = idle(&format!("--config /missing {options}"));
                assert_eq!(found.len(), count, "{options}: {found:?}");
                let name = options.split(' ').next().unwrap();
                assert!(found.iter().all(|text| text.starts_with(name)), "{found:?}");
            }
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
