//! Messages on sources, files, the spool, the trail and the state directory: those of the second page.

/// Adds its list to that of `agent_messages`, and has the enum made of both.
macro_rules! source_messages {
    ($($before:tt)*) => { messages! {
        $($before)*

        in "Sources":

        /// The server is not up, or its socket is for another user (`Permission denied`).
        /// **Fix:** start the server; for permissions see the server's page. The agent connects by itself.
        SourceUnavailable { source: String, error: String } = "source_unavailable" Warn
            "{source}: unavailable: {error}; retrying";
        /// It lasts. Logged every six intervals: once a minute.
        /// **Fix:** the same.
        SourceStillUnavailable { source: String, lasts: HumanDuration, error: String } = "source_still_unavailable" Warn
            "{source}: still unavailable after {lasts}: {error}";
        /// It is over. What the server could not keep meanwhile is in no count: only the server knows.
        SourceRestored { source: String, lasted: HumanDuration } = "source_restored" Info
            "{source}: available again after {lasted}";
        /// A client sends what this source can't take. Logged once for each problem.
        /// **Fix:** change the client's settings as the line says.
        SourceComplaint { source: String, problem: &'static str } = "source_complaint" Error
            "{source}: a client {problem}";
        /// Data is gone before it was read; nobody knows how many events it had.
        /// **Fix:** by the reason in the line; for rotated files, a pattern that matches the rotated names too.
        SourceLostBytes { source: String, bytes: u64, reason: String } = "source_lost_bytes" Warn
            "{source}: {bytes} bytes lost: {reason}";
        /// The first at once, then a summary each `--report-interval`. The events of refused requests are in no count: the
        /// client still has them.
        /// **Fix:** by the reason: [servers that push](listeners.md).
        RequestsRefused { source: String, requests: Requests, within: Within, reason: &'static str, peer: Peer } =
            "requests_refused" Warn
            "{source}: {requests} refused{within} ({reason}){peer}";
        /// Tokens or certificates of `http:` sources were renewed.
        ListenFilesChanged { files: &'static str } = "listen_files_changed" Info
            "{files} changed; the new ones are in use";
        /// A file of `--status-token-file` was not there, or not readable, when the agent started, or a listener's file has
        /// appeared and can't be used. Until it can, nobody may read the metrics, or nothing listens.
        /// **Fix:** put it there or correct it; it is used within seconds.
        ListenFilesAwaited { path: String, error: String, files: &'static str } = "listen_files_awaited" Warn
            "{path}: {error}; waiting for {files}";
        /// The renewed file can't be used: the line says which and why.
        /// **Fix:** correct it; it is used within seconds.
        ListenFilesInvalid { path: String, error: String, files: &'static str } = "listen_files_invalid" Error
            "{path}: {error}; keeping the previous {files}";
        /// The source listens beyond loopback without TLS.
        /// **Fix:** `https:` with `--listen-cert` and `--listen-key`, or listen on 127.0.0.1.
        PlainListener { source: String } = "plain_listener" Warn
            "{source}: clients send the token and the events unencrypted; use https: with --listen-cert and --listen-key";
        /// The status page listens beyond loopback without a token.
        /// **Fix:** `--status-token-file`, or listen on 127.0.0.1.
        StatusExposed { address: String } = "status_exposed" Warn
            "--status-listen: anyone who can reach {address} can read the metrics; use --status-token-file, or listen on 127.0.0.1";
        /// No source was given, and standard input is a terminal.
        StdinIsTerminal {} = "stdin_is_terminal" Info
            "stdin: reading events from this terminal, a JSON object a line; Ctrl-D ends it, --source names another source";
        /// The agent sends what it has, and ends.
        /// **Fix:** look at what writes into the pipe.
        StdinFailed { error: String } = "stdin_failed" Error
            "stdin: can't be read any more: {error}; draining and stopping";
        /// The fluent source listens beyond loopback, and its protocol has no token here.
        /// **Fix:** a firewall, `fluents:` with `--listen-client-ca`, or better a unix socket.
        FluentUnprotected { source: String } = "fluent_unprotected" Warn
            "{source}: anyone who can reach this address can send forged events; restrict it with a firewall";

        in "Files":

        /// The source has a backlog of more than 1 MiB, as after an outage. Logged once a minute until it is worked off.
        CatchingUp { source: String, done_mib: u64, total_mib: u64, percent: u64, rate: u64, left: String } = "catching_up" Info
            "{source}: {done_mib} of {total_mib} MiB ({percent} %), {rate} events/s, {left}";
        /// No file of that name is there. Logged once a minute at most; the file is read within seconds of appearing.
        /// **Fix:** is it a typo, or did the shell expand the pattern?
        FileAwaited { source: String, what: &'static str } = "file_awaited" Warn
            "{source}: {what}; waiting for it";
        /// Rotated. The old file is read to its end.
        FileReplaced { file: String } = "file_replaced" Info
            "{file} was replaced; reading the new one";
        /// Rotated by copy and truncate. What was not read is read from the copy.
        FileTruncated { file: String } = "file_truncated" Info
            "{file} was truncated; reading it from its beginning";
        /// A file that was read before has another name, was compressed, or is the copy of a truncated one.
        FileResumed { file: String, offset: u64 } = "file_resumed" Info
            "{file}: reading on from byte {offset}";
        /// All of the shorter file is the beginning of the other one.
        /// **Fix:** if they are different logs, let their first events differ.
        FileIsCopy { file: String, original: String } = "file_is_copy" Warn
            "{file} begins like {original}; it is taken for a copy and not read while that exists";
        /// It was there before the agent, or is not gzip's. Fine, if it was read before it was compressed: use logrotate's
        /// `delaycompress`.
        FileCompressed { file: String, kind: &'static str } = "file_compressed" Info
            "{file} is compressed with {kind}; it is not read";
        /// The file was compressed before all of it was read, and not with gzip.
        /// **Fix:** compress with gzip, or later (logrotate's `delaycompress`).
        FileCompressedUnread { file: String, kind: &'static str, bytes: u64 } = "file_compressed_unread" Warn
            "{file} is compressed with {kind}, which can't be read; {bytes} bytes or more of what it was made from were not delivered";
        /// What the line before, `dropped`, counts, and where it is.
        /// **Fix:** look at the file there: `tail -c +OFFSET FILE | head -c 1000`. Is it the right file, does the server write
        /// JSON?
        FileMalformed { source: String, events: Events, file: String, offset: u64 } = "file_malformed" Warn
            "{source}: {events} malformed or too large, the first in {file} at byte {offset}";
        /// logrotate removes files faster than they are delivered.
        /// **Fix:** keep more of them (`rotate`), raise the option, or see why the webhook is slow.
        DeletedHeld { source: String, held: Size, limit: Size } = "deleted_held" Warn
            "{source}: removed files that were not read yet take {held}; beyond {limit} (--max-deleted-bytes) the oldest are let go";
        /// The compressed file is damaged or not whole.
        /// **Fix:** look at the disk, or at what made the file.
        FileDamaged { file: String, offset: u64, error: String } = "file_damaged" Warn
            "{file}: can't be decompressed after byte {offset}: {error}; what follows is lost";
        /// One name of a pattern can't be used; the others are read.
        /// **Fix:** change its mode or remove it.
        FileUnavailable { file: String, error: String } = "file_unavailable" Warn
            "{file} can't be read: {error}; retrying";
        /// It is over.
        FileRestored { file: String } = "file_restored" Info
            "{file} can be read again";
        /// A directory, FIFO, socket or device has a name that the pattern matches.
        FileNotRegular { file: String, reason: String } = "file_not_regular" Info
            "{file} is not read: {reason}";
        /// The server does not open its log with O_APPEND, and went on at the old place after the log was truncated.
        FileHole { file: String, bytes: u64 } = "file_hole" Info
            "{file}: skipped {bytes} zero bytes";
        /// Nothing is known to be lost, but what was written later, if anything was, can't be read any more. A file that is
        /// gone with a known loss is reported as `source_lost_bytes`.
        /// **Fix:** have the pattern match the rotated names too (`audit.log*`).
        FileGone { file: String, offset: u64, unknown: &'static str } = "file_gone" Warn
            "{file} is gone; it was read up to byte {offset}{unknown}";
        /// The same, of many.
        /// **Fix:** the same.
        FilesMissing { source: String, files: u64 } = "files_missing" Warn
            "{source}: {files} more files are gone";
        /// Files that were read before are not there.
        /// **Fix:** is a filesystem not mounted yet? Otherwise the files are gone.
        FilesAwaited { source: String } = "files_awaited" Warn
            "{source}: none of the files read before is there; waiting for them";

        in "The spool":

        /// The webhook was unavailable for longer than `--spool-bytes` lasts, or is too slow.
        /// **Fix:** repair the webhook, or give the spool more room: [sizing](sizing.md).
        SpoolFull { dir: String, limit: Size } = "spool_full" Warn
            "{dir}: the spool is full ({limit}); until there is room, clients are refused, and events of other sources dropped";
        /// The disk is full or fails, the directory may not be written to, or a newer version of the agent has written to it.
        /// It is tried again every second.
        /// **Fix:** by the reason in the line.
        SpoolFailed { dir: String, error: String } = "spool_failed" Error
            "{dir}: the spool can't be used: {error}; retrying; until it can, clients are refused, and events of other sources kept in memory";
        /// It is over.
        SpoolRestored { dir: String, lasted: HumanDuration } = "spool_restored" Info
            "{dir}: the spool takes events again after {lasted}";
        /// The disk has failed to take what was written.
        /// **Fix:** look at the disk.
        SpoolSyncFailed { file: String, error: String } = "spool_sync_failed" Error
            "{file}: can't have it on disk: {error}; writing its last events again, to another file";
        /// A part of this file can't be read as it was written, or the file is gone. The events are counted as `corrupt`; what
        /// is left of the file stays as `NAME.bad` and counts towards `--spool-bytes`.
        /// **Fix:** look at the disk, and remove `NAME.bad` when you need it no more.
        SpoolDamaged { file: String, events: Events, bytes: u64 } = "spool_damaged" Error
            "{file} is damaged: {events} and {bytes} bytes are lost so far; the rest is delivered";
        /// The disk fails. What can't be read after some attempts is left out, as damaged.
        /// **Fix:** look at the disk.
        SpoolUnreadable { dir: String, error: String } = "spool_unreadable" Warn
            "{dir}: can't read from the spool: {error}; retrying";
        /// All that is there is sent again, once.
        /// **Fix:** none; expect duplicates.
        SpoolPositionLost { dir: String } = "spool_position_lost" Warn
            "{dir}: the spool's position is damaged; events that were delivered may be sent again";
        /// An earlier start had a spool. Nothing removes its files but a start with one.
        /// **Fix:** as the line says.
        SpoolUnused { dir: String, size: Size } = "spool_unused" Warn
            "{dir}: a spool with {size} of events is there and not used; fix: start with --spool-bytes to deliver them, or print them \
             with `s3-audit-webhook spool cat`";

        in "Losses in the archive":

        /// By this name the archive knows the events of this agent.
        TrailStarted { stream: String, first: u64 } = "trail_started" Info
            "trail: stream {stream}, from number {first} on";
        /// The state directory can't be used for the trail.
        /// **Fix:** see that `--state-dir` can be written to, then restart the agent.
        TrailUnkept { error: String } = "trail_unkept" Warn
            "trail: can't be kept in the state directory: {error}; this start has a stream of its own, and records that are not \
             delivered end with it";
        /// The trail's file can't be written. It is tried again every second.
        /// **Fix:** room on the disk, or the permission to write there.
        TrailFailed { path: String, error: String } = "trail_failed" Warn
            "{path}: can't keep the trail: {error}; retrying; a kill before that loses records that are not delivered";
        /// It is over.
        TrailRestored { path: String } = "trail_restored" Info
            "{path}: the trail is kept again";

        in "The state directory":

        /// The directory of `--state-dir` can't be made or written to. Other sources than files are read meanwhile.
        /// **Fix:** is its filesystem not mounted yet, or not writable for this user? It is used within seconds of being there.
        StateDirAwaited { error: String } = "state_dir_awaited" Warn
            "{error}; waiting for it; until then no file is read, and `show` can't show this agent";
        /// The checkpoint is damaged or of a newer version. Events come twice, once.
        /// **Fix:** none for a damaged one but to look at the disk; after a downgrade, the newer version.
        CheckpointUnusable { path: String, error: String, source: String } = "checkpoint_unusable" Warn
            "{path}: {error}; {source} is read from its beginning";
        /// The host lost power, or the disk is failing. All other files resume where they were.
        /// **Fix:** look at the disk if the host did not lose power.
        CheckpointDamaged { path: String, records: usize, source: String } = "checkpoint_damaged" Warn
            "{path}: {records} records are damaged; events of {source} may be sent again";
        /// `--state-dir` can't be used. Events of files will come twice after a restart.
        /// **Fix:** as the line says.
        NoCheckpoint { source: String, error: String, option: String } = "no_checkpoint" Warn
            "no checkpoint of {source}, so that the next start reads it from its beginning: {error}; fix: name another directory with {option}";
        /// The disk is full, or the mount unavailable.
        /// **Fix:** make room, or repair the mount; it is tried again.
        CheckpointFailed { path: String, error: String } = "checkpoint_failed" Warn
            "{path}: can't write the checkpoint: {error}; retrying; a restart before that sends events since the last one again";
        /// It is over.
        CheckpointRestored { path: String } = "checkpoint_restored" Info
            "{path}: checkpoint written again";
        /// What follows `;` waits for the directory. Events are delivered all the same.
        /// **Fix:** repair the mount, or use another `--state-dir`.
        StateDirSlow { dir: String, lasts: HumanDuration, effect: &'static str } = "state_dir_slow" Warn
            "{dir}: no answer for {lasts}, as on a mount whose server is down; {effect}";
        /// It is over.
        StateDirRestored { dir: String, lasted: HumanDuration } = "state_dir_restored" Info
            "{dir}: answered after {lasted}";
        /// This user can't write `--state-dir`. The agent works without; only `show` lacks it.
        NoStatusFile { error: String, option: String } = "no_status_file" Info
            "`show` can't show this agent: {error}; fix: name another directory with {option}";
        /// As for checkpoints; only `show` misses it.
        /// **Fix:** make room, or repair the mount.
        StatusFileFailed { error: String } = "status_file_failed" Warn
            "can't write the status of this agent for `show`: {error}; retrying";
        /// It is over.
        StatusFileRestored { lasted: HumanDuration } = "status_file_restored" Info
            "`show` has the status of this agent again after {lasted}";
    } };
}
