//! What an indexer, and the balancer before it, know a client by: channels and cookies.

use std::collections::BTreeMap;

use ureq::RequestBuilder;
use ureq::http::{HeaderMap, header};
use ureq::typestate::WithBody;

use crate::sys::random;
use crate::webhook::header::CHANNEL;

/// How many cookies are kept.
const COOKIES: usize = 32;
/// The value of AWS's balancer cookies changes with each answer, even of the same server.
const RENEWED: &str = "AWSALB";

/// The common part of the channels' names, and the cookies.
#[derive(Debug)]
pub(super) struct Session {
    /// The part of its channels' names that no other client has.
    id: u64,
    cookies: BTreeMap<String, String>,
    has_moved: bool,
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
    /// Adds the channel of this number, and the cookies.
    pub(super) fn add_headers(
        &self,
        mut request: RequestBuilder<WithBody>,
        channel: u64,
    ) -> RequestBuilder<WithBody> {
        request = request.header(CHANNEL, self.guid(channel));
        if !self.cookies.is_empty() {
            let pairs = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            request = request.header(header::COOKIE, pairs.collect::<Vec<_>>().join("; "));
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

    /// Keeps an answer's cookies. If a cookie's value has changed, another server has answered.
    pub(super) fn note(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap_or_default().split(';').next();
            let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
            let is_renewed = name.starts_with(RENEWED);
            if self.cookies.len() < COOKIES || self.cookies.contains_key(&name) {
                let old = self.cookies.insert(name, value.clone());
                self.has_moved |= !is_renewed && old.is_some_and(|old| old != value);
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
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::SET_COOKIE, cookie.parse().unwrap());
        }
        session.note(&headers);
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
        assert_eq!(session.cookies["AWSALB"], "2");
        for number in 0..100 {
            moves(&mut session, &[&format!("c{number}=1")]);
        }
        assert_eq!(session.cookies.len(), COOKIES);
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
