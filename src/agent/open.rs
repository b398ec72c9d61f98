//! Everything that can fail at the start is done here, before the first thread that an event passes through.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, ErrorKind, IsTerminal as _};
use std::net::TcpListener;
use std::path::Path;

use super::checkpoints::{self, CheckpointWriter};
use super::destination::{self, Destination};
use super::listening::{self, Listening};
use super::settings_files::{self, Contents};
use super::spooling::{self, OpenSpool};
use super::status_page;
use super::systemd::Notify;
use super::trailing;
use crate::agent::request_template;
use crate::config::effect;
use crate::config::error::{CommandError, UsageError};
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::{Origin, Provenance};
use crate::config::startable;
use crate::delivery::target::Targets;
use crate::rules::{LiveRules, Rules};
use crate::source::{self, Claims, FileSettings, OpenError, Source, Spec};
use crate::state::reject_file;
use crate::state::status::{Place, StatusFile};
use crate::sys::shutdown::ShutdownSignal;
use crate::sys::{descriptors, host, shortage};
use crate::telemetry::log;
use crate::telemetry::message::{self, Message, Spooled};
use crate::telemetry::resumes::Resumes;
use crate::telemetry::snapshot::Forwarding;
use crate::telemetry::watchdog::{AT_START, Watchdog};
use crate::text::quantity::Size;
use crate::text::small_file;
use crate::trail;
use crate::webhook::dry_run::DryRun;
use crate::webhook::encode::Compressed;

/// All that an agent works with.
pub(super) struct Opened {
    pub(super) notify: Option<Notify>,
    /// Sources must end, and buffered events must be sent.
    pub(super) shutdown: ShutdownSignal,
    /// The request in flight must end too.
    pub(super) abort: ShutdownSignal,
    /// The contents from which the settings were read.
    pub(super) contents: Contents,
    pub(super) destination: Destination,
    pub(super) rules: LiveRules,
    pub(super) watchdog: Watchdog,
    pub(super) listening: Listening,
    pub(super) sources: OpenSources,
    pub(super) spool: Option<OpenSpool>,
    pub(super) trail: Option<trail::running::Opened>,
    pub(super) status_page: Option<TcpListener>,
    pub(super) status_file: Option<Place>,
    pub(super) signals: Signals,
    /// What the operator should know about state directory, spool and trail.
    notices: Vec<Message>,
}

/// What is read.
pub(super) struct OpenSources {
    pub(super) sources: Vec<Box<dyn Source>>,
    /// For each source, whether the next start reads again what was not delivered.
    pub(super) resumes: Vec<Resumes>,
    pub(super) checkpoints: CheckpointWriter,
}

/// Opens everything, and starts the log.
///
/// # Errors
/// Names the option that is wrong, or what can't be opened now.
pub(super) fn open(options: &RunOptions, provenance: &Provenance) -> Result<Opened, CommandError> {
    let rules = LiveRules::new(check_options(options, provenance)?);
    descriptors::raise_limit();
    let notify = Notify::open(options.report_interval).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => UsageError(format!("NOTIFY_SOCKET: {error}")).into(),
        _ => CommandError::from(error),
    })?;
    let shutdown = ShutdownSignal::new()?;
    let abort = ShutdownSignal::new()?;
    let contents = settings_files::contents(options);
    let mut destination = open_destination(options, provenance, &abort)?;
    check_stdin(
        options,
        provenance,
        notify.is_some(),
        &destination.forwarding,
    )?;
    let filters = log::filters().map_err(of_log)?;
    log::start(&filters, options.log_format)?;
    check_reject_file(options, provenance, |path| {
        reject_file::open(path).map(drop)
    })?;
    let watchdog = Watchdog::start(&options.spool.dir.state.state_dir)?;
    let listening = listening::open(options, provenance)?;
    let sources = open_sources(options, provenance, &listening, &watchdog)?;
    let (spool, spool_notices) = spooling::open(options, provenance, &watchdog)?;
    let (trail, trail_notices) = trailing::open(options, provenance, &watchdog);
    if let (Some(targets), Some(trail)) = (&mut destination.targets, &trail) {
        targets.number(&trailing::numbering(trail));
    }
    let status_page = status_page::open(options, provenance)?;
    let (status_file, notice) = watchdog.dir(AT_START, || open_status_file(options, provenance));
    Ok(Opened {
        notify,
        shutdown,
        abort,
        contents,
        destination,
        rules,
        watchdog,
        listening,
        sources,
        spool,
        trail,
        status_page,
        status_file,
        signals: Signals::new([SIGTERM, SIGINT, SIGHUP])?,
        notices: notice
            .into_iter()
            .chain(spool_notices)
            .chain(trail_notices)
            .collect(),
    })
}

fn of_log(what: String) -> UsageError {
    UsageError(format!("{}: {what}", log::VARIABLE))
}

/// Rejects what can't work whatever the files say, and a start without a webhook while an unreadable file may name one.
fn check_options(options: &RunOptions, provenance: &Provenance) -> Result<Rules, CommandError> {
    let rules = startable::check(options, provenance)?;
    let needs_webhook = options.enabled && !options.dry_run;
    provenance.check_readable(!needs_webhook || !options.webhook.endpoints.is_empty())?;
    Ok(rules)
}

