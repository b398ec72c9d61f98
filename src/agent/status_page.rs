//! `--status-listen`: `/healthz` for probes, and `/metrics` in Prometheus' text format. The figures are
//! the ledger's, so they are the log's.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::buffer::queue::QueueStats;
use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::source::http::request::{HEAD_BYTES, parse_head};
use crate::sys::poll::{PollFd, poll};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::counters::{Reason, RequestResult};
use crate::telemetry::report::{Forwarding, Report};
use crate::text::quantity::HumanDuration;

/// A probe's whole request must be here within this.
const PATIENCE: Duration = Duration::from_secs(1);
/// Probes that are answered at a time, each by its own thread: slow clients must not keep others waiting.
const PROBES: usize = 16;
/// How long accepting rests when there are as many, or no descriptor is free.
const REST: Duration = Duration::from_millis(100);
/// What such a thread needs.
const STACK: usize = 128 << 10;

/// The status page's listening socket, and what it tells.
pub struct Status {
    /// Listens.
    pub listener: TcpListener,
    /// Tells the counts.
    pub report: Arc<Report>,
    /// Tells what is held.
    pub stats: QueueStats,
    /// The webhook may be away for so long.
    pub unhealthy_after: Duration,
}

/// Opens the socket, if it is asked for.
///
/// # Errors
/// The address is in use or not this host's.
pub fn open(
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<Option<TcpListener>, CommandError> {
    let Some(address) = options.status_listen else {
        return Ok(None);
    };
    listen(address).map(Some).map_err(|error| {
        let what = format!("{address}: can't listen: {error}");
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                CommandError::Failed(format!("{}: {what}", provenance.name(Opt::StatusListen)))
            }
            _ => provenance.error(Opt::StatusListen, what).into(),
        }
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Status {
    /// Answers until the agent stops.
    pub fn run(self, stop: &ShutdownSignal) {
        let (status, started) = (Arc::new(self), SystemTime::now());
        loop {
            let mut fds = [
                PollFd::new(status.listener.as_fd()),
                PollFd::new(stop.as_fd()),
            ];
            if poll(&mut fds, None).is_err() {
                stop.wait(REST);
            }
            if fds[1].is_ready() {
                return;
            }
            // Each thread has a share.
            if Arc::strong_count(&status) > PROBES {
                stop.wait(REST);
                continue;
            }
            match status.listener.accept() {
                Ok((stream, _)) => {
                    let status = Arc::clone(&status);
                    // A probe that fails, also for want of a thread, is the prober's to tell.
                    let _ = thread::Builder::new()
                        .name("probe".into())
                        .stack_size(STACK)
                        .spawn(move || status.answer(&stream, started));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Out of descriptors: the socket stays ready, so rest.
                Err(_) => drop(stop.wait(REST)),
            }
        }
    }

    fn answer(&self, mut stream: &TcpStream, started: SystemTime) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; HEAD_BYTES];
        let mut filled = 0;
        let (status, kind, body) = loop {
            match parse_head(&buffer[..filled]) {
                Ok(None) => {}
                Ok(Some(head)) => break self.page(head.method, head.path, started),
                Err(_) => break ("400 Bad Request", TEXT, "not HTTP\n".into()),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match stream.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                count => filled += count,
            }
            if Instant::now() >= deadline {
                return Ok(());
            }
        };
        let head_only = buffer.starts_with(b"HEAD ");
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        if !head_only {
            answer += &body;
        }
        stream.write_all(answer.as_bytes())
    }

    fn page(
        &self,
        method: &str,
        path: &str,
        started: SystemTime,
    ) -> (&'static str, &'static str, String) {
        let path = path.split('?').next().unwrap_or_default();
        match (method, path) {
            ("GET" | "HEAD", "/healthz") => match self.report.webhook_outage() {
                Some((duration, why)) if duration > self.unhealthy_after => (
                    "503 Service Unavailable",
                    TEXT,
                    format!(
                        "webhook unreachable for {}: {why}\n",
                        HumanDuration(duration)
                    ),
                ),
                // Somebody wanted it so: nothing that a restart of the agent would mend.
                _ => match self.report.forwarding() {
                    Some(off @ Forwarding::Off(_)) => ("200 OK", TEXT, format!("ok; {off}\n")),
                    _ => ("200 OK", TEXT, "ok\n".into()),
                },
            },
            ("GET" | "HEAD", "/metrics") => ("200 OK", METRICS, self.metrics(started)),
            ("GET" | "HEAD", _) => ("404 Not Found", TEXT, "see /healthz and /metrics\n".into()),
            _ => ("405 Method Not Allowed", TEXT, "only GET and HEAD\n".into()),
        }
    }

    fn metrics(&self, started: SystemTime) -> String {
        let ledger = self.report.ledger();
        // Ends are read before what came in, so that what is held is never less than nothing.
        let balance = self.report.balance();
        let names = self.report.sources();
        let received: Vec<_> = (0..names.len())
            .map(|source| ledger.received_from(source))
            .collect();
        let in_buffer = received.iter().sum::<u64>() - balance.delivered - balance.dropped();

        let mut page = Page::default();
        page.family("events_received_total", "counter", "Events that came in.");
        for (name, events) in names.iter().zip(&received) {
            page.labelled("events_received_total", "source", name, *events);
        }
        page.family(
            "events_delivered_total",
            "counter",
            "Events that the webhook has taken.",
        );
        page.value("events_delivered_total", balance.delivered);
        page.family("events_dropped_total", "counter", "Events that were lost.");
        for reason in Reason::ALL {
            let events = balance.dropped_for(reason);
            page.labelled("events_dropped_total", "reason", &reason.label(), events);
        }
        page.family(
            "buffered_events",
            "gauge",
            "Events that came in and have not ended.",
        );
        page.value("buffered_events", in_buffer);
        page.family("buffered_bytes", "gauge", "Bytes of events that are held.");
        page.value("buffered_bytes", self.stats.held().bytes as u64);
        page.family(
            "buffer_limit_events",
            "gauge",
            "Events that are held at most.",
        );
        page.value("buffer_limit_events", self.stats.bound().events as u64);
        page.family(
            "buffer_limit_bytes",
            "gauge",
            "Bytes of events that are held at most.",
        );
        page.value("buffer_limit_bytes", self.stats.bound().bytes as u64);
        page.family(
            "requests_total",
            "counter",
            "Requests to the webhook, by what became of them.",
        );
        for outcome in RequestResult::ALL {
            let requests = ledger.requests(outcome);
            page.labelled("requests_total", "result", outcome.label(), requests);
        }
        page.family(
            "webhook_up",
            "gauge",
            "Whether the last request to the webhook got through.",
        );
        page.value(
            "webhook_up",
            u64::from(self.report.webhook_outage().is_none()),
        );
        let help = "Whether there is a webhook; 0 while events are thrown away.";
        page.family("webhook_enabled", "gauge", help);
        let on = matches!(self.report.forwarding(), Some(Forwarding::On(_)));
        page.value("webhook_enabled", u64::from(on));
        let help = "When the webhook last took events; 0 if it never did.";
        page.family("last_delivery_timestamp_seconds", "gauge", help);
        page.value(
            "last_delivery_timestamp_seconds",
            self.report.last_delivery().map_or(0, seconds),
        );
        page.family("start_time_seconds", "gauge", "When the agent started.");
        page.value("start_time_seconds", seconds(started));
        page.family("build_info", "gauge", "The agent's version.");
        page.labelled("build_info", "version", env!("CARGO_PKG_VERSION"), 1);
        page.text
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Prometheus' text format, 0.0.4.
#[derive(Default)]
struct Page {
    text: String,
}

// Writing to a string can't fail.
impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP s3_audit_webhook_{name} {help}");
        let _ = writeln!(self.text, "# TYPE s3_audit_webhook_{name} {kind}");
    }

    fn value(&mut self, name: &str, value: u64) {
        let _ = writeln!(self.text, "s3_audit_webhook_{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, of: &str, value: u64) {
        let of = of
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = writeln!(
            self.text,
            "s3_audit_webhook_{name}{{{label}=\"{of}\"}} {value}"
        );
    }
}
