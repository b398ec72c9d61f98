//! Certificates that expire soon; those of the webhook are seen on each new connection.

use std::time::{Duration, SystemTime};

use crate::telemetry::message::Message;
use crate::text::certificate::date;

/// The time between two reminders.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long before a certificate expires it is logged.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// When certificates expire, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expiries {
    /// The webhook's certificate, if its expiry matters.
    pub webhook: Option<SystemTime>,
    /// That of the CA, if it is in one of the operator's files.
    pub ca: Option<SystemTime>,
    /// This host's own.
    pub client: Option<SystemTime>,
}

impl Expiries {
    /// For each kind, the one that expires first.
    pub fn first<'a>(all: impl Iterator<Item = &'a Expiries>) -> Self {
        let first =
            |one: Option<SystemTime>, other: Option<SystemTime>| one.into_iter().chain(other).min();
        all.fold(Expiries::default(), |found, other| Expiries {
            webhook: first(found.webhook, other.webhook),
            ca: first(found.ca, other.ca),
            client: first(found.client, other.client),
        })
    }

    /// Each with its name for programs, and its description for people.
    pub fn each(&self) -> [(&'static str, &'static str, Option<SystemTime>); 3] {
        [
            ("webhook", "the webhook", self.webhook),
            ("ca", "its CA (--ca-file)", self.ca),
            ("client", "this host (--client-cert)", self.client),
        ]
    }

    /// What should be reported of the certificates that expire soon or have expired.
    pub fn soon(&self, now: SystemTime) -> Vec<Message> {
        let soon = self.each().into_iter().filter_map(|(_, whose, at)| {
            let left = at?.duration_since(now).unwrap_or_default();
            (left <= SOON).then(|| Message::CertificateExpires {
                whose,
                date: date(at.unwrap_or(now)),
                when: match left.as_secs() / DAY.as_secs() {
                    _ if left.is_zero() => "it has expired".into(),
                    0 => "within a day".into(),
                    1 => "in 1 day".into(),
                    days => format!("in {days} days"),
                },
            })
        });
        soon.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_expires_soon_is_said() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let expiries = Expiries {
            webhook: Some(now + DAY * 14),
            ca: Some(now + DAY * 15),
            client: Some(now - DAY),
        };
        let texts = |expiries: Expiries| {
            expiries
                .soon(now)
                .iter()
                .map(Message::text)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            texts(expiries),
            [
                "the certificate of the webhook expires on 2024-10-18 (in 14 days); renew it",
                "the certificate of this host (--client-cert) expires on 2024-10-03 (it has expired); renew it",
            ]
        );
        assert_eq!(texts(Expiries::default()), [""; 0]);
        let later = Expiries {
            webhook: Some(now + DAY * 99),
            client: None,
            ..expiries
        };
        assert_eq!(Expiries::first([later, expiries].iter()), expiries);
    }
}
