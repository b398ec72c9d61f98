//! `--status-listen`: `/healthz` for probes, and `/metrics` in Prometheus' text format. The figures are
//! the ledger's, so they are the log's.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::buffer::queue::QueueStats;
use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::source::http::request::{HEAD_BYTES, parse_head};
use crate::sys::poll::{PollFd, poll};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::Report;
use crate::telemetry::metrics::{self, BufferState};
use crate::telemetry::snapshot::Forwarding;
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
                Ok(Some(head)) => break self.page(head.method, head.target, started),
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
                    format!("delivery failing for {}: {why}\n", HumanDuration(duration)),
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
        let bound = self.stats.bound();
        let buffer = BufferState {
            bytes: self.stats.buffered().bytes,
            limit_events: bound.events,
            limit_bytes: bound.bytes,
        };
        metrics::render(&self.report.snapshot(), &buffer, started)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
