//! `--status-listen`: `/healthz` for probes, and `/metrics` in Prometheus' text format. The figures come from
//! the same counters as the log's.

use std::io::{self, Read};
use std::net::{IpAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::buffer::queue::QueueStats;
use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::source::http::connections::{Connections, Member, WRITE_TIME};
use crate::source::http::registry::Limits;
use crate::source::http::request::{HEAD_BYTES, Head, parse_head};
use crate::source::http::tokens::Tokens;
use crate::source::watched::Watched;
use crate::sys::poll::{PollFd, poll};
use crate::sys::shortage;
use crate::sys::shutdown::ShutdownSignal;
use crate::sys::tcp;
use crate::sys::thread;
use crate::telemetry::Report;
use crate::telemetry::metrics::{self, BufferState};
use crate::telemetry::snapshot::Forwarding;
use crate::text::quantity::HumanDuration;

/// How long a probe's whole request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(1);
/// Probes that are answered at the same time, each by its own thread. One more ends the one that is silent for longest.
const PROBES: usize = 64;
/// How long the page pauses before it accepts again when no descriptor is free.
const REST: Duration = Duration::from_millis(100);
/// The stack of such a thread.
const STACK: usize = 128 << 10;

/// The status page's listening socket, and what the page shows.
pub struct Status {
    /// The listening socket.
    pub listener: TcpListener,
    /// Provides the counts.
    pub report: Arc<Report>,
    /// Says how much is buffered.
    pub stats: QueueStats,
    /// How long the webhook may be failing before the agent counts as unhealthy.
    pub unhealthy_after: Duration,
    /// Since when a file that the webhook needs may have been missing.
    pub started: Instant,
    /// The tokens that `/metrics` requires of its clients.
    pub tokens: Option<Arc<Watched<Tokens>>>,
}

/// A client of the page.
struct Probe {
    number: u64,
    member: Arc<Member>,
    probes: Arc<Connections>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.probes.close(self.number);
    }
}

/// Opens the socket, if the page is configured.
///
/// # Errors
/// The address is in use, is not this host's or not for this user, or there are no more descriptors.
pub fn open(
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<Option<TcpListener>, CommandError> {
    let Some(address) = options.status_listen else {
        return Ok(None);
    };
    tcp::listen(address).map(Some).map_err(|error| {
        let shortage = shortage::fix(&error);
        let fix = shortage.unwrap_or(match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "use a port that this user may take, such as one above 1023"
            }
            _ => "use a free port and an address of this host",
        });
        let what = format!("{address}: can't listen: {error}; fix: {fix}");
        let wrong = provenance.error(Opt::StatusListen, what);
        match error.kind() {
            // An address that is not available may become this host's later.
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => {
                CommandError::Failed(wrong.0)
            }
            _ if shortage.is_some() => CommandError::Failed(wrong.0),
            _ => wrong.into(),
        }
    })
}

impl Status {
    /// Answers until the agent stops.
    pub fn run(self, stop: &ShutdownSignal) {
        let (status, started) = (Arc::new(self), SystemTime::now());
        let limits = Limits {
            connections: PROBES,
            busy: PROBES,
            per_peer: 0,
        };
        let probes = Arc::new(Connections::new(limits, stop));
        for number in 0.. {
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
            match status.listener.accept() {
                Ok((stream, peer)) => {
                    let probe = Probe {
                        number,
                        member: Arc::new(Member::new(stream)),
                        probes: Arc::clone(&probes),
                    };
                    status.serve(probe, peer.ip(), started);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Out of descriptors: the socket stays ready, so pause.
                Err(_) => drop(stop.wait(REST)),
            }
        }
    }

    /// A failed probe is reported by the prober, even if there was no thread for it.
    fn serve(self: &Arc<Self>, probe: Probe, peer: IpAddr, started: SystemTime) {
        let admitted = probe
            .probes
            .admit(probe.number, &probe.member, peer, Duration::ZERO);
        if admitted.is_err() {
            return;
        }
        let status = Arc::clone(self);
        let _ = thread::spawn_small("probe", STACK, move || {
            // The client may be gone.
            let _ = status.answer(&probe, started);
        });
    }

    fn answer(&self, probe: &Probe, started: SystemTime) -> io::Result<()> {
        let stream = probe.member.stream();
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(WRITE_TIME))?;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; HEAD_BYTES];
        let mut filled = 0;
        let (status, kind, body) = loop {
            match parse_head(&buffer[..filled]) {
                Ok(None) => {}
                Ok(Some(head)) => break self.page(&head, started),
                Err(_) => break ("400 Bad Request", TEXT, "not HTTP\n".into()),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let rest = &mut buffer[filled..];
            match probe.member.read(|mut stream| stream.read(rest))? {
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
        probe.member.write_all(answer.as_bytes(), PATIENCE)
    }

    fn page(&self, head: &Head<'_>, started: SystemTime) -> (&'static str, &'static str, String) {
        let path = head.target.split('?').next().unwrap_or_default();
        let given = head.authorization.unwrap_or_default();
        let tokens = self.tokens.as_ref();
        let accept = |tokens: &Arc<Watched<Tokens>>| {
            tokens.current().is_ok_and(|tokens| tokens.accept(given))
        };
        let may_read = tokens.is_none_or(accept);
        match (head.method, path) {
            // Probes seldom have a token: all get the status, but only those who may read it get the reason.
            ("GET" | "HEAD", "/healthz") => match self.health() {
                (status, reason) if may_read => (status, TEXT, reason),
                (status, _) => (status, TEXT, String::new()),
            },
            ("GET" | "HEAD", "/metrics") if may_read => ("200 OK", METRICS, self.metrics(started)),
            ("GET" | "HEAD", "/metrics") if given.is_empty() => {
                ("401 Unauthorized", TEXT, "a token is required\n".into())
            }
            ("GET" | "HEAD", "/metrics") => ("403 Forbidden", TEXT, "invalid token\n".into()),
            ("GET" | "HEAD", _) => ("404 Not Found", TEXT, "see /healthz and /metrics\n".into()),
            _ => ("405 Method Not Allowed", TEXT, "only GET and HEAD\n".into()),
        }
    }

    fn health(&self) -> (&'static str, String) {
        match self.report.webhook_outage() {
            Some((duration, why)) if duration > self.unhealthy_after => (
                "503 Service Unavailable",
                format!("delivery failing for {}: {why}\n", HumanDuration(duration)),
            ),
            _ => match self.report.forwarding() {
                Some(Forwarding::Unset(reason)) => (
                    "503 Service Unavailable",
                    format!("never configured: {reason}\n"),
                ),
                Some(awaited @ Forwarding::Awaited(_))
                    if self.started.elapsed() > self.unhealthy_after =>
                {
                    ("503 Service Unavailable", format!("{awaited}\n"))
                }
                // This is intended, or may end by itself.
                Some(off @ (Forwarding::Off(_) | Forwarding::Awaited(_))) => {
                    ("200 OK", format!("ok; {off}\n"))
                }
                _ => ("200 OK", "ok\n".into()),
            },
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