/// Rejects a standard input from which nothing would come, or whose events would be lost.
fn check_stdin(
    options: &RunOptions,
    provenance: &Provenance,
    is_service: bool,
    forwarding: &Forwarding,
) -> Result<(), CommandError> {
    if is_service && provenance.origin(Opt::Source) == Origin::Default && source::stdin::is_null() {
        // The agent would end at once, as if it had done its work.
        return Err(UsageError(
            "no source is set, and this service's standard input is /dev/null; fix: say where events come from, \
             such as S3_AUDIT_WEBHOOK_SOURCE=unix:/var/run/ceph/rgw-ops.sock in its environment"
                .into(),
        )
        .into());
    }
    if let Forwarding::Off(reason) | Forwarding::Unset(reason) = forwarding
        && options.enabled
        && options.sources == [Spec::Stdin]
        && !source::stdin::is_file()
        && options.spool.spool_bytes == 0
    {
        return Err(CommandError::Failed(format!(
            "stdin: its events would be lost: {reason}, or give --endpoint"
        )));
    }
    Ok(())
}

/// Finds out now whether rejected events could be written to their file. Its directory may be mounted later.
fn check_reject_file(
    options: &RunOptions,
    provenance: &Provenance,
    can_write: fn(&Path) -> io::Result<()>,
) -> Result<(), CommandError> {
    let Some(path) = options.reject_file.as_ref().filter(|_| !options.dry_run) else {
        return Ok(());
    };
    can_write(path).map_err(|error| {
        let path = path.display();
        let fix = shortage::fix(&error).unwrap_or("name a file that can be written to");
        let what = format!("{path}: {error}; fix: {fix}");
        let wrong = provenance.error(Opt::RejectFile, what);
        match error.kind() {
            ErrorKind::IsADirectory | ErrorKind::InvalidInput => wrong.into(),
            _ => CommandError::Failed(wrong.0),
        }
    })
}

const NO_SOURCE: &str = "--source is not set: events would come from standard input, and a service, which has none, \
                         would end; fix: say where events come from, such as --source unix:/var/run/ceph/rgw-ops.sock";

/// What an agent would start with.
pub struct Checked {
    /// Where its events would go.
    pub forwarding: Forwarding,
    /// What it would warn about.
    pub warnings: Vec<String>,
    /// It would wait for none of the files that the settings name.
    pub is_complete: bool,
}

/// Checks what an agent starts with, without opening a source.
///
/// # Errors
/// Names the option that is wrong, or the file that can't be used.
pub fn check(options: &RunOptions, provenance: &Provenance) -> Result<Checked, CommandError> {
    check_options(options, provenance)?;
    log::filters().map_err(of_log)?;
    let destination = open_destination(options, provenance, &ShutdownSignal::new()?)?;
    let listening = check_opening(options, provenance)?;
    let mut warnings = effect::warnings(options, provenance);
    warnings.extend(options.sources.iter().filter_map(source::doubt));
    warnings.extend(destination.warnings);
    warnings.extend(listening.warnings);
    let mut checked = Checked {
        is_complete: !matches!(destination.forwarding, Forwarding::Awaited(_)),
        warnings: warnings.iter().map(Message::text).collect(),
        forwarding: destination.forwarding,
    };
    // Only `run` knows whether there will be one.
    if provenance.origin(Opt::Source) == Origin::Default {
        checked.warnings.push(NO_SOURCE.into());
    }
    // The sources themselves name these in the log.
    for (option, path) in options.listen_files() {
        let Some(path) = path else { continue };
        if let Err(error) = small_file::read(path) {
            let what = format!("{} {}", path.display(), small_file::unreadable(&error));
            checked.is_complete = false;
            checked.warnings.push(provenance.error(option, what).0);
        }
    }
    Ok(checked)
}

