//! What is probably a mistake in the webhook's settings, though it may be intended.

use crate::config::options::WebhookOptions;
use crate::text::token::Token;
use crate::webhook::endpoint::Endpoint;

/// Lengths of a GUID's parts.
const GUID: [usize; 5] = [8, 4, 4, 4, 12];

/// One line for each, with what would be right.
pub fn doubts(webhook: &WebhookOptions) -> Vec<String> {
    let mut doubts = Vec::new();
    let token = match (&webhook.auth_token, &webhook.auth_token_file) {
        (Some(text), _) => Token::parse(text).ok(),
        (None, Some(path)) => Token::from_file(path).ok(),
        (None, None) => None,
    };
    let doubt = token.and_then(|token| match is_guid(token.reveal()) {
        true => Some("is a bare GUID; Splunk takes it only with its scheme: 'Splunk <token>'"),
        false => token.mistake(),
    });
    doubts.extend(doubt.map(|doubt| format!("the token {doubt}")));
    for endpoint in webhook.endpoints() {
        let Ok(endpoint) = Endpoint::parse(endpoint) else {
            continue;
        };
        let uri = endpoint.uri();
        if uri.path() == "/" {
            doubts.push(format!(
                "{endpoint} has no path; Splunk's is /services/collector/raw"
            ));
        }
        for (port, whose) in [(8000, "web interface"), (8089, "management")] {
            if uri.port_u16() == Some(port) {
                doubts.push(format!(
                    "port {port} is that of Splunk's {whose}; its HTTP Event Collector has 8088"
                ));
            }
        }
    }
    doubts
}

fn is_guid(text: &str) -> bool {
    let parts = || text.split('-');
    parts().map(str::len).eq(GUID)
        && parts().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn likely_mistakes_are_named() {
        const GUID: &str = "B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
        for (endpoint, token, expected) in [
            (
                "https://s:8088/services/collector/raw",
                "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0",
                &[][..],
            ),
            (
                "https://s:8088/services/collector/raw",
                GUID,
                &["bare GUID"],
            ),
            ("https://s:8088", "Bearer x", &["no path"]),
            ("https://s/x", " bearer ", &["scheme alone"]),
            ("https://s/x", "Authorization: Splunk 1", &["header's name"]),
            (
                "https://s:8000/x",
                "B5A79AAD-D822-46CC-80D1",
                &["port 8000"],
            ),
            (
                "https://s:8089/",
                GUID,
                &["bare GUID", "no path", "port 8089"],
            ),
            ("not a URL", "none", &[]),
        ] {
            let command = WebhookOptions::augment_args(Command::new(""));
            let matches =
                command.get_matches_from(["", "--endpoint", endpoint, "--auth-token", token]);
            let found = doubts(&WebhookOptions::from_arg_matches(&matches).unwrap());
            assert_eq!(found.len(), expected.len(), "{endpoint}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{endpoint}: {found}");
            }
        }
    }
}
