//! Messages on the agent, the webhook, losses, clocks and settings: those of the first page.

/// Hands this list on to the macro with the next one.
macro_rules! agent_messages {
    ($next:ident) => { $next! {
        in "The agent":

        /// The agent runs. The last part says where events go, or why they are not sent, and lists the [rules](rules.md) if
        /// there are any. With a spool, its size and the number of events recovered from it come before that.
        Started {
            sources: String, buffer_events: usize, buffer_bytes: Size, spool: Spooled, forwarding: String, rules: Rules
        } = "started" Info
            "started: source {sources}; buffer {buffer_events} events, {buffer_bytes}{spool}; {forwarding}{rules}";
        /// SIGTERM or SIGINT was received. Events that the webhook does not take within `--shutdown-timeout` are dropped,
        /// except those of files and of the spool, which the next start sends.
        ShuttingDown { buffered: BufferedEvents, timeout: HumanDuration } = "shutting_down" Info
            "shutting down: draining {buffered} (timeout {timeout})";
        /// A second signal was received while the agent was draining. Buffered events are dropped, except those of files and of
        /// the spool, which the next start sends.
        /// **Fix:** send one signal, and wait for `stopped`: it takes at most `--shutdown-timeout`.
        StoppingAtOnce {} = "stopping_at_once" Warn
            "stopping at once: second signal";
        /// The final balance; always the last line. What it lacks, `source_cut_off` says before it. `dropped` is followed
        /// by the reasons. `buffered` events are those of files, of the spool and of the trail, which the next start sends;
        /// `recovered` events were left in the spool by an earlier start. Rejected, filtered and redelivered events, masked
        /// values and refused requests are shown if there were any. If this line is missing, the process was killed: look
        /// for `oom-kill` in the journal.
        Stopped {
            received: u64, recovered: IfAny, delivered: u64, dropped: u64, reasons: Reasons, rejected: IfAny, filtered: IfAny,
            buffered: u64, redelivered: IfAny, redacted: IfAny, refused: IfAny
        } = "stopped" Info
            "stopped: received {received}{recovered}, delivered {delivered}, dropped {dropped}{reasons}{rejected}{filtered}, buffered {buffered}{redelivered}{redacted}{refused}";
        /// A bug in this program.
        /// **Fix:** report it, with the log before this line.
        Panicked { thread: String, message: String } = "panicked" Error
            "bug: thread {thread} panicked: {message}";
        /// Nobody read the log for a while, as with a full pipe or a hanging journal. Events are not affected.
        /// **Fix:** repair what reads the log.
        LogLinesLost { lines: u64 } = "log_lines_lost" Warn
            "{lines} log lines were lost while standard error was blocked or failing";
        /// systemd will consider the start failed, and end the agent.
        /// **Fix:** check whether a drop-in of the unit restricts access to the socket that `$NOTIFY_SOCKET` names.
        NotifyFailed { error: String } = "notify_failed" Warn
            "NOTIFY_SOCKET: can't notify systemd that the agent has started: {error}";

        in "The webhook":

        /// A request failed, and will be sent again.
        /// **Fix:** none if it passes; if it lasts, run `s3-audit-webhook test`, and see [the
        /// reasons](troubleshooting.md#reasons-in-the-log).
        DeliveryFailed { error: String, retry_in: HumanDuration, buffered: Events } = "delivery_failed" Warn
            "delivery failed: {error}; retrying in {retry_in}; {buffered} buffered";
        /// `--dry-run` can't print what would be posted. The agent ends with exit code 1.
        /// **Fix:** none if its reader has ended because it had seen enough, like `head`.
        DryRunFailed { error: String } = "dry_run_failed" Warn
            "standard output: {error}; the dry run ends";
        /// A setting is wrong, here or at the webhook; retrying alone does not help. Events stay buffered, as in an outage.
        /// **Fix:** as the line says. Delivery then resumes by itself.
        DeliveryBlocked { error: String, fix: &'static str } = "delivery_blocked" Error
            "delivery failed: {error}; events are buffered; fix: {fix}";
        /// Delivery still fails. With `others dropped`, events are being lost now: there is no room for them in the buffer.
        /// **Fix:** see [the reason](troubleshooting.md#reasons-in-the-log).
        DeliveryFailing { lasts: HumanDuration, attempts: Attempts, error: String, buffer: Buffered } = "delivery_failing" Warn
            "delivery failing for {lasts} ({attempts}): {error}; {buffer}";
        /// Delivery still fails because of a wrong setting, here or at the webhook.
        /// **Fix:** as the line says. Delivery then resumes by itself.
        DeliveryStillBlocked { lasts: HumanDuration, attempts: Attempts, error: String, buffer: Buffered, fix: &'static str } =
            "delivery_still_blocked" Error
            "delivery failing for {lasts} ({attempts}): {error}; {buffer}; fix: {fix}";
        /// Delivery works again. What is buffered is being sent.
        DeliveryRestored { lasted: HumanDuration, attempts: Attempts } = "delivery_restored" Info
            "delivery restored after {lasted} ({attempts})";
        /// What the line begins with keeps failing and recovering, be it delivery, a source, the query of `--hec-ack`, or the
        /// status file: so many outages were not logged one by one.
        /// **Fix:** as for the message on a single one.
        Unstable { what: String, outages: MoreOutages, within: Within, error: String } = "unstable" Warn
            "{what}: {outages}{within}, the last because of: {error}";
        /// With `--hec-ack`: Splunk could not be asked which events are indexed. Events that are not acknowledged within
        /// `--hec-ack-timeout` are sent again.
        /// **Fix:** none if it passes; if it lasts, check that the proxy or firewall lets `/services/collector/ack` through.
        QueryFailed { error: String } = "query_failed" Warn
            "can't ask which events are indexed: {error}; asking again";
        /// With `--hec-ack`: Splunk still can't be asked. Until it answers, nothing counts as delivered.
        /// **Fix:** as for `query_failed`.
        QueryFailing { lasts: HumanDuration, attempts: Attempts, error: String } = "query_failing" Warn
            "can't ask which events are indexed for {lasts} ({attempts}): {error}";
        /// With `--hec-ack`: Splunk says again which events are indexed.
        QueryRestored { lasted: HumanDuration } = "query_restored" Info
            "the webhook says again which events are indexed, after {lasted}";
        /// With `--hec-ack`: the agent ended, or forwarding was disabled, before Splunk had indexed all events. Those of files
        /// and of the spool are sent again by the next start, or when forwarding is enabled. All others are counted as
        /// dropped, by the trail too, though Splunk may have them.
        /// **Fix:** raise `--shutdown-timeout` to the time that indexing takes.
        LeftUnacknowledged { events: Events, when: &'static str } = "left_unacknowledged" Warn
            "{events} posted but not acknowledged as indexed when {when}; they may be indexed, and are counted as not delivered";
        /// The agent ended before the webhook had answered a request that was sent whole, or before a body whose answer was
        /// lost could be sent again. Events of files and of the spool are sent again by the next start, whose `redelivered`
        /// does not count them. All others are counted as dropped, by the trail too, though the webhook may have them.
        /// **Fix:** raise `--shutdown-timeout` above the time that the webhook takes to answer.
        LeftUnanswered { events: Events } = "left_unanswered" Warn
            "{events} may have arrived: there was no answer when the agent ended; they are counted as not delivered";
        /// One of several `--endpoint`s fails; the others are used without a delay. `show` lists it, and
        /// `webhook_up{endpoint="…"}` is 0.
        /// **Fix:** repair it; `s3-audit-webhook test` tries each of them.
        EndpointFailed { endpoint: String, error: String } = "endpoint_failed" Warn
            "{endpoint}: {error}; the other endpoints are used until it works again";
        /// An endpoint keeps failing and recovering: so many outages were not logged one by one.
        /// **Fix:** as for `endpoint_failed`.
        EndpointUnstable { endpoint: String, outages: MoreOutages, within: Within, error: String } = "endpoint_unstable" Warn
            "{endpoint}: {outages}{within}, the last because of: {error}";
        /// The endpoint works again. With `--endpoint-mode failover` it is used once it has worked for `--failback`.
        EndpointRestored { endpoint: String, lasted: HumanDuration } = "endpoint_restored" Info
            "{endpoint}: works again after {lasted}";
        /// A body was sent, but its answer was lost: the connection broke, or no answer came in time. The webhook may have
        /// these events already, so expect duplicates.
        /// **Fix:** look for restarts or timeouts of the webhook, or of a proxy before it.
        Redelivered { events: Events, within: Within, error: String, total: u64 } = "redelivered" Warn
            "redelivered {events}{within} that may have arrived already ({error}); {total} since start";
        /// Smaller requests pass where larger ones fail, because of a size limit of the webhook or a proxy, or because large
        /// ones take too long. Set `--batch-bytes` to start with that size.
        BodySizeLearned { size: Size, bytes: usize } = "body_size_learned" Info
            "larger bodies fail: sending at most {size} in a request; to start with that, use --batch-bytes {bytes}";
        /// Events are delivered, but the webhook may handle them differently from what you expect. Logged once for each case.
        /// **Fix:** as the line says.
        Advice { text: String } = "advice" Warn
            "webhook: {text}";
        /// One event keeps failing while others are delivered. It is rejected after `--reject-after` failures or more, once they
        /// can't be chance.
        /// **Fix:** check whether it is too large, or whether a firewall before the webhook blocks it.
        EventSetAside { events: Events, within: Within, error: String } = "event_set_aside" Warn
            "set aside {events}{within} that failed while others were delivered ({error})";
        /// The webhook does not take these events (400, 413, 422 and the like); each was sent alone to make sure, or had an
        /// answer of its own (Elasticsearch's `_bulk`). They are lost.
        /// **Fix:** if all events are rejected, check whether the webhook takes this `--format`; if only some are, compare
        /// their size with the webhook's limit. `--reject-file` keeps them.
        Rejected { events: Events, within: Within, error: String, total: u64 } = "rejected" Warn
            "rejected {events}{within} ({error}); {total} since start";
        /// `--reject-file` could not take these rejected events, for the reason in parentheses. They are lost; delivery
        /// continues.
        /// **Fix:** make room on that disk, or allow the agent to write there.
        RejectsUnsaved { events: Events, within: Within, error: String, total: u64 } = "rejects_unsaved" Warn
            "not saved: {events}{within} that the webhook rejected ({error}); {total} since start";
        /// A bug in this program: a request does not end after its timeouts. Under systemd the watchdog restarts the agent
        /// within a minute, and events in memory are lost.
        /// **Fix:** without systemd, restart the agent; report it, with the log before this line.
        RequestStuck { lasts: HumanDuration } = "request_stuck" Error
            "a request to the webhook has not ended after {lasts}, beyond its timeouts; under systemd, the watchdog will restart the agent";
        /// The request that exceeded its timeouts has ended.
        RequestUnstuck { lasted: HumanDuration } = "request_unstuck" Info
            "the request to the webhook ended after {lasted}";

        in "Losses":

        /// Events were lost, for the reason in parentheses. The first loss is logged at once, then a summary per
        /// `--report-interval`.
        /// **Fix:** by [the reason](log.md#why-were-events-dropped).
        Dropped { events: Events, within: Within, reason: &'static str, total: u64 } = "dropped" Warn
            "dropped {events}{within} ({reason}); {total} since start";

        in "Clocks":

        /// Either the `Date` of the webhook's answers is more than 5 s off, or events of a source other than files have been
        /// dated more than a minute off for a minute: a server's clock is wrong, or its events arrive late, as from a client's
        /// own queue after an outage. Searches by time miss such events.
        /// **Fix:** synchronise the clocks of this host, of the server and of the webhook.
        ClockSkew { what: String, skew: HumanDuration, direction: &'static str } = "clock_skew" Warn
            "{what} is {skew} {direction} this host's clock; fix: synchronise the clocks, as by NTP";
        /// The clocks have agreed for a minute.
        ClockAgrees { what: String } = "clock_agrees" Info
            "{what} agrees with this host's clock again";

        in "Settings":

        /// Forwarding was enabled. The last number is of events dropped as `disabled` before that.
        ForwardingEnabled { changed: String, webhook: String, dropped: Events } = "forwarding_enabled" Info
            "forwarding enabled ({changed}): {webhook}; {dropped} dropped before";
        /// The agent now uses another webhook, token or CA, because of the settings in parentheses.
        ForwardingChanged { changed: String, webhook: String } = "forwarding_changed" Info
            "settings changed ({changed}): now {webhook}";
        /// The agent has no webhook, or no longer: the line says why.
        /// **Fix:** if this was not intended, `s3-audit-webhook enable`.
        ForwardingDisabled { reason: String } = "forwarding_disabled" Warn
            "{reason}";
        /// The agent now uses the [rules](rules.md) after the colon, or none.
        RulesChanged { changed: String, rules: Rules } = "rules_changed" Info
            "settings changed ({changed}){rules}";
        /// Values that `--redact` or `--redact-field` masked until now are sent as they are.
        /// **Fix:** if this was not intended, such as by an empty settings file, set it again.
        MaskingRemoved { fields: String } = "masking_removed" Warn
            "no longer masked: {fields}";
        /// A rule names a member that these events don't have, so it never matches. Logged once.
        /// **Fix:** compare the name with an event: `run --dry-run` prints them.
        RuleUnseen { member: String, events: usize } = "rule_unseen" Warn
            "--exclude, --include: none of the first {events} events has a member {member}; is its name right?";
        /// The settings were corrected.
        SettingsValid {} = "settings_valid" Info
            "the settings are valid again";
        /// When the agent started, it could not read a file that the webhook's settings name. Events are buffered, and files
        /// wait.
        /// **Fix:** put the file there; it is used within seconds.
        WebhookAwaited { error: String } = "webhook_awaited" Warn
            "webhook unavailable: {error}; waiting for it";
        /// The running agent keeps its `settings`, but it would not start with these; or it keeps its `webhook` until a file
        /// that the settings name can be used, and applies the [rules](rules.md) already. `show` says so until that is
        /// corrected; the metric `settings_rejected_timestamp_seconds` says since when.
        /// **Fix:** correct the line or the file that the message names.
        SettingsInvalid { error: String, kept: &'static str } = "settings_invalid" Error
            "{error}; keeping the previous {kept}";
        /// SIGHUP was received, and the settings are the same.
        SettingsUnchanged {} = "settings_unchanged" Info
            "settings read again: nothing changed";
        /// A running agent does not apply changes of this setting.
        /// **Fix:** `systemctl restart s3-audit-webhook`
        SettingNeedsRestart { setting: String, what: &'static str } = "setting_needs_restart" Warn
            "{setting} {what}; restart the agent to apply it";
        /// A setting that needs a restart has changed, and an agent would not start with what it names, at least now.
        /// **Fix:** correct that before the restart.
        RestartWouldFail { error: String } = "restart_would_fail" Warn
            "a restart would fail now: {error}";
        /// The settings file was named, but is not there: its name is wrong, or `enable` has not made it yet. A running
        /// agent reads it as soon as it is there.
        SettingsAbsent { path: String } = "settings_absent" Info
            "{path}: no such file; until it is there, only flags and variables count";
        /// The settings file exists, but this user may not read it.
        /// **Fix:** restart the service, which lets its group read the file; elsewhere `chgrp` it to the agent's group
        /// and `chmod 640`.
        SettingsUnreadable { path: String, error: String } = "settings_unreadable" Warn
            "{path}: can't be read: {error}; its settings are not used";
        /// A typo, a setting of another version, or one that only the environment can have. A running agent logs it too, when
        /// it reads the changed file.
        /// **Fix:** correct the name, or remove the line.
        UnknownSetting { setting: String, of: &'static str, fix: String } = "unknown_setting" Warn
            "{setting} is not a setting of {of}; ignored; fix: {fix}";
        /// The option is set and does nothing, because what it belongs to is not set.
        /// **Fix:** set that too, or leave the option out.
        WithoutEffect { option: String, needed: String } = "setting_without_effect" Warn
            "{option}: has no effect without {needed}";
        /// Perhaps the size lacks its unit: a number alone means bytes.
        /// **Fix:** use a unit such as MiB.
        LimitTiny { option: String, size: Size } = "limit_tiny" Warn
            "{option}: {size} is too little for most events; fix: use a unit, such as 64 MiB";
        /// Anyone on the network path can read the token and the events.
        /// **Fix:** use an `https://` endpoint, or one on this host.
        PlainHttp { option: String } = "plain_http" Warn
            "{option}: http:// sends the token and the events unencrypted; use https://";
        /// `--insecure` turns verification off.
        /// **Fix:** use `--ca-file` or [`--pin-sha256`](tls.md#certificates-that-cant-be-verified) instead.
        CertificateUnverified { option: String } = "certificate_unverified" Warn
            "{option}: the webhook's certificate is not verified; anyone on the network path can read the token and the events";
        /// The mode of this file lets every user read a key, a token or rejected events, or change it or the settings.
        /// **Fix:** `chmod o= FILE`, as the line says.
        KeyReadable { option: String, path: String } = "key_readable" Warn
            "{option}: every user of this host can read or change {path}; fix: chmod o= {path}";
        /// The certificate of the webhook, of its CA (if it is in `--ca-file`) or of this host (`--client-cert`) expires within
        /// 14 days, or has expired. Logged once a day. A pinned certificate is trusted whatever its expiry, so that is not
        /// reported.
        /// **Fix:** renew it; running agents apply renewed files.
        CertificateExpires { whose: &'static str, date: String, when: String } = "certificate_expires" Warn
            "the certificate of {whose} expires on {date} ({when}); renew it";
        /// The host has no list of trusted CAs, so certificates are verified with the program's own list, which ages.
        /// **Fix:** install `ca-certificates`, or give `--ca-file`.
        BundledRoots { reason: String, date: String } = "bundled_roots" Warn
            "no trusted roots on this host{reason}: using those bundled with this program ({date}), which age with it; install \
             ca-certificates, or give --ca-file";
    } };
}
