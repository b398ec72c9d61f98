//! Every line of the log, as a value: its stable name, its level, its text and its fields come from one place, and so does
//! the operator's page.

mod field;

use std::fmt;

use ::log::Level;
use serde_json::{Map, Value};

pub(crate) use self::field::MAX_TEXT;
pub use self::field::{
    Attempts, Buffered, BufferedEvents, Events, Field, IfAny, Peer, Reasons, Requests, Rules,
    Spooled, Within,
};
use crate::text::quantity::{HumanDuration, Size};

/// Defines the enum: of each message a sentence for developers, the variant with its fields, the name, the level and the text.
macro_rules! messages {
    ($(
        #[doc = $doc:literal]
        $variant:ident { $($field:ident: $type:ty),* } = $name:literal $level:ident $text:literal;
    )*) => {
        /// A line of the log.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message {
            $(
                #[doc = $doc]
                // The text says what a field is.
                #[allow(missing_docs)]
                $variant { $($field: $type),* },
            )*
        }

        impl Message {
            /// Its name, which stays the same from version to version.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Message::$variant { .. } => $name,)*
                }
            }

            /// How much it matters.
            pub fn level(&self) -> Level {
                match self {
                    $(Message::$variant { .. } => Level::$level,)*
                }
            }

            /// The line without time and level.
            pub fn text(&self) -> String {
                match self {
                    $(Message::$variant { $($field),* } => {
                        let _ = ($($field,)*);
                        format!($text)
                    })*
                }
            }

            /// Its fields, for programs: durations in seconds, sizes in bytes.
            pub fn fields(&self) -> Map<String, Value> {
                let map = |fields: &[(&str, &dyn Field)]| {
                    let fields = fields.iter();
                    fields.map(|(name, field)| ((*name).to_owned(), field.json())).collect()
                };
                match self {
                    $(Message::$variant { $($field),* } => map(&[
                        $((stringify!($field), $field),)*
                    ]),)*
                }
            }
        }

        /// Of all messages the level, the text before its fields are filled in, and the name.
        #[cfg(test)]
        const ALL: &[(Level, &str, &str)] = &[$((Level::$level, $text, $name),)*];
    };
}

