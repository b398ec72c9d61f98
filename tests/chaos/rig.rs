//! An agent under load between servers, a network and a webhook, all of which can fail.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::source_http::free_address;
use crate::status::get;
use crate::support::{Agent, AgentCommand, Authority, Metrics, Webhook, Wire, own_loopback, poll};

use super::books::{Books, Fate};
use super::judge::Account;
use super::load::{CLIENT, LOG, Load, Places, SOCKET, Told, Written};

/// `--request-timeout`.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
/// `--backoff-max`.
pub(super) const BACKOFF_MAX: Duration = Duration::from_millis(300);
/// How many events come at a time through the socket, every 10 ms.
const BURST: usize = 20;
/// How long draining the buffer may take once all faults have ended; only a failure takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything together.
pub(super) struct Rig {
    pub(super) load: Load,
    pub(super) agent: Agent,
    pub(super) wire: Wire,
    pub(super) hook: Webhook,
    pub(super) books: Arc<Books>,
    pub(super) places: Places,
    status: SocketAddr,
    /// How often the log was rotated.
    rotations: usize,
    _dir: TempDir,
}

impl Rig {
    /// Starts everything, over TLS or not, with some 4,500 events a second.
    pub(super) fn start(tls: bool) -> Self {
        Self::start_with(tls, BURST, |command| command)
    }

    /// The same with this many events at a time through the socket, and a change of the agent's command.
    pub(super) fn start_with(
        tls: bool,
        burst: usize,
        change: impl FnOnce(AgentCommand) -> AgentCommand,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ip = own_loopback();
        let authority = Authority::new("chaos");
        let hook = if tls {
            let identity = authority.server(&[&ip.to_string()]);
            Webhook::builder().tls(identity.server_config())
        } else {
            Webhook::builder()
        };
        let hook = hook.forgetful().start();
        let books = Arc::new(Books::new(3, TIMEOUT));
        let enter = Arc::clone(&books);
        hook.answer_by(move |request| enter.enter(request));
        let wire = Wire::to(hook.address(), ip);

        let places = Places {
            socket: dir.path().join("socket"),
            log: dir.path().join("audit.log"),
            http: free_address(),
        };
        fs::write(&places.log, "").unwrap();
        let status = free_address();
        let scheme = if tls { "https" } else { "http" };
        let mut command = Agent::command()
            .arg("run")
            .endpoint(&format!("{scheme}://{}/", wire.address()))
            .token("Splunk chaos")
            .source(&format!("unix-listen:{}", places.socket.display()))
            .source(&format!("file:{}", places.log.display()))
            .source(&format!("http:{}", places.http))
            .arg(format!("--status-listen={status}"));
        // In the environment, so that a change takes precedence.
        for (name, value) in [
            ("BUFFER_EVENTS", "1500"),
            ("BATCH_EVENTS", "500"),
            ("BATCH_AGE", "20ms"),
            ("REPORT_INTERVAL", "1s"),
            ("CONNECT_TIMEOUT", "500ms"),
            ("REQUEST_TIMEOUT", &format!("{}ms", TIMEOUT.as_millis())),
            ("BACKOFF_MIN", "10ms"),
            ("BACKOFF_MAX", &format!("{}ms", BACKOFF_MAX.as_millis())),
        ] {
            command = command.env(&format!("S3_AUDIT_WEBHOOK_{name}"), value);
        }
        if tls {
            let ca = authority.write_pem(dir.path(), "ca");
            command = command.arg("--ca-file").arg(ca);
        }
        let agent = change(command).spawn();
        agent.wait_for_log("started: ");
        // An earlier fault may keep it from starting.
        agent.wait_until_running();
        Self {
            load: Load::start(&places, burst),
            agent,
            wire,
            hook,
            books,
            places,
            status,
            rotations: 0,
            _dir: dir,
        }
    }

    /// The current figures. Nothing is unaccounted for at any moment.
    #[track_caller]
    pub(super) fn metrics(&self) -> Metrics {
        let metrics = Metrics::at(self.status);
        metrics.hold();
        metrics
    }

    /// Renames the log once the agent has it open; the server makes a new one.
    pub(super) fn rotate(&mut self) {
        rotate(&self.agent, &self.places.log, &mut self.rotations);
    }

    /// The servers pause, and all faults have ended: waits until the buffer is empty. By then each event has ended the
    /// way that the agent, the webhook and the server report.
    #[track_caller]
    pub(super) fn settle(&self) -> Account {
        let pause = self.load.pause();
        let written = self.load.written();
        let drained = poll(PATIENCE, || {
            let metrics = self.metrics();
            let received = self.received(&metrics);
            (metrics.value("buffered_events") == 0
                && metrics.value("buffered_bytes") == 0
                && received[SOCKET] == written.events[SOCKET]
                && received[LOG] == written.events[LOG])
                .then_some(metrics)
        });
        let Some(metrics) = drained else {
            self.fail(&format!(
                "not drained within {PATIENCE:?}; written {:?}",
                written.events
            ));
        };
        let (account, wrong) = self.books.close(metrics.value("redelivered_events_total"));
        drop(pause);
        if !wrong.is_empty() {
            self.fail(&wrong.join("\n"));
        }
        let unlike = self.compare(&written, &metrics, &account);
        if !unlike.is_empty() {
            self.fail(&format!("{}\n{account:?}", unlike.join("\n")));
        }
        account
    }

