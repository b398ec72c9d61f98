//! Messages on sources, files, the spool, the trail and the state directory: those of the second page.

/// Adds this list to that of `agent_messages`, and makes the enum of both.
macro_rules! source_messages {
    ($($before:tt)*) => { messages! {
        $($before)*

        in "Sources":

        /// The server is not up, or its socket is for another user (`no permission to connect`).
        /// **Fix:** start the server; for permissions see the server's page. The agent connects by itself.
        SourceUnavailable { source: String, error: String } = "source_unavailable" Warn
            "{source}: unavailable: {error}; retrying";
        /// The source is still unavailable. Logged every six intervals: once a minute.
        /// **Fix:** start the server; for permissions see the server's page. The agent connects by itself.
        SourceStillUnavailable { source: String, lasts: HumanDuration, error: String } = "source_still_unavailable" Warn
            "{source}: still unavailable after {lasts}: {error}";
        /// The source works again. Events that the server could not keep meanwhile are not counted here: only the server knows
        /// them.
        SourceRestored { source: String, lasted: HumanDuration } = "source_restored" Info
            "{source}: available again after {lasted}";
        /// A client sends what this source can't take. Logged once for each problem and client, for up to 16 clients.
        /// **Fix:** change the client's settings as the line says.
        SourceComplaint { source: String, problem: &'static str, peer: Peer } = "source_complaint" Error
            "{source}: a client{peer:#} {problem}";
        /// Data was gone before it was read; how many events it had is unknown.
        /// **Fix:** by the reason in the line. For rotated files, use a pattern that matches the rotated names too.
        SourceLostBytes { source: String, bytes: u64, reason: String } = "source_lost_bytes" Warn
            "{source}: {bytes} bytes lost: {reason}";
        /// Something was still written to this source when the agent ended, which had no time to read all of it, or could not
        /// refuse it: a pipe and TCP have no way to. How many events that are is unknown, and the balance that follows is
        /// without them. Clients of `fluent:` that wait for acknowledgements still have theirs.
        /// **Fix:** end the writer before the agent, or have it write to a file (`file:`). If the host was overloaded, give the
        /// agent more processor time.
        SourceCutOff { source: String } = "source_cut_off" Warn
            "{source}: the agent ended before it had read all that was written; what is unread is in no count";
        /// The agent refused requests of clients, for the reason in parentheses. The first is logged at once, then a summary
        /// per `--report-interval`. Their events are in no count: the clients still have them.
        /// Only an event that a `unix-listen:` client has begun, and a `fluent:` message that can't be understood, also
        /// count as one malformed event.
        /// **Fix:** by the reason: [the `http:` source](source-http.md#when-is-a-request-refused).
        RequestsRefused { source: String, requests: Requests, within: Within, reason: &'static str, peer: Peer } =
            "requests_refused" Warn
            "{source}: {requests} refused{within} ({reason}){peer}";
        /// Tokens or certificates of `http:` sources were renewed.
        ListenFilesChanged { files: &'static str } = "listen_files_changed" Info
            "{files} changed; the new ones are in use";
        /// A file of `--status-token-file` was missing or unreadable when the agent started, or a listener's file has appeared
        /// but can't be used. Until it can be used, nobody may read the metrics, or nothing listens.
        /// **Fix:** put it there, or correct it; it is used within seconds.
        ListenFilesAwaited { path: String, error: String, files: &'static str } = "listen_files_awaited" Warn
            "{path}: {error}; waiting for {files}";
        /// The renewed file can't be used; the line says which, and why.
        /// **Fix:** correct it; it is used within seconds.
        ListenFilesInvalid { path: String, error: String, files: &'static str } = "listen_files_invalid" Error
            "{path}: {error}; keeping the previous {files}";
        /// The source listens beyond loopback without TLS.
        /// **Fix:** use `https:` with `--listen-cert` and `--listen-key`, or listen on 127.0.0.1.
        PlainListener { source: String } = "plain_listener" Warn
            "{source}: clients send the token and the events unencrypted; use https: with --listen-cert and --listen-key";
        /// The status page listens beyond loopback without a token.
        /// **Fix:** use `--status-token-file`, or listen on 127.0.0.1.
        StatusExposed { address: String } = "status_exposed" Warn
            "--status-listen: anyone who can reach {address} can read the metrics; use --status-token-file, or listen on 127.0.0.1";
        /// Each start takes another port, which no client knows.
        /// **Fix:** give a port other than 0.
        PortUnknown { listener: String } = "port_unknown" Warn
            "{listener}: port 0 is another free one at each start; fix: give the port that clients use";
        /// No source was given, and standard input is a terminal.
        StdinIsTerminal {} = "stdin_is_terminal" Info
            "stdin: reading events from this terminal, a JSON object a line; Ctrl-D ends it, --source names another source";
        /// The agent ends at once, with exit code 0, like one in a container that nobody has told where events come from.
        /// **Fix:** give `--source`, or `--source stdin` if nothing is to be read.
        StdinIsNull {} = "stdin_is_null" Warn
            "no source is set, and standard input is /dev/null, so there is nothing to read; fix: give --source";
        /// The agent sends what it has, and ends with exit code 1 if there are no other sources.
        /// **Fix:** check the program that writes into the pipe.
        StdinFailed { error: String } = "stdin_failed" Error
            "stdin: can't be read any more: {error}; draining and stopping";
        /// The fluent source listens beyond loopback, where its protocol has no token.
        /// **Fix:** use a firewall, `fluents:` with `--listen-client-ca`, or, best, a unix socket.
        FluentUnprotected { source: String } = "fluent_unprotected" Warn
            "{source}: anyone who can reach this address can send forged events; restrict it with a firewall";

        in "Files":

        /// The source has a backlog of more than 1 MiB, as after an outage. Logged once a minute until the backlog is gone.
        CatchingUp { source: String, done_mib: u64, total_mib: u64, percent: u64, rate: u64, left: String } = "catching_up" Info
            "{source}: {done_mib} of {total_mib} MiB ({percent} %), {rate} events/s, {left}";
        /// No file of that name exists. Logged at most once a minute; the file is read within seconds of appearing.
        /// **Fix:** check the name for typos, and whether the shell expanded the pattern.
        FileAwaited { source: String, what: &'static str } = "file_awaited" Warn
            "{source}: {what}; waiting for it";
        /// The file was rotated by renaming. The old file is read to its end.
        FileReplaced { file: String } = "file_replaced" Info
            "{file} was replaced; reading the new one";
        /// The file was rotated by copying and truncating. What was not read yet is read from the copy.
        FileTruncated { file: String } = "file_truncated" Info
            "{file} was truncated; reading it from its beginning";
        /// A file that was read before has another name, was compressed, or is the copy of a truncated one.
        FileResumed { file: String, offset: u64 } = "file_resumed" Info
            "{file}: reading on from byte {offset}";
        /// The shorter file's whole content is the beginning of the other one.
        /// **Fix:** if they are different logs, let their first events differ.
        FileIsCopy { file: String, original: String } = "file_is_copy" Warn
            "{file} begins like {original}; it is taken for a copy and not read while that exists";
        /// What it began with was the beginning of another file, too, and counts as a copy of that: it is not sent again.
        /// **Fix:** if they are different logs, let their first events differ.
        FileParted { file: String, offset: u64 } = "file_parted" Warn
            "{file} is no copy any more; its first {offset} bytes are those of another file and not read again";
        /// Two `file:` sources mean the same file, such as a pattern and one of its files.
        /// **Fix:** change one of them, so that only one means the file.
        FileReadTwice { file: String, source: String, other: String } = "file_read_twice" Warn
            "{file} is read by {source} and by {other}: its events are sent twice";
        /// A compressed file was there before the agent, or is not gzip's; or a file is clearly no text, as one that
        /// `shred` overwrites. That is fine if it was read before, as with logrotate's `delaycompress`.
        FileCompressed { file: String, kind: &'static str } = "file_compressed" Info
            "{file} is {kind}; it is not read";
        /// The file was compressed before all of it was read, and not with gzip.
        /// **Fix:** compress with gzip, or later (logrotate's `delaycompress`).
        FileCompressedUnread { file: String, kind: &'static str, bytes: u64 } = "file_compressed_unread" Warn
            "{file} is {kind}, which can't be read; {bytes} bytes or more of what it was made from were not delivered";
        /// Where in the file the events are that the `dropped` line before this one counts.
        /// **Fix:** look at the file there: `tail -c +OFFSET FILE | head -c 1000`. Is it the right file, and does the server
        /// write JSON?
        FileMalformed { source: String, events: Events, file: String, offset: u64 } = "file_malformed" Warn
            "{source}: {events} malformed or too large, the first in {file} at byte {offset}";
        /// logrotate removes files faster than they are delivered.
        /// **Fix:** keep more of them (`rotate`), raise `--max-deleted-bytes`, or find out why the webhook is slow.
        DeletedHeld { source: String, held: Size, limit: Size } = "deleted_held" Warn
            "{source}: removed files that were not read yet take {held}; beyond {limit} (--max-deleted-bytes) the oldest are let go";
        /// The compressed file is damaged, or incomplete and not written to for a minute. What it lacks, as far as that is
        /// known, is counted by the `source_lost_bytes` line that follows.
        /// **Fix:** check the disk, and what made the file.
        FileDamaged { file: String, offset: u64, error: String } = "file_damaged" Warn
            "{file}: can't be decompressed after byte {offset}: {error}; what follows is lost";
        /// One file of a pattern can't be read; the others are.
        /// **Fix:** change its mode, or remove it.
        FileUnavailable { file: String, error: String } = "file_unavailable" Warn
            "{file} can't be read: {error}; retrying";
        /// The file can be read again.
        FileRestored { file: String } = "file_restored" Info
            "{file} can be read again";
        /// Looking at a file of this source, or reading it, takes long: a mount does not answer. None of the source's files is
        /// read meanwhile; other sources are.
        /// **Fix:** repair the mount, or use a source of its own for each mount.
        FilesSlow { source: String, lasts: HumanDuration } = "files_slow" Warn
            "{source}: no answer for {lasts}, as on a mount whose server is down; its files are not read meanwhile";
        /// The files of the source are read again.
        FilesRestored { source: String, lasted: HumanDuration } = "files_restored" Info
            "{source}: its files are read again after {lasted}";
        /// A directory, FIFO, socket or device has a name that the pattern matches.
        FileNotRegular { file: String, reason: String } = "file_not_regular" Info
            "{file} is not read: {reason}";
        /// The server does not open its log with O_APPEND, and kept writing at its old offset after the log was truncated.
        FileHole { file: String, bytes: u64 } = "file_hole" Info
            "{file}: skipped {bytes} zero bytes";
        /// No loss is known, but what may have been written after that byte can't be read any more. A file that is gone with a
        /// known loss is reported as `source_lost_bytes`.
        /// **Fix:** let the pattern match the rotated names too (`audit.log*`).
        FileGone { file: String, offset: u64, unknown: &'static str } = "file_gone" Warn
            "{file} is gone; it was read up to byte {offset}{unknown}";
        /// More files are gone, as in the lines `… is gone` before this one.
        /// **Fix:** let the pattern match the rotated names too (`audit.log*`).
        FilesMissing { source: String, files: u64 } = "files_missing" Warn
            "{source}: {files} more files are gone";
        /// None of the files that were read before exists.
        /// **Fix:** check whether a filesystem is not mounted yet; otherwise the files are gone.
        FilesAwaited { source: String } = "files_awaited" Warn
            "{source}: none of the files read before is there; waiting for them";

        in "The spool":

        /// The webhook was unavailable for longer than `--spool-bytes` lasts, or is too slow. Bytes set aside are those of
        /// damaged files, `NAME.bad`, and of files that can't be removed.
        /// **Fix:** repair the webhook, give the spool more room: [sizing](sizing.md), or remove `NAME.bad`.
        SpoolFull { dir: String, limit: Size, set_aside: IfAny } = "spool_full" Warn
            "{dir}: the spool is full ({limit}{set_aside}); until there is room, clients are refused, and events of other sources dropped";
        /// The disk is full before `--spool-bytes` is reached. The agent tries again every second.
        /// **Fix:** give the disk more room, or the spool a lower limit.
        SpoolDiskFull { dir: String, error: String } = "spool_disk_full" Error
            "{dir}: the spool can't be used: {error}; retrying; until it can, clients are refused, and events of other sources dropped";
        /// The disk is failing, the agent may not read or write the directory or a file in it, something else is in its place,
        /// such as a mount that came later, or a newer version of the agent has written to it. The agent tries again every
        /// second.
        /// **Fix:** by the reason in the line.
        SpoolFailed { dir: String, error: String } = "spool_failed" Error
            "{dir}: the spool can't be used: {error}; retrying; until it can, clients are refused, and events of other sources kept in memory";
        /// The spool can be used again, for 5 s by now.
        SpoolRestored { dir: String, lasted: HumanDuration } = "spool_restored" Info
            "{dir}: the spool takes events again after {lasted}";
        /// The disk is full, or failing. If that lasts, the spool gets full.
        /// **Fix:** by the reason in the line.
        SpoolPositionFailed { path: String, error: String } = "spool_position_failed" Warn
            "{path}: can't write how far the spool was delivered: {error}; retrying; until then nothing is removed from it, and a restart sends events since the last one again";
        /// The disk did not take what was written. The agent writes those events again, to another file.
        /// **Fix:** check the disk.
        SpoolSyncFailed { file: String, error: String } = "spool_sync_failed" Error
            "{file}: can't have it on disk: {error}; writing its last events again, to another file";
        /// The events in this file, and perhaps in more, were delivered, but it can't be removed. It counts towards
        /// `--spool-bytes`. The agent tries again every second.
        /// **Fix:** by the reason in the line: let the agent remove files in this directory.
        SpoolNotRemoved { file: String, error: String } = "spool_not_removed" Error
            "{file}: can't remove it: {error}; it takes room in the spool; retrying";
        /// Somebody has removed this file of the spool while it was written to. Earlier events in it that were not delivered
        /// are lost, and counted as `corrupt`.
        /// **Fix:** of a running agent's spool, remove no files but `NAME.bad`.
        SpoolRemoved { file: String } = "spool_removed" Error
            "{file} was removed; what was written to it last is written again, to another file";
        /// A part of this file can't be read as it was written, or the file is gone. The events are counted as `corrupt`. What
        /// is left of the file stays as `NAME.bad`, and counts towards `--spool-bytes`.
        /// **Fix:** check the disk, and remove `NAME.bad` when you no longer need it.
        SpoolDamaged { file: String, events: Events, bytes: u64 } = "spool_damaged" Error
            "{file} is damaged: {events} and {bytes} bytes are lost so far; the rest is delivered";
        /// The agent has ended while its directory was moved, or something was mounted over it, and the webhook did not take
        /// them all. They are counted as dropped (`shutdown`), even if a copy of them is at the path.
        /// **Fix:** as the line says; let the agent start after the mount: [spool](spool.md#where-is-it).
        SpoolHidden { dir: String, events: Events } = "spool_hidden" Error
            "{dir}: {events} are in the directory that was there before; a start sends them only if that, or a copy of it, is \
             there; fix: stop the agent, put that directory back (unmount what hides it), and start it again";
        /// A spool that the start could not use is there. Its events are sent now.
        SpoolRecovered { dir: String, events: Events } = "spool_recovered" Info
            "{dir}: {events} recovered";
        /// The disk is failing, or the agent may not read the file. It waits until it may: then nothing is lost, but what is
        /// behind it waits too, and this is logged every minute. What a disk can't read after some attempts is skipped, and
        /// counted as damaged.
        /// **Fix:** check the disk, and who owns the file.
        SpoolUnreadable { file: String, error: String } = "spool_unreadable" Warn
            "{file} can't be read: {error}; retrying";
        /// How far the spool was delivered is unknown, so all of it is sent again, once.
        /// **Fix:** none; expect duplicates.
        SpoolPositionLost { dir: String } = "spool_position_lost" Warn
            "{dir}: the spool's position is damaged or missing; events that were delivered may be sent again";
        /// An earlier start used a spool that this one does not use. Its files stay until a start with it delivers them.
        /// **Fix:** as the line says.
        SpoolUnused { dir: String, size: Size } = "spool_unused" Warn
            "{dir}: a spool with {size} of events is there and not used; fix: start with --spool-bytes and \
             --spool-dir {dir} to deliver them, or print them with `s3-audit-webhook spool cat --spool-dir {dir}`";

        in "Losses in the archive":

        /// With [`--trail`](trail.md): the archive knows the events of this agent by this stream and number.
        TrailStarted { stream: String, first: u64 } = "trail_started" Info
            "trail: stream {stream}, from number {first} on";
        /// The state directory can't be used for the trail.
        /// **Fix:** let the agent write to `--state-dir`, then restart it.
        TrailUnkept { error: String } = "trail_unkept" Warn
            "trail: can't be kept in the state directory: {error}; this start has a stream of its own, and records that are not \
             delivered end with it";
        /// What the old stream had lost and not sent yet is in no record.
        /// **Fix:** check the disk.
        TrailDamaged { path: String, kept: String } = "trail_damaged" Warn
            "{path}: the trail is damaged, and kept as {kept}; a new stream begins";
        /// An agent ended before it had delivered these, and this one has another host name, as a new pod has.
        /// **Fix:** as the line says; or keep the host name, as a StatefulSet does.
        TrailUnused { path: String, records: u64 } = "trail_unused" Warn
            "{path}: {records} records of losses were not delivered, and no agent of this host name continues this trail; fix: \
             start an agent with that host name, or delete the file";
        /// The trail's file can't be written. The agent tries again every second.
        /// **Fix:** make room on the disk, or allow the agent to write there.
        TrailFailed { path: String, error: String } = "trail_failed" Warn
            "{path}: can't keep the trail: {error}; retrying; a kill before that loses records that are not delivered";
        /// The trail's file can be written again.
        TrailRestored { path: String } = "trail_restored" Info
            "{path}: the trail is kept again";

        in "The state directory":

        /// The directory of `--state-dir` can't be created or written to. Sources other than files are read meanwhile.
        /// **Fix:** check whether its filesystem is mounted, and whether this user may write there. It is used within seconds
        /// of being available.
        StateDirAwaited { error: String } = "state_dir_awaited" Warn
            "{error}; waiting for it; until then no file is read, and `show` can't show this agent";
        /// The checkpoint is damaged, or of a newer version. Events of these files, and of those renamed from them, are sent
        /// again, once; compressed ones are not read.
        /// **Fix:** for a damaged one, check the disk; after a downgrade, install the newer version.
        CheckpointUnusable { path: String, error: String, source: String } = "checkpoint_unusable" Warn
            "{path}: {error}; {source} is read from its beginning";
        /// The host lost power, or the disk is failing. All other files resume where they were.
        /// **Fix:** if the host did not lose power, check the disk.
        CheckpointDamaged { path: String, records: usize, source: String } = "checkpoint_damaged" Warn
            "{path}: {records} records are damaged; events of {source} may be sent again";
        /// `--state-dir` can't be used. After a restart, events of files are sent again; with `--file-start end`, those that
        /// were not delivered are lost, and only those that were read are counted.
        /// **Fix:** as the line says.
        NoCheckpoint { source: String, start: &'static str, error: String, option: String } = "no_checkpoint" Warn
            "no checkpoint of {source}, so that the next start reads it from its {start}: {error}; fix: name another directory with {option}";
        /// Two agents read the same files with one state directory.
        /// **Fix:** end one of them, or give it its own `--state-dir`.
        CheckpointAwaited { dir: String, source: String } = "checkpoint_awaited" Warn
            "{dir}: another agent keeps its checkpoint of {source} there; waiting for it to end; until then it is not read";
        /// The disk is full, or the mount is unavailable. The agent tries again. A restart before that sends events since the
        /// last checkpoint again. If there is none, with `--file-start end`, it begins at the end of each file.
        /// **Fix:** make room, or repair the mount.
        CheckpointFailed { path: String, error: String, effect: &'static str } = "checkpoint_failed" Warn
            "{path}: can't write the checkpoint: {error}; retrying; a restart before that {effect}";
        /// The checkpoint, or the spool's position, can be written again.
        CheckpointRestored { path: String } = "checkpoint_restored" Info
            "{path}: checkpoint written again";
        /// The directory does not answer; the part after `;` says what waits for it. If more than one thing does, each has
        /// a line. Events are delivered all the same.
        /// **Fix:** repair the mount, or use another `--state-dir` or `--spool-dir`.
        StateDirSlow { dir: String, lasts: HumanDuration, effect: &'static str } = "state_dir_slow" Warn
            "{dir}: no answer for {lasts}, as on a mount whose server is down; {effect}";
        /// The directory answers again.
        StateDirRestored { dir: String, lasted: HumanDuration } = "state_dir_restored" Info
            "{dir}: answered after {lasted}";
        /// This user may not write to `--state-dir`. The agent works without it; only `show` does not list it.
        NoStatusFile { error: String, option: String } = "no_status_file" Info
            "`show` can't show this agent: {error}; fix: name another directory with {option}";
        /// The disk is full, or the mount is unavailable. Only `show` is affected.
        /// **Fix:** make room, or repair the mount.
        StatusFileFailed { error: String } = "status_file_failed" Warn
            "can't write the status of this agent for `show`: {error}; retrying";
        /// `show` is up to date again.
        StatusFileRestored { lasted: HumanDuration } = "status_file_restored" Info
            "`show` has the status of this agent again after {lasted}";
    } };
}
