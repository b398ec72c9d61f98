//! What an indexer, and the balancer before it, know a client by: channels and cookies.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ureq::RequestBuilder;
use ureq::http::{HeaderMap, HeaderValue, header};
use ureq::typestate::WithBody;

use crate::sys::random;
use crate::webhook::header::CHANNEL;

/// How many cookies are kept.
const COOKIES: usize = 32;
/// The value of AWS's balancer cookies changes with each answer, even of the same server.
const RENEWED: &str = "AWSALB";
/// So does that of any cookie that changes twice within this time: it names no server.
const SOON: Duration = Duration::from_secs(5 * 60);

/// The common part of the channels' names, and the cookies.
#[derive(Debug)]
pub(super) struct Session {
    /// The part of its channels' names that no other client has.
    id: u64,
    cookies: BTreeMap<String, Cookie>,
    has_moved: bool,
}

#[derive(Debug)]
struct Cookie {
    value: String,
    /// When the value last changed.
    changed: Option<Instant>,
    /// Another value does not mean another server.
    is_renewed: bool,
}

impl Default for Session {
    fn default() -> Self {
        Session {
            id: random::seed(),
            cookies: BTreeMap::new(),
            has_moved: false,
        }
    }
}

impl Session {
    /// Adds the channel of this number, and the cookies: in one line with those that the operator has set.
    pub(super) fn add_headers(
        &self,
        mut request: RequestBuilder<WithBody>,
        channel: u64,
        own: Option<&HeaderValue>,
    ) -> RequestBuilder<WithBody> {
        request = request.header(CHANNEL, self.guid(channel));
        let own = own.and_then(|own| own.to_str().ok());
        let own = own.map(str::to_owned).into_iter();
        let cookies = self.cookies.iter();
        let cookies = cookies.map(|(name, cookie)| format!("{name}={}", cookie.value));
        let all: Vec<_> = own.chain(cookies).collect();
        if !all.is_empty() {
            request = request.header(header::COOKIE, all.join("; "));
        }
        request
    }

    fn guid(&self, channel: u64) -> String {
        let id = self.id;
        let (high, middle, low) = (id >> 32, (id >> 16) & 0xffff, id & 0xfff);
        format!(
            "{high:08x}-{middle:04x}-4{low:03x}-8000-{:012x}",
            channel & 0xffff_ffff_ffff
        )
    }

    /// Keeps an answer's cookies. If a cookie's value has changed, another server has answered, unless it changes
    /// often.
    pub(super) fn note(&mut self, headers: &HeaderMap, now: Instant) {
        for cookie in headers.get_all(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap_or_default().split(';').next();
            let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            let Some(cookie) = self.cookies.get_mut(name) else {
                if self.cookies.len() < COOKIES {
                    let cookie = Cookie {
                        value: value.to_owned(),
                        changed: None,
                        is_renewed: name.starts_with(RENEWED),
                    };
                    self.cookies.insert(name.to_owned(), cookie);
                }
                continue;
            };
            if cookie.value != value {
                value.clone_into(&mut cookie.value);
                let last = cookie.changed.replace(now);
                cookie.is_renewed |= last.is_some_and(|at| now.duration_since(at) < SOON);
                self.has_moved |= !cookie.is_renewed;
            }
        }
    }

    /// Whether another server has answered since this was last asked.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(session: &mut Session, cookies: &[&str]) -> bool {
        moves_at(session, cookies, Instant::now())
    }

    fn moves_at(session: &mut Session, cookies: &[&str], now: Instant) -> bool {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::SET_COOKIE, cookie.parse().unwrap());
        }
        session.note(&headers, now);
        session.has_moved()
    }

    #[test]
    fn another_value_of_a_cookie_is_another_server() {
        let mut session = Session::default();
        assert!(!moves(
            &mut session,
            &["SERVERID=a; path=/", "x=1", "broken"]
        ));
        assert!(!moves(&mut session, &[]));
        assert!(!moves(&mut session, &["SERVERID=a; path=/; HttpOnly"]));
        assert!(moves(&mut session, &["SERVERID=b"]));
        assert!(!moves(&mut session, &["SERVERID=b"]));
        assert!(!moves(&mut session, &["AWSALB=1", "AWSALBCORS=1"]));
        assert!(!moves(&mut session, &["AWSALB=2", "AWSALBCORS=2"]));
        assert_eq!(session.cookies["AWSALB"].value, "2");
        for number in 0..100 {
            moves(&mut session, &[&format!("c{number}=1")]);
        }
        assert_eq!(session.cookies.len(), COOKIES);
    }

    #[test]
    fn a_cookie_that_changes_twice_soon_names_no_server() {
        let begin = Instant::now();
        let nearly = SOON - Duration::from_nanos(1);
        for (pause, moved) in [
            (Duration::ZERO, [true, false, false]),
            (nearly, [true, false, false]),
            (SOON, [true, true, true]),
        ] {
            let mut session = Session::default();
            moves_at(&mut session, &["TS=0", "SERVERID=a"], begin);
            for (change, moved) in (1..).zip(moved) {
                let (cookie, now) = (format!("TS={change}"), begin + pause * change);
                let has_moved = moves_at(&mut session, &[&cookie], now);
                assert_eq!(has_moved, moved, "{pause:?} {change}");
                assert!(!moves_at(&mut session, &[&cookie], now));
            }
            let now = begin + pause * 3;
            assert!(moves_at(&mut session, &["SERVERID=b"], now), "another one");
            let much_later = now + SOON * 9;
            let is_known = pause < SOON;
            assert_eq!(moves_at(&mut session, &["TS=9"], much_later), !is_known);
            assert_eq!(session.cookies["TS"].value, "9", "it is sent back");
        }
    }

    #[test]
    fn each_channel_has_a_guid_of_its_own() {
        let session = Session {
            id: 0x0123_4567_89ab_cdef,
            ..Session::default()
        };
        assert_eq!(session.guid(10), "01234567-89ab-4def-8000-00000000000a");
        assert_ne!(Session::default().guid(1), Session::default().guid(1));
    }
}
