//! What clients begin with if they speak another protocol than their address does.

use crate::telemetry::counters::Refusal;

/// How a connection that begins with these bytes is counted, if they are of another protocol: TLS, HTTP/2, HTTP, or a
/// balancer's PROXY header of version 1 or 2.
pub(super) fn of(first: &[u8]) -> Option<Refusal> {
    let word = first.iter().position(|byte| !byte.is_ascii_uppercase());
    match first {
        [0x16, ..] => Some(Refusal::TlsHello),
        _ if first.starts_with(b"PRI * HTTP/2") => Some(Refusal::Http2Preface),
        _ if first.starts_with(b"PROXY ") || first.starts_with(b"\r\n\r\n\0") => {
            Some(Refusal::ProxyHeader)
        }
        _ if word.is_some_and(|end| end > 2 && first[end] == b' ') => Some(Refusal::Http),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_recognized() {
        use Refusal::{Http, Http2Preface, ProxyHeader, TlsHello};
        for (first, foreign) in [
            ("\x16\x03\x01\x02\0\x01", Some(TlsHello)),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Http2Preface)),
            (
                "PROXY TCP4 10.0.0.7 10.0.0.1 50000 8088\r\n",
                Some(ProxyHeader),
            ),
            ("PROXY UNKNOWN\r\nPOST / HTTP/1.1\r\n", Some(ProxyHeader)),
            ("\r\n\r\n\0\r\nQUIT\n\x21\x11", Some(ProxyHeader)),
            ("GET / HTTP/1.1\r\n", Some(Http)),
            ("OPTIONS * HTTP/1.0\r\n", Some(Http)),
            ("{\"n\":1}\n", None),
            ("[\"tag\",1,{}]", None),
            ("HELLO", None),
            (" GET /", None),
            ("", None),
        ] {
            assert_eq!(of(first.as_bytes()), foreign, "{first:?}");
        }
        assert_eq!(of(b"\x93\xa3tag"), None);
    }
}