    fn received(&self, metrics: &Metrics) -> [usize; 3] {
        [
            format!("unix-listen:{}", self.places.socket.display()),
            format!("file:{}", self.places.log.display()),
            format!("http:{}", self.places.http),
        ]
        .map(|name| metrics.of("events_received_total", "source", &name) as usize)
    }

    /// The figures that do not agree.
    fn compare(&self, written: &Written, metrics: &Metrics, account: &Account) -> Vec<String> {
        let mut unlike = Vec::new();
        let mut must_be = |what: &str, is: u64, should: u64| {
            if is != should {
                unlike.push(format!("{what}: {is}, but by the others' word {should}"));
            }
        };
        let dropped = |reason: &str| metrics.of("events_dropped_total", "reason", reason);
        must_be(
            "delivered",
            metrics.value("events_delivered_total"),
            account.delivered,
        );
        must_be(
            "rejected",
            metrics.value("events_rejected_total"),
            account.refused,
        );
        for reason in ["malformed", "too_large", "disabled", "shutdown"] {
            must_be(reason, dropped(reason), 0);
        }
        // The events that never reached the webhook.
        let missing = |source: usize, count: usize| -> Vec<usize> {
            (0..count)
                .filter(|number| self.books.fate((source, *number)) == Fate::Unseen)
                .collect()
        };
        let told = |told: Told| written.told.iter().filter(|was| **was == told).count() as u64;
        let lied = missing(CLIENT, written.told.len()).into_iter();
        let lied = lied.filter(|n| written.told[*n] == Told::Taken);
        must_be("acknowledged but missing", lied.count() as u64, 0);
        let not_busy = (0..written.told.len())
            .filter(|n| written.told[*n] == Told::Busy)
            .filter(|n| self.books.fate((CLIENT, *n)) != Fate::Unseen);
        must_be("refused with 503 but there", not_busy.count() as u64, 0);
        must_be(
            "missing of the log",
            missing(LOG, written.events[LOG]).len() as u64,
            0,
        );
        let of_socket = missing(SOCKET, written.events[SOCKET]).len() as u64;
        let received = self.received(metrics)[CLIENT] as u64;
        must_be("buffer full", dropped("buffer_full"), of_socket);
        // Those that were not answered were taken, or refused, or have not come in. What was refused is still the
        // client's: it is in no count of events.
        let nothing = told(Told::Nothing);
        let mut must_be_within = |what: &str, is: u64, least: u64| {
            if !(least..=least + nothing).contains(&is) {
                unlike.push(format!(
                    "{what}: {is}, but {least} by the client's word, and {nothing} were not answered"
                ));
            }
        };
        must_be_within("received by http", received, told(Told::Taken));
        // Each has several events, so there are fewer requests.
        let refused = metrics.0.get("s3_audit_webhook_requests_refused_total");
        let refused: u64 = refused.map_or(0, |family| family.samples.values().sum());
        let busy = told(Told::Busy);
        if refused > busy + nothing || (busy > 0 && refused == 0) {
            unlike.push(format!(
                "{refused} requests refused by http, but {busy} events"
            ));
        }
        unlike
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let log = self.agent.log();
        let skipped = log.len().saturating_sub(4000);
        let (_, page) = get(self.status, "/metrics");
        panic!(
            "{what}\n{page}\n…{}",
            String::from_utf8_lossy(&log.as_bytes()[skipped..])
        );
    }

    /// Ends the agent; its last line agrees with the rest.
    #[track_caller]
    pub(super) fn end(mut self) -> Account {
        self.load.stop();
        let account = self.settle();
        let metrics = self.metrics();
        self.agent.signal(libc::SIGTERM);
        let ended = self.agent.wait();
        let balance = ended.balance();
        balance.holds();
        assert_eq!((ended.code, balance.left), (Some(0), 0), "{}", ended.log);
        assert_eq!(
            (balance.delivered, balance.rejected, balance.dropped),
            (
                account.delivered,
                account.refused,
                metrics.sum("events_dropped_total")
            ),
            "{}",
            ended.log
        );
        let redelivered = metrics.value("redelivered_events_total");
        assert_eq!(ended.redelivered(), redelivered, "{}", ended.log);
        assert!(!ended.log.contains("panicked"), "{}", ended.log);
        account
    }
}

/// Renames the log once the agent has it open; `rotations` counts the rotations so far.
pub(super) fn rotate(agent: &Agent, log: &Path, rotations: &mut usize) {
    let is_open = || agent.offset(log);
    if fs::exists(log).unwrap() && poll(Duration::from_secs(2), is_open).is_some() {
        *rotations += 1;
        fs::rename(log, log.with_extension(rotations.to_string())).unwrap();
    }
}
