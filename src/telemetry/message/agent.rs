//! Messages on the agent, the webhook, losses, clocks and settings: those of the first page.

/// Hands its list to the macro that has the next one.
macro_rules! agent_messages {
    ($next:ident) => { $next! {
        in "The agent":

        /// The agent runs. The last part says where events go, or why nowhere, and the [rules](rules.md) if there are any; with
        /// a spool, its size and what was recovered from it stand before.
        Started {
            sources: String, buffer_events: usize, buffer_bytes: Size, spool: Spooled, forwarding: String, rules: Rules
        } = "started" Info
            "started: source {sources}; buffer {buffer_events} events, {buffer_bytes}{spool}; {forwarding}{rules}";
        /// SIGTERM or SIGINT came. What the webhook does not take within `--shutdown-timeout` is dropped, except events of
        /// files, which the next start reads again.
        ShuttingDown { buffered: BufferedEvents, timeout: HumanDuration } = "shutting_down" Info
            "shutting down: draining {buffered} (timeout {timeout})";
        /// A second signal came while draining; what was buffered is dropped, but events of files and of the spool are sent by
        /// the next start.
        /// **Fix:** one signal is enough: wait for `stopped`, at most `--shutdown-timeout`.
        StoppingAtOnce {} = "stopping_at_once" Warn
            "stopping at once: second signal";
        /// The balance, always the last line, with the reasons for dropping. `buffered` events are those of files and of the
        /// spool that the next start sends; `recovered` are those that an earlier start has left in the spool. Rejected and
        /// filtered events, redelivered events, masked values and refused requests are there if there were any. If this line is
        /// missing, the process was killed: look for `oom-kill` in the journal.
        Stopped {
            received: u64, recovered: IfAny, delivered: u64, dropped: u64, reasons: Reasons, rejected: IfAny, filtered: IfAny,
            buffered: u64, redelivered: IfAny, redacted: IfAny, refused: IfAny
        } = "stopped" Info
            "stopped: received {received}{recovered}, delivered {delivered}, dropped {dropped}{reasons}{rejected}{filtered}, buffered {buffered}{redelivered}{redacted}{refused}";
        /// A fault of this program.
        /// **Fix:** please report it, with the log before it.
        Panicked { thread: String, message: String } = "panicked" Error
            "bug: thread {thread} panicked: {message}";
        /// Nobody read the log for a while: a full pipe, a hanging journal. Events are not affected.
        /// **Fix:** repair what reads the log.
        LogLinesLost { lines: u64 } = "log_lines_lost" Warn
            "{lines} log lines were lost while standard error was blocked";
        /// systemd will consider the start failed and end the agent.
        /// **Fix:** does a drop-in of the unit restrict access to the socket that `$NOTIFY_SOCKET` names?
        NotifyFailed { error: String } = "notify_failed" Warn
            "NOTIFY_SOCKET: can't notify systemd that the agent has started: {error}";

        in "The webhook":

        /// A request failed and is sent again.
        /// **Fix:** none if it passes; if it lasts, `s3-audit-webhook test`, and [the
        /// reasons](troubleshooting.md#reasons-in-the-log).
        DeliveryFailed { error: String, retry_in: HumanDuration, buffered: Events } = "delivery_failed" Warn
            "delivery failed: {error}; retrying in {retry_in}; {buffered} buffered";
        /// A setting, or something at the webhook, is wrong; no retry helps.
        /// **Fix:** as the line says. Delivery resumes by itself.
        DeliveryBlocked { error: String, fix: &'static str } = "delivery_blocked" Error
            "delivery failed: {error}; events are buffered; fix: {fix}";
        /// It lasts. With `buffer full` events are being lost now, or files wait.
        /// **Fix:** by [the reason](troubleshooting.md#reasons-in-the-log).
        DeliveryFailing { lasts: HumanDuration, attempts: Attempts, error: String, buffer: Buffered } = "delivery_failing" Warn
            "delivery failing for {lasts} ({attempts}): {error}; {buffer}";
        /// The same, later.
        /// **Fix:** as the line says.
        DeliveryStillBlocked { lasts: HumanDuration, attempts: Attempts, error: String, buffer: Buffered, fix: &'static str } =
            "delivery_still_blocked" Error
            "delivery failing for {lasts} ({attempts}): {error}; {buffer}; fix: {fix}";
        /// It is over. What is buffered is being sent.
        DeliveryRestored { lasted: HumanDuration, attempts: Attempts } = "delivery_restored" Info
            "delivery restored after {lasted} ({attempts})";
        /// With `--hec-ack`: Splunk's answer to the question which events are indexed failed. Events that are not acknowledged
        /// within `--hec-ack-timeout` are sent again.
        /// **Fix:** none if it passes; if it lasts, is `/services/collector/ack` open in the proxy or firewall?
        QueryFailed { error: String } = "query_failed" Warn
            "can't ask which events are indexed: {error}; asking again";
        /// It is over.
        QueryRestored { lasted: HumanDuration } = "query_restored" Info
            "the webhook says again which events are indexed, after {lasted}";
        /// With `--hec-ack`, the agent ended before Splunk had indexed all events. Those of files and of the spool are sent
        /// again by the next start.
        /// **Fix:** give `--shutdown-timeout` the time that indexing takes.
        LeftUnacknowledged { events: Events } = "left_unacknowledged" Warn
            "{events} posted but not acknowledged as indexed when the agent ended; they may be indexed, and are counted as not delivered";
        /// One of several `--endpoint`s fails; delivery goes on without a delay. `show` has it, and `webhook_up{endpoint="…"}`
        /// is 0.
        /// **Fix:** repair it; `s3-audit-webhook test` tries each of them.
        EndpointFailed { endpoint: String, error: String } = "endpoint_failed" Warn
            "{endpoint}: {error}; the other endpoints are used until it works again";
        /// With `--endpoint-mode failover` it is used again once it has worked for `--failback`.
        EndpointRestored { endpoint: String, lasted: HumanDuration } = "endpoint_restored" Info
            "{endpoint}: works again after {lasted}";
        /// The connection broke, or no answer came, after a body had been sent: the webhook may have its events already, so
        /// expect duplicates.
        /// **Fix:** look for restarts or timeouts of the webhook, or of a proxy before it.
        Redelivered { events: Events, within: Within, error: String, total: u64 } = "redelivered" Warn
            "redelivered {events}{within} that may have arrived already ({error}); {total} since start";
        /// Smaller requests pass where larger ones fail, because of a limit of a proxy or of the webhook, or of time. Set
        /// `--batch-bytes` to start with that size.
        BodySizeLearned { size: Size, bytes: usize } = "body_size_learned" Info
            "larger bodies fail: sending at most {size} in a request; to start with that, use --batch-bytes {bytes}";
        /// Events are delivered, but the webhook may not make of them what you expect. Logged once for each thing.
        /// **Fix:** as the line says.
        Advice { text: String } = "advice" Warn
            "webhook: {text}";
        /// One event fails again and again while others are delivered.
        /// **Fix:** is it too large, or does a firewall before the webhook block it? After `--reject-after` failures it is
        /// rejected.
        EventSetAside { events: Events, within: Within, error: String } = "event_set_aside" Warn
            "set aside {events}{within} that failed while others were delivered ({error})";
        /// The webhook does not take these events (400, 413, 422 and the like), and each was sent alone to find that out. They
        /// are lost.
        /// **Fix:** if it is all events: is the `--format` what this webhook takes? If a few: compare their size with the
        /// webhook's limit; `--reject-file` keeps them.
        Rejected { events: Events, within: Within, error: String, total: u64 } = "rejected" Warn
            "rejected {events}{within} ({error}); {total} since start";
        /// `--reject-file` is set, but these events are not in it, for the reason in parentheses. They are lost; delivery goes
        /// on.
        /// **Fix:** room on that disk, or the permission to write there.
        RejectsUnsaved { events: Events, within: Within, error: String, total: u64 } = "rejects_unsaved" Warn
            "not saved: {events}{within} that the webhook rejected ({error}); {total} since start";
        /// A fault of this program: a request does not end though its time is over. Under systemd the watchdog restarts the
        /// agent within a minute; events in memory are lost.
        /// **Fix:** without systemd, restart the agent; please report it, with the log before it.
        RequestStuck { lasts: HumanDuration } = "request_stuck" Error
            "a request to the webhook has not ended after {lasts}, beyond its timeouts; under systemd, the watchdog will restart the agent";
        /// It ended after all.
        RequestUnstuck { lasted: HumanDuration } = "request_unstuck" Info
            "the request to the webhook ended after {lasted}";

        in "Losses":

        /// The first of them at once, then a summary each `--report-interval`.
        /// **Fix:** by the reason:
        Dropped { events: Events, within: Within, reason: &'static str, total: u64 } = "dropped" Warn
            "dropped {events}{within} ({reason}); {total} since start";

        in "Clocks":

        /// The `Date` of the webhook's answers is more than 5 s off; or the events that come from a source (not a file) have
        /// been dated more than a minute off for a minute, since a server's clock is wrong, or since they come late, as from a
        /// client's own queue after an outage. Searches by time miss such events.
        /// **Fix:** synchronise the clocks of this host, of the server and of the webhook.
        ClockSkew { what: String, skew: HumanDuration, direction: &'static str } = "clock_skew" Warn
            "{what} is {skew} {direction} this host's clock; fix: synchronise the clocks, as by NTP";
        /// It has been right for a minute.
        ClockAgrees { what: String } = "clock_agrees" Info
            "{what} agrees with this host's clock again";

        in "Settings":

        /// Forwarding was enabled.
        ForwardingEnabled { changed: String, webhook: String, dropped: Events } = "forwarding_enabled" Info
            "forwarding enabled ({changed}): {webhook}; {dropped} dropped before";
        /// Another webhook, token or CA is in use, because of the settings in parentheses.
        ForwardingChanged { changed: String, webhook: String } = "forwarding_changed" Info
            "settings changed ({changed}): now {webhook}";
        /// There is no webhook (any more), as the line says.
        /// **Fix:** if that was not intended, `s3-audit-webhook enable`.
        ForwardingDisabled { reason: String } = "forwarding_disabled" Warn
            "{reason}";
        /// Other [rules](rules.md) are in use: those behind the colon, or none.
        RulesChanged { changed: String, rules: Rules } = "rules_changed" Info
            "settings changed ({changed}){rules}";
        /// A rule is about a member that these events don't have, so it never matches. Logged once.
        /// **Fix:** compare the name with an event, as `run --dry-run` prints it.
        RuleUnseen { member: String, events: usize } = "rule_unseen" Warn
            "--exclude, --include: none of the first {events} events has a member {member}; is its name right?";
        /// They were corrected.
        SettingsValid {} = "settings_valid" Info
            "the settings are valid again";
        /// A file that the webhook's settings name was not there, or not readable, when the agent started. Events are buffered
        /// and files wait.
        /// **Fix:** put it there; it is used within seconds.
        WebhookAwaited { error: String } = "webhook_awaited" Warn
            "webhook unavailable: {error}; waiting for it";
        /// Nothing has changed for the running agent, but it would not start with these settings. `show` says so until they are
        /// right, and the metric `settings_rejected_timestamp_seconds` since when.
        /// **Fix:** correct the line that the message names.
        SettingsInvalid { error: String } = "settings_invalid" Error
            "{error}; keeping the previous settings";
        /// The answer to SIGHUP.
        SettingsUnchanged {} = "settings_unchanged" Info
            "settings read again: nothing changed";
        /// A running agent does not apply this setting.
        /// **Fix:** `systemctl restart s3-audit-webhook`
        SettingNeedsRestart { setting: String } = "setting_needs_restart" Warn
            "{setting} has changed; restart the agent to apply it";
        /// The settings file exists, but this user may not read it.
        /// **Fix:** `chown` it to the service's user.
        SettingsUnreadable { path: String, error: String } = "settings_unreadable" Warn
            "{path}: can't be read: {error}; continuing without it";
        /// A typo, or a setting of another version.
        /// **Fix:** correct the name, or remove the line.
        UnknownSetting { setting: String } = "unknown_setting" Warn
            "{setting} is not a setting of this version; ignored";
        /// Anyone on the network path can read both.
        /// **Fix:** an `https://` endpoint, or one on this host.
        PlainHttp { option: String } = "plain_http" Warn
            "{option}: http:// sends the token and the events unencrypted; use https://";
        /// `--insecure` does that.
        /// **Fix:** use `--ca-file` or [`--pin-sha256`](tls.md#certificates-that-cant-be-verified) instead.
        CertificateUnverified { option: String } = "certificate_unverified" Warn
            "{option}: the webhook's certificate is not verified; anyone on the network path can read the token and the events";
        /// The file's mode lets others read it.
        /// **Fix:** `chmod o= FILE`, as the line says.
        KeyReadable { option: String, path: String } = "key_readable" Warn
            "{option}: every user of this host can read the key in {path}; fix: chmod o= {path}";
        /// That of the webhook, of its CA (if it is in `--ca-file`) or of this host (`--client-cert`) expires within 14 days,
        /// or has expired. Logged once a day. A pinned certificate is trusted whatever its expiry, and not reported.
        /// **Fix:** renew it; running agents apply renewed files.
        CertificateExpires { whose: &'static str, date: String, when: String } = "certificate_expires" Warn
            "the certificate of {whose} expires on {date} ({when}); renew it";
        /// The host has no list of CAs, so certificates are verified with the program's own, which ages.
        /// **Fix:** install `ca-certificates`, or give `--ca-file`.
        BundledRoots { reason: String, date: String } = "bundled_roots" Warn
            "no trusted roots on this host{reason}: using those bundled with this program ({date}), which age with it; install \
             ca-certificates, or give --ca-file";
    } };
}
