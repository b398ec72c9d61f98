//! The tables: what Splunk's codes mean (<https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector>),
//! and what HTTP's statuses mean. Each has its fix or hint, for the log and for `test`.

pub(super) const NEW_TOKEN: &str =
    "give the token that the webhook expects with --auth-token, scheme included ('Splunk <token>')";
pub(super) const SCHEME: &str = "the token has no scheme before it: give the token that the webhook expects with --auth-token, \
                                 scheme included ('Splunk <token>')";
pub(super) const CREDENTIAL: &str =
    "give the credential that the webhook expects with --auth-token or --header";
pub(super) const FORBIDDEN: &str = "give the token that the webhook expects with --auth-token, scheme included ('Splunk <token>'); \
                                    if it is right, see whether a firewall before the webhook refuses some events";
pub(super) const PAGE: &str = "check that the --endpoint's path is one that takes events, as Splunk's /services/collector/raw does, \
                               and that no login is before it";
pub(super) const ENDED: &str =
    "check the webhook's Content-Length, and what is before it: it may be a web page";
pub(super) const BROWSER: &str =
    "let AWS WAF allow this path, or this host, without a challenge or captcha";
pub(super) const OTHER_SCHEME: &str = "check the --endpoint's https:// or http://, and whether it wants a client certificate (--client-cert)";
pub(super) const JSON_TYPE: &str = "this webhook takes application/json only: give --format array, or \
                                    --header 'Content-Type: application/json'";
pub(super) const COMPRESSION: &str =
    "the webhook may not take compressed bodies: set --compress none";
const OTHER_URL: &str = "check the --endpoint";
const PATH: &str = "check the --endpoint's path; Splunk's collector takes events at /services/collector/raw, and with \
                    --format hec at /services/collector/event";
const REDIRECT: &str = "check the --endpoint: give the URL that this leads to, if it is a collector's (Splunk's has port 8088, \
                        its web pages have 8000)";
const INDEX: &str = "allow the index for this token, or name another one";
const CHANNEL: &str = "turn indexer acknowledgement off for this token, or give --hec-ack";
const LOST_CHANNEL: &str =
    "have proxies before the webhook pass on the X-Splunk-Request-Channel header as it is";
pub(super) const NO_ACK: &str = "turn indexer acknowledgement on for this token, or leave out --hec-ack and any channel in the --endpoint";
const ENABLE: &str = "enable this token in Splunk (Settings, Data inputs, HTTP Event Collector), or give another with \
                      --auth-token";
const BUSY: &str = "look into the webhook's log; agents try again by themselves";
const GATEWAY: &str = "what is before the webhook answers, but not the webhook: see that it runs";
const RAW: &str = "check that the --endpoint's path takes any JSON, as /services/collector/raw does and \
                   /services/collector does not";
const LIMIT: &str = "raise the webhook's limit for the size of a request";

/// What an answer means, with what an operator must do (a fix) or what to look at if it lasts (a hint).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Delivered,
    /// The content is not accepted, with a hint.
    Content(&'static str),
    /// A body of this size is not accepted, with a hint.
    TooLarge(&'static str),
    /// These settings are not accepted, with the fix.
    Settings(&'static str),
    /// This token is not accepted: the fix depends on what it looks like.
    Token,
    /// Not accepted for now, with a hint.
    Busy(&'static str),
    /// Either the settings are wrong, or something on the way does not like this body: with the fix for the settings.
    Unclear(&'static str),
    /// The same for 403.
    Forbidden,
}

/// The meaning of a Splunk code, with Splunk's words for it; `has_channel` if the request had one.
pub(super) fn of_code(code: u64, has_channel: bool) -> Option<(&'static str, Meaning)> {
    use Meaning::{Busy, Content, Delivered, Settings, Token};
    let channel = if has_channel { LOST_CHANNEL } else { CHANNEL };
    Some(match code {
        0 => ("Success", Delivered),
        1 => ("Token disabled", Settings(ENABLE)),
        2 => ("Token is required", Token),
        3 => ("Invalid authorization", Token),
        4 => ("Invalid token", Token),
        5 => ("No data", Content(RAW)),
        6 => ("Invalid data format", Content(RAW)),
        7 => ("Incorrect index", Settings(INDEX)),
        8 => ("Internal server error", Busy(BUSY)),
        9 => ("Server is busy", Busy(BUSY)),
        10 => ("Data channel is missing", Settings(channel)),
        11 => ("Invalid data channel", Settings(channel)),
        12 => ("Event field is required", Content(RAW)),
        13 => ("Event field cannot be blank", Content(RAW)),
        14 => ("ACK is disabled", Settings(NO_ACK)),
        15 => ("Error in handling indexed fields", Content(RAW)),
        16 => ("Query string authorization is not enabled", Token),
        17 => ("HEC is healthy", Delivered),
        18..=20 => ("HEC is unhealthy", Busy(BUSY)),
        23 => ("Server is shutting down", Busy(BUSY)),
        _ => return None,
    })
}

/// The meaning of an HTTP status.
pub(super) fn of_status(status: u16) -> Meaning {
    match status {
        200..=299 => Meaning::Delivered,
        // They are not followed: the token must not travel to another host.
        300..=399 => Meaning::Settings(REDIRECT),
        401 => Meaning::Token,
        403 => Meaning::Forbidden,
        404 | 405 | 410 => Meaning::Unclear(PATH),
        413 => Meaning::TooLarge(LIMIT),
        400 | 415 | 422 => Meaning::Content(RAW),
        502 | 504 => Meaning::Busy(GATEWAY),
        501 => Meaning::Busy(PATH),
        408 | 425 | 429 | 500..=599 => Meaning::Busy(BUSY),
        _ => Meaning::Unclear(OTHER_URL),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PAGE: &str = include_str!("../../../packaging/docs/troubleshooting.md");

    /// What the page says that the agent does.
    fn action(meaning: Meaning) -> &'static str {
        match meaning {
            Meaning::Delivered => "delivered",
            Meaning::Content(_) | Meaning::TooLarge(_) => "reject",
            Meaning::Settings(_) | Meaning::Token => "fix",
            Meaning::Busy(_) | Meaning::Unclear(_) | Meaning::Forbidden => "retry",
        }
    }

    #[test]
    fn a_channel_that_was_sent_is_lost_on_the_way() {
        for code in [10, 11] {
            let fix = |has_channel| of_code(code, has_channel).unwrap().1;
            assert_eq!(fix(true), Meaning::Settings(LOST_CHANNEL));
            assert_eq!(fix(false), Meaning::Settings(CHANNEL));
        }
    }

    #[test]
    fn the_page_lists_every_code_of_splunks_and_no_other() {
        let (_, section) = PAGE.split_once("\n## Answers of Splunk\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let mut listed = BTreeMap::new();
        for row in section
            .lines()
            .filter(|line| line.starts_with("| ") && line.ends_with(" |"))
        {
            let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
            let (Some((codes, words)), Some(action)) = (cells[0].split_once(' '), cells.last())
            else {
                panic!("{row}")
            };
            let (first, last) = codes.split_once('–').unwrap_or((codes, codes));
            // The heading has no code.
            if let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse()) {
                listed.extend((first..=last).map(|code| (code, (words, *action))));
            }
        }
        let known = (0..1000).filter_map(|code| {
            let (words, meaning) = of_code(code, false)?;
            Some((code, (words, action(meaning))))
        });
        assert_eq!(listed, known.collect());
    }
}