/// Checks what only a start uses: files of rejected events, listeners, sources and the spool. Opens none of them.
///
/// # Errors
/// As of [`check`].
pub(super) fn check_opening(
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<Listening, CommandError> {
    check_reject_file(options, provenance, reject_file::check)?;
    let listening = listening::open(options, provenance)?;
    for spec in &options.sources {
        source::check(spec, &listening.http, &options.exclude_files)
            .map_err(|error| of_source(error, spec, provenance))?;
    }
    spooling::check(options, provenance)?;
    Ok(listening)
}

/// What the user wrote, and why it is wrong.
fn of_source(error: OpenError, spec: &Spec, provenance: &Provenance) -> CommandError {
    match error {
        OpenError::Wrong(what) | OpenError::Missing(what) => provenance
            .error(Opt::Source, format!("{spec}: {what}"))
            .into(),
        OpenError::InUse(what) => {
            CommandError::Failed(format!("{}: {spec}: {what}", provenance.name(Opt::Source)))
        }
    }
}

impl Opened {
    /// That the agent has started, and what the operator should know, for the log.
    pub(super) fn first_lines(
        &self,
        options: &RunOptions,
        provenance: &Provenance,
    ) -> Vec<Message> {
        let sources: Vec<_> = options.sources.iter().map(ToString::to_string).collect();
        let mut lines = vec![Message::Started {
            sources: sources.join(", "),
            buffer_events: options.buffer_events(),
            buffer_bytes: Size(spooling::memory(options).bytes),
            spool: self.spool.as_ref().map_or(Spooled(None), OpenSpool::found),
            forwarding: self.destination.forwarding.to_string(),
            rules: message::Rules(self.rules.describe()),
        }];
        if options.sources.contains(&Spec::Stdin) && io::stdin().is_terminal() {
            lines.push(Message::StdinIsTerminal {});
        }
        if provenance.origin(Opt::Source) == Origin::Default && source::stdin::is_null() {
            lines.push(Message::StdinIsNull {});
        }
        lines.extend(effect::warnings(options, provenance));
        let notices = self.destination.warnings.iter();
        let notices = notices.chain(&self.listening.warnings);
        let notices = notices.chain(&self.sources.checkpoints.notices);
        lines.extend(notices.chain(&self.notices).cloned());
        lines
    }
}

/// Where events go, or why the webhook's settings can't work.
fn choose_destination(
    options: &RunOptions,
    provenance: &Provenance,
    abort: &ShutdownSignal,
) -> Result<Destination, UsageError> {
    if options.dry_run {
        let encoder = request_template::encoder(&options.webhook, Compressed::No, provenance)?;
        return Ok(Destination {
            targets: Some(Targets::one(Box::new(DryRun {
                encoder,
                cut_off: abort.clone(),
            }))),
            forwarding: Forwarding::On("dry run: printed to standard output".into()),
            warnings: Vec::new(),
        });
    }
    destination::choose(options, provenance)
}

/// What can't be parsed is an error; a file that is missing or not readable yet is waited for, even if it is there now.
pub fn is_awaited(error: &UsageError, options: &RunOptions) -> bool {
    let mut files = options.webhook.files();
    files.any(|path| settings_files::lacks(&error.0, &path))
}

/// What a file contains may be replaced, as when it is just being written: then a service tries again.
fn of_webhook(error: UsageError, options: &RunOptions) -> CommandError {
    match settings_files::is_of_file(&error.0, &options.webhook) {
        true => CommandError::Failed(error.0),
        false => error.into(),
    }
}

fn open_destination(
    options: &RunOptions,
    provenance: &Provenance,
    abort: &ShutdownSignal,
) -> Result<Destination, CommandError> {
    choose_destination(options, provenance, abort).or_else(|error| {
        if !is_awaited(&error, options) {
            return Err(of_webhook(error, options));
        }
        let warning = Message::WebhookAwaited {
            error: error.0.clone(),
        };
        Ok(Destination {
            targets: None,
            warnings: vec![warning],
            forwarding: Forwarding::Awaited(error.0),
        })
    })
}

/// Opens the sources, and the checkpoints of those that have one.
fn open_sources(
    options: &RunOptions,
    provenance: &Provenance,
    listening: &Listening,
    watchdog: &Watchdog,
) -> Result<OpenSources, CommandError> {
    let specs = &options.sources;
    let (checkpoints, memories) =
        watchdog.dir(AT_START, || checkpoints::open(options, provenance))?;
    let resumes = memories
        .iter()
        .map(|memory| {
            let memory = memory.as_ref();
            memory.map_or_else(|| false.into(), |memory| memory.resumes.clone())
        })
        .collect();
    let of_files = specs.iter().filter(|spec| matches!(spec, Spec::File(_)));
    let has_several = of_files.count() > 1;
    let files = FileSettings {
        start: options.file_start,
        exclude: options.exclude_files.clone(),
        max_deleted: options.max_deleted_bytes as u64,
        claims: has_several.then(Claims::default),
        watchdog: watchdog.clone(),
    };
    let sources = specs.iter().zip(memories).map(|(spec, memory)| {
        let restored = memory.map(|memory| memory.restored);
        let opened = source::open(spec, &listening.http, &files, restored);
        opened.map_err(|error| of_source(error, spec, provenance))
    });
    let sources = sources.collect::<Result<_, CommandError>>()?;
    Ok(OpenSources {
        sources,
        resumes,
        checkpoints,
    })
}

/// Finds a status file for the agent; none in a dry run. If it must do without, for now or for good, also returns why.
fn open_status_file(
    options: &RunOptions,
    provenance: &Provenance,
) -> (Option<Place>, Option<Message>) {
    if options.dry_run {
        return (None, None);
    }
    let is_default = provenance.origin(Opt::StateDir) == Origin::Default;
    match StatusFile::open(&options.spool.dir.state.state_dir, host::name()) {
        Ok(file) => (Some(Place::Taken(file)), None),
        Err(error) if is_default => {
            let (error, option) = (error.to_string(), provenance.name(Opt::StateDir));
            (None, Some(Message::NoStatusFile { error, option }))
        }
        Err(error) => {
            let error = error.to_string();
            (
                Some(Place::Awaited),
                Some(Message::StateDirAwaited { error }),
            )
        }
    }
}