messages! {
    // The agent

    /// The agent runs.
    Started {
        sources: String, buffer_events: usize, buffer_bytes: Size, spool: Spooled, forwarding: String, rules: Rules
    } = "started" Info
        "started: source {sources}; buffer {buffer_events} events, {buffer_bytes}{spool}; {forwarding}{rules}";
    /// A signal asked the agent to stop.
    ShuttingDown { buffered: BufferedEvents, timeout: HumanDuration } = "shutting_down" Info
        "shutting down: draining {buffered} (timeout {timeout})";
    /// A second signal asked it to stop at once.
    StoppingAtOnce {} = "stopping_at_once" Warn
        "stopping at once: second signal";
    /// The last line.
    Stopped {
        received: u64, recovered: IfAny, delivered: u64, dropped: u64, reasons: Reasons, rejected: IfAny, filtered: IfAny,
        buffered: u64, redelivered: IfAny, redacted: IfAny, refused: IfAny
    } = "stopped" Info
        "stopped: received {received}{recovered}, delivered {delivered}, dropped {dropped}{reasons}{rejected}{filtered}, buffered {buffered}{redelivered}{redacted}{refused}";
    /// A thread panicked, which is a bug.
    Panicked { thread: String, message: String } = "panicked" Error
        "bug: thread {thread} panicked: {message}";
    /// Standard error did not take all lines.
    LogLinesLost { lines: u64 } = "log_lines_lost" Warn
        "{lines} log lines were lost while standard error was blocked";
    /// systemd waits for READY=1, and did not get it.
    NotifyFailed { error: String } = "notify_failed" Warn
        "NOTIFY_SOCKET: can't notify systemd that the agent has started: {error}";

    // Delivery

    /// A request failed for a reason that may pass.
    DeliveryFailed { error: String, retry_in: HumanDuration, buffered: Events } = "delivery_failed" Warn
        "delivery failed: {error}; retrying in {retry_in}; {buffered} buffered";
    /// A request failed for a reason that an operator must fix.
    DeliveryBlocked { error: String, fix: &'static str } = "delivery_blocked" Error
        "delivery failed: {error}; events are buffered; fix: {fix}";
    /// Requests have failed for a while.
    DeliveryFailing { lasts: HumanDuration, attempts: Attempts, error: String, buffer: Buffered } = "delivery_failing" Warn
        "delivery failing for {lasts} ({attempts}): {error}; {buffer}";
    /// The same, for a reason that an operator must fix.
    DeliveryStillBlocked { lasts: HumanDuration, attempts: Attempts, error: String, buffer: Buffered, fix: &'static str } =
        "delivery_still_blocked" Error
        "delivery failing for {lasts} ({attempts}): {error}; {buffer}; fix: {fix}";
    /// A request was taken after others had failed.
    DeliveryRestored { lasted: HumanDuration, attempts: Attempts } = "delivery_restored" Info
        "delivery restored after {lasted} ({attempts})";
    /// What is indexed can't be asked.
    QueryFailed { error: String } = "query_failed" Warn
        "can't ask which events are indexed: {error}; asking again";
    /// It can.
    QueryRestored { lasted: HumanDuration } = "query_restored" Info
        "the webhook says again which events are indexed, after {lasted}";
    /// The agent ends without knowing.
    LeftUnacknowledged { events: Events } = "left_unacknowledged" Warn
        "{events} posted but not acknowledged as indexed when the agent ended; they may be indexed, and are counted as not delivered";
    /// One of several endpoints failed.
    EndpointFailed { endpoint: String, error: String } = "endpoint_failed" Warn
        "{endpoint}: {error}; the other endpoints are used until it works again";
    /// It works again.
    EndpointRestored { endpoint: String, lasted: HumanDuration } = "endpoint_restored" Info
        "{endpoint}: works again after {lasted}";
    /// Events are posted again though the webhook may have them.
    Redelivered { events: Events, within: Within, error: String, total: u64 } = "redelivered" Warn
        "redelivered {events}{within} that may have arrived already ({error}); {total} since start";
    /// The webhook takes no larger bodies.
    BodySizeLearned { size: Size, bytes: usize } = "body_size_learned" Info
        "larger bodies fail: sending at most {size} in a request; to start with that, use --batch-bytes {bytes}";
    /// The webhook takes events, but may not make of them what is expected.
    Advice { text: String } = "advice" Warn
        "webhook: {text}";
    /// One event fails, others do not.
    EventSetAside { events: Events, within: Within, error: String } = "event_set_aside" Warn
        "set aside {events}{within} that failed while others were delivered ({error})";
    /// Events are lost.
    Dropped { events: Events, within: Within, reason: &'static str, total: u64 } = "dropped" Warn
        "dropped {events}{within} ({reason}); {total} since start";
    /// Events are lost, because the webhook does not take them.
    Rejected { events: Events, within: Within, error: String, total: u64 } = "rejected" Warn
        "rejected {events}{within} ({error}); {total} since start";
    /// Rejected events are not in the file for them.
    RejectsUnsaved { events: Events, within: Within, error: String, total: u64 } = "rejects_unsaved" Warn
        "not saved: {events}{within} that the webhook rejected ({error}); {total} since start";
    /// A request takes longer than its timeouts allow, which is a bug.
    RequestStuck { lasts: HumanDuration } = "request_stuck" Error
        "a request to the webhook has not ended after {lasts}, beyond its timeouts; under systemd, the watchdog will restart the agent";
    /// Such a request has ended.
    RequestUnstuck { lasted: HumanDuration } = "request_unstuck" Info
        "the request to the webhook ended after {lasted}";

    // Clocks

    /// Two clocks differ, or events are dated otherwise than now.
    ClockSkew { what: String, skew: HumanDuration, direction: &'static str } = "clock_skew" Warn
        "{what} is {skew} {direction} this host's clock; fix: synchronise the clocks, as by NTP";
    /// They don't any more.
    ClockAgrees { what: String } = "clock_agrees" Info
        "{what} agrees with this host's clock again";

    // Settings

    /// There is a webhook now.
    ForwardingEnabled { changed: String, webhook: String, dropped: Events } = "forwarding_enabled" Info
        "forwarding enabled ({changed}): {webhook}; {dropped} dropped before";
    /// There is another webhook, or it is used otherwise.
    ForwardingChanged { changed: String, webhook: String } = "forwarding_changed" Info
        "settings changed ({changed}): now {webhook}";
    /// There is no webhook any more.
    ForwardingDisabled { reason: String } = "forwarding_disabled" Warn
        "{reason}";
    /// Other events are sent, or other values masked.
    RulesChanged { changed: String, rules: Rules } = "rules_changed" Info
        "settings changed ({changed}){rules}";
    /// A rule is about a member that events don't have.
    RuleUnseen { member: String, events: usize } = "rule_unseen" Warn
        "--exclude, --include: none of the first {events} events has a member {member}; is its name right?";
    /// The settings can be used again.
    SettingsValid {} = "settings_valid" Info
        "the settings are valid again";
    /// The settings can't be used.
    SettingsInvalid { error: String } = "settings_invalid" Error
        "{error}; keeping the previous settings";
    /// SIGHUP changed nothing.
    SettingsUnchanged {} = "settings_unchanged" Info
        "settings read again: nothing changed";
    /// A running agent does not take this setting over.
    SettingNeedsRestart { setting: String } = "setting_needs_restart" Warn
        "{setting} has changed; restart the agent to apply it";
    /// The settings file exists, but not for this user.
    SettingsUnreadable { path: String, error: String } = "settings_unreadable" Warn
        "{path}: can't be read: {error}; continuing without it";
    /// A name that looks like a setting.
    UnknownSetting { setting: String } = "unknown_setting" Warn
        "{setting} is not a setting of this version; ignored";
    /// Token and events can be read on the way.
    PlainHttp { option: String } = "plain_http" Warn
        "{option}: http:// sends the token and the events unencrypted; use https://";
    /// The webhook can be anybody.
    CertificateUnverified { option: String } = "certificate_unverified" Warn
        "{option}: the webhook's certificate is not verified; anyone on the network path can read the token and the events";
    /// A private key that is not private.
    KeyReadable { option: String, path: String } = "key_readable" Warn
        "{option}: every user of this host can read the key in {path}; fix: chmod o= {path}";
    /// A certificate must be renewed.
    CertificateExpires { whose: &'static str, date: String, when: String } = "certificate_expires" Warn
        "the certificate of {whose} expires on {date} ({when}); renew it";
    /// The roots age with the program.
    BundledRoots { reason: String, date: String } = "bundled_roots" Warn
        "no trusted roots on this host{reason}: using those bundled with this program ({date}), which age with it; install \
         ca-certificates, or give --ca-file";

    // Sources

    /// A source can't be read.
    SourceUnavailable { source: String, error: String } = "source_unavailable" Warn
        "{source}: unavailable: {error}; retrying";
    /// It still can't.
    SourceStillUnavailable { source: String, lasts: HumanDuration, error: String } = "source_still_unavailable" Warn
        "{source}: still unavailable after {lasts}: {error}";
    /// It can be read again.
    SourceRestored { source: String, lasted: HumanDuration } = "source_restored" Info
        "{source}: available again after {lasted}";
    /// A client must be set otherwise.
    SourceComplaint { source: String, problem: &'static str } = "source_complaint" Error
        "{source}: a client {problem}";
    /// Data of a source is lost that is in no count of events.
    SourceLostBytes { source: String, bytes: u64, reason: String } = "source_lost_bytes" Warn
        "{source}: {bytes} bytes lost: {reason}";
    /// Clients were refused.
    RequestsRefused { source: String, requests: Requests, within: Within, reason: &'static str, peer: Peer } =
        "requests_refused" Warn
        "{source}: {requests} refused{within} ({reason}){peer}";
    /// Tokens or certificates were renewed.
    ListenFilesChanged { files: &'static str } = "listen_files_changed" Info
        "{files} changed; the new ones are in use";
    /// Tokens or certificates are not there yet.
    ListenFilesAwaited { path: String, error: String, files: &'static str } = "listen_files_awaited" Warn
        "{path}: {error}; waiting for {files}";
    /// Renewed tokens or certificates can't be used.
    ListenFilesInvalid { path: String, error: String, files: &'static str } = "listen_files_invalid" Error
        "{path}: {error}; keeping the previous {files}";
    /// Tokens and events can be read on the way.
    PlainListener { source: String } = "plain_listener" Warn
        "{source}: clients send the token and the events unencrypted; use https: with --listen-cert and --listen-key";
    /// Others can read the figures.
    StatusExposed { address: String } = "status_exposed" Warn
        "--status-listen: anyone who can reach {address} can read the metrics; use --status-token-file, or listen on 127.0.0.1";
    /// Events are to be typed.
    StdinIsTerminal {} = "stdin_is_terminal" Info
        "stdin: reading events from this terminal, a JSON object a line; Ctrl-D ends it, --source names another source";
    /// Standard input broke.
    StdinFailed { error: String } = "stdin_failed" Error
        "stdin: can't be read any more: {error}; draining and stopping";
    /// The fluent protocol has no authentication here.
    FluentUnprotected { source: String } = "fluent_unprotected" Warn
        "{source}: anyone who can reach this address can send forged events; restrict it with a firewall";

    // Files

    /// A source has not caught up with its files.
    CatchingUp { source: String, done_mib: u64, total_mib: u64, percent: u64, rate: u64, left: String } = "catching_up" Info
        "{source}: {done_mib} of {total_mib} MiB ({percent} %), {rate} events/s, {left}";
    /// A source has no file yet.
    FileAwaited { source: String, what: &'static str } = "file_awaited" Warn
        "{source}: {what}; waiting for it";
    /// Rotated.
    FileReplaced { file: String } = "file_replaced" Info
        "{file} was replaced; reading the new one";
    /// Copied and truncated, or rewritten.
    FileTruncated { file: String } = "file_truncated" Info
        "{file} was truncated; reading it from its beginning";
    /// A file that was read before has another name, or is a copy.
    FileResumed { file: String, offset: u64 } = "file_resumed" Info
        "{file}: reading on from byte {offset}";
    /// Two files begin the same.
    FileIsCopy { file: String, original: String } = "file_is_copy" Warn
        "{file} begins like {original}; it is taken for a copy and not read while that exists";
    /// A compressed file is not read.
    FileCompressed { file: String, kind: &'static str } = "file_compressed" Info
        "{file} is compressed with {kind}; it is not read";
    /// A compressed file has events that were not read.
    FileCompressedUnread { file: String, kind: &'static str, bytes: u64 } = "file_compressed_unread" Warn
        "{file} is compressed with {kind}, which can't be read; {bytes} bytes or more of what it was made from were not delivered";
    /// Events of a file are none, or too large.
    FileMalformed { source: String, events: Events, file: String, offset: u64 } = "file_malformed" Warn
        "{source}: {events} malformed or too large, the first in {file} at byte {offset}";
    /// Removed files that are kept open take much of what they may.
    DeletedHeld { source: String, held: Size, limit: Size } = "deleted_held" Warn
        "{source}: removed files that were not read yet take {held}; beyond {limit} (--max-deleted-bytes) the oldest are let go";
    /// A compressed file is damaged.
    FileDamaged { file: String, offset: u64, error: String } = "file_damaged" Warn
        "{file}: can't be decompressed after byte {offset}: {error}; what follows is lost";
    /// A name can't be used.
    FileUnavailable { file: String, error: String } = "file_unavailable" Warn
        "{file} can't be read: {error}; retrying";
    /// It can be used.
    FileRestored { file: String } = "file_restored" Info
        "{file} can be read again";
    /// A name is none of a file.
    FileNotRegular { file: String, reason: String } = "file_not_regular" Info
        "{file} is not read: {reason}";
    /// A hole in a file, as under a writer that does not append.
    FileHole { file: String, bytes: u64 } = "file_hole" Info
        "{file}: skipped {bytes} zero bytes";
    /// A file is not found of which nothing is known to be lost.
    FileGone { file: String, offset: u64, unknown: &'static str } = "file_gone" Warn
        "{file} is gone; it was read up to byte {offset}{unknown}";
    /// The same, of many more.
    FilesMissing { source: String, files: u64 } = "files_missing" Warn
        "{source}: {files} more files are gone";
    /// No file of an earlier start is there.
    FilesAwaited { source: String } = "files_awaited" Warn
        "{source}: none of the files read before is there; waiting for them";

    // The spool

    /// There is no room in the spool.
    SpoolFull { dir: String, limit: Size } = "spool_full" Warn
        "{dir}: the spool is full ({limit}); until there is room, clients are refused, and events of other sources dropped";
    /// The spool can't be written to.
    SpoolFailed { dir: String, error: String } = "spool_failed" Error
        "{dir}: the spool can't be used: {error}; retrying; until it can, clients are refused, and events of other sources kept in memory";
    /// It can again.
    SpoolRestored { dir: String, lasted: HumanDuration } = "spool_restored" Info
        "{dir}: the spool takes events again after {lasted}";
    /// Written events may not be on disk.
    SpoolSyncFailed { file: String, error: String } = "spool_sync_failed" Error
        "{file}: can't have it on disk: {error}; writing its last events again, to another file";
    /// A part of the spool is damaged or gone.
    SpoolDamaged { file: String, events: Events, bytes: u64 } = "spool_damaged" Error
        "{file} is damaged: {events} and {bytes} bytes are lost so far; the rest is delivered";
    /// Reading failed.
    SpoolUnreadable { dir: String, error: String } = "spool_unreadable" Warn
        "{dir}: can't read from the spool: {error}; retrying";
    /// What was delivered is not known.
    SpoolPositionLost { dir: String } = "spool_position_lost" Warn
        "{dir}: the spool's position is damaged; events that were delivered may be sent again";
    /// There is a spool, but none is set.
    SpoolUnused { dir: String, size: Size } = "spool_unused" Warn
        "{dir}: a spool with {size} of events is there and not used; fix: start with --spool-bytes to deliver them, or print them \
         with `s3-audit-webhook spool cat`";

    // The trail

    /// The agent records its losses in the archive.
    TrailStarted { stream: String, first: u64 } = "trail_started" Info
        "trail: stream {stream}, from number {first} on";
    /// Nothing is kept from start to start.
    TrailUnkept { error: String } = "trail_unkept" Warn
        "trail: can't be kept in the state directory: {error}; this start has a stream of its own, and records that are not \
         delivered end with it";
    /// The file can't be written.
    TrailFailed { path: String, error: String } = "trail_failed" Warn
        "{path}: can't keep the trail: {error}; retrying; a kill before that loses records that are not delivered";
    /// It can again.
    TrailRestored { path: String } = "trail_restored" Info
        "{path}: the trail is kept again";

    // State

    /// The state directory is not there yet.
    StateDirAwaited { error: String } = "state_dir_awaited" Warn
        "{error}; waiting for it; until then no file is read, and `show` can't show this agent";
    /// A file that the webhook's settings name is not there yet.
    WebhookAwaited { error: String } = "webhook_awaited" Warn
        "webhook unavailable: {error}; waiting for it";
    /// A checkpoint file is damaged.
    CheckpointUnusable { path: String, error: String, source: String } = "checkpoint_unusable" Warn
        "{path}: {error}; {source} is read from its beginning";
    /// Parts of a checkpoint file are damaged.
    CheckpointDamaged { path: String, records: usize, source: String } = "checkpoint_damaged" Warn
        "{path}: {records} records are damaged; events of {source} may be sent again";
    /// A source has no checkpoint.
    NoCheckpoint { source: String, error: String, option: String } = "no_checkpoint" Warn
        "no checkpoint of {source}, so that the next start reads it from its beginning: {error}; fix: name another directory with {option}";
    /// A checkpoint can't be written.
    CheckpointFailed { path: String, error: String } = "checkpoint_failed" Warn
        "{path}: can't write the checkpoint: {error}; retrying; a restart before that sends events since the last one again";
    /// It can be written again.
    CheckpointRestored { path: String } = "checkpoint_restored" Info
        "{path}: checkpoint written again";
    /// The state directory does not answer.
    StateDirSlow { dir: String, lasts: HumanDuration, effect: &'static str } = "state_dir_slow" Warn
        "{dir}: no answer for {lasts}, as on a mount whose server is down; {effect}";
    /// It does again.
    StateDirRestored { dir: String, lasted: HumanDuration } = "state_dir_restored" Info
        "{dir}: answered after {lasted}";
    /// `show` can't show this agent.
    NoStatusFile { error: String, option: String } = "no_status_file" Info
        "`show` can't show this agent: {error}; fix: name another directory with {option}";
    /// The same, for a while.
    StatusFileFailed { error: String } = "status_file_failed" Warn
        "can't write the status of this agent for `show`: {error}; retrying";
    /// It can again.
    StatusFileRestored { lasted: HumanDuration } = "status_file_restored" Info
        "`show` has the status of this agent again after {lasted}";
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests;
