//! What a service tells systemd, as sd_notify(3) has it: that it is ready, how it is, that it lives, and that it
//! stops. A datagram each, to the socket that `NOTIFY_SOCKET` names.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::{Duration, Instant};

use crate::telemetry::Report;
use crate::telemetry::snapshot::{Forwarding, Snapshot};
use crate::text::quantity::HumanDuration;

/// systemd is not waited for longer: it may be the one that hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to systemd.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Between two signs of life.
    pace: Duration,
    due: Instant,
    /// That the agent is stuck was told.
    was_stuck: bool,
}

impl Notify {
    /// None if nobody wants to be told. What `systemctl status` shows is renewed every `interval`, and more often
    /// if the watchdog wants signs of life more often.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET` is no socket's address, or there are no descriptors left.
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
            // Half the watchdog's time, as sd_watchdog_enabled(3) wants it.
            pace: watchdog().map_or(interval, |limit| interval.min(limit / 2)),
            due: Instant::now(),
            was_stuck: false,
        }))
    }

    /// All is open, and what comes in is sent.
    ///
    /// # Errors
    /// systemd could not be told, and will think that the start has failed.
    pub fn ready(&self) -> io::Result<()> {
        self.tell("READY=1")
    }

    /// The agent ends, within this time.
    pub fn stopping(&self, within: Duration) {
        let told = self.tell(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={}",
            within.as_micros()
        ));
        // It sees the end all the same.
        drop(told);
    }

    /// When the next sign of life is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Tells how the agent is, and that it lives unless a request is stuck.
    pub fn sign(&mut self, report: &Report, is_stuck: bool, now: Instant) {
        self.due = now + self.pace;
        let status = status(&report.snapshot());
        let told = self.tell(&if is_stuck {
            format!("STATUS=a request is stuck; {status}")
        } else {
            format!("WATCHDOG=1\nSTATUS={status}")
        });
        if is_stuck && !self.was_stuck {
            crate::telemetry::message::Message::RequestStuck {
                lasts: HumanDuration(Duration::ZERO),
            }
            .log();
        }
        self.was_stuck = is_stuck;
        // One that is missed is made up for by the next.
        drop(told);
    }

    fn tell(&self, what: &str) -> io::Result<()> {
        self.socket
            .send_to_addr(what.as_bytes(), &self.address)
            .map(drop)
    }
}

/// How long systemd waits for a sign of life before it ends this process, if it does.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse().ok();
    if number("WATCHDOG_PID").is_some_and(|id| id != u64::from(process::id())) {
        return None;
    }
    number("WATCHDOG_USEC")
        .filter(|limit| *limit > 0)
        .map(Duration::from_micros)
}

/// What `systemctl status` shows, in a line.
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
            was_stuck: false,
        };
        let report = Report::new(Duration::from_secs(1), Vec::new());
        for (is_stuck, begin) in [
            (false, "WATCHDOG=1\nSTATUS=;"),
            (true, "STATUS=a request is stuck;"),
            (false, "WATCHDOG=1\nSTATUS=;"),
        ] {
            let now = Instant::now();
            notify.sign(&report, is_stuck, now);
            assert_eq!(notify.due(), now + notify.pace);
            let mut told = [0; 1000];
            let length = systemd.recv(&mut told).unwrap();
            let told = String::from_utf8_lossy(&told[..length]);
            assert!(told.starts_with(begin), "{told}");
        }
    }
}
