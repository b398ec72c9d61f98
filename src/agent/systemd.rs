//! What a service tells systemd through sd_notify(3): that it is ready, its status, that it is alive, and that it
//! stops. Each is a datagram to the socket that `NOTIFY_SOCKET` names.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::{Duration, Instant};

use crate::telemetry::snapshot::{Forwarding, Snapshot};
use crate::text::quantity::HumanDuration;

/// A start waits no longer than this for systemd, which may be what hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to systemd.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    address: SocketAddr,
    /// The time between two signs of life.
    pace: Duration,
    due: Instant,
}

impl Notify {
    /// `None` if systemd did not ask for it. What `systemctl status` shows is updated every `interval`, and more often
    /// if the watchdog wants signs of life more often.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET` is not a socket's address, or there are no descriptors left.
    pub fn open(interval: Duration) -> io::Result<Option<Self>> {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(None);
        };
        let bytes = address.as_encoded_bytes();
        let address = match bytes.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&address),
        }?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Some(Notify {
            socket,
            address,
            // Half the watchdog's time, as sd_watchdog_enabled(3) recommends.
            pace: watchdog().map_or(interval, |limit| interval.min(limit / 2)),
            due: Instant::now(),
        }))
    }

    /// Everything is open, and incoming events are sent. From now on systemd is not waited for.
    ///
    /// # Errors
    /// systemd could not be notified, and will think that the start has failed.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1")?;
        self.socket.set_nonblocking(true)
    }

    /// The agent stops, within this time.
    pub fn stopping(&self, within: Duration) {
        let sent = self.send(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={}",
            within.as_micros()
        ));
        // systemd sees the end all the same.
        drop(sent);
    }

    /// When the next sign of life is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Reports the agent's status, and that it is alive unless a request is stuck.
    pub fn sign(&mut self, state: &Snapshot, is_stuck: bool, now: Instant) {
        self.due = now + self.pace;
        let status = status(state);
        let sent = self.send(&if is_stuck {
            format!("STATUS=a request is stuck; {status}")
        } else {
            format!("WATCHDOG=1\nSTATUS={status}")
        });
        // A missed sign is made up for by the next.
        drop(sent);
    }

    fn send(&self, what: &str) -> io::Result<()> {
        self.socket
            .send_to_addr(what.as_bytes(), &self.address)
            .map(drop)
    }
}

/// How long systemd waits for a sign of life before it kills this process, if it does so at all.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse().ok();
    if number("WATCHDOG_PID").is_some_and(|id| id != u64::from(process::id())) {
        return None;
    }
    number("WATCHDOG_USEC")
        .filter(|limit| *limit > 0)
        .map(Duration::from_micros)
}

/// What `systemctl status` shows, in one line.
fn status(now: &Snapshot) -> String {
    let webhook = match (&now.forwarding, &now.outage) {
        (Some(Forwarding::On(webhook)), Some(outage)) => {
            let lasts = HumanDuration(outage.since.elapsed());
            format!("{webhook} failing for {lasts}: {}", outage.error)
        }
        (Some(forwarding), _) => forwarding.to_string(),
        (None, _) => String::new(),
    };
    let balance = &now.balance;
    format!(
        "{webhook}; received {}, delivered {}, dropped {}, rejected {}, buffered {}",
        balance.received(),
        balance.delivered,
        balance.dropped(),
        balance.rejected,
        balance.buffered()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Report;

    #[test]
    fn no_sign_of_life_is_given_while_a_request_is_stuck() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let mut notify = Notify {
            socket: UnixDatagram::unbound().unwrap(),
            address: SocketAddr::from_pathname(&path).unwrap(),
            pace: Duration::from_secs(1),
            due: Instant::now(),
        };
        let report = Report::new(Duration::from_secs(1), Vec::new());
        let state = report.snapshot();
        for (is_stuck, begin) in [
            (false, "WATCHDOG=1\nSTATUS=;"),
            (true, "STATUS=a request is stuck;"),
            (false, "WATCHDOG=1\nSTATUS=;"),
        ] {
            let now = Instant::now();
            notify.sign(&state, is_stuck, now);
            assert_eq!(notify.due(), now + notify.pace);
            let mut told = [0; 1000];
            let length = systemd.recv(&mut told).unwrap();
            let told = String::from_utf8_lossy(&told[..length]);
            assert!(told.starts_with(begin), "{told}");
        }
    }
}
