//! What clients begin with if they speak another protocol than their address does.

use crate::telemetry::counters::Refusal;

/// Another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// The hello of TLS.
    Tls,
    /// The preface of HTTP/2.
    Http2,
    /// A balancer's PROXY header, of version 1 or 2.
    ProxyHeader,
    /// The line of an HTTP request.
    Http,
}

impl Foreign {
    /// Which other protocol a connection speaks that begins with these bytes, as far as they show it.
    pub fn of(first: &[u8]) -> Option<Foreign> {
        let word = first.iter().position(|byte| !byte.is_ascii_uppercase());
        match first {
            [0x16, ..] => Some(Foreign::Tls),
            _ if first.starts_with(b"PRI * HTTP/2") => Some(Foreign::Http2),
            _ if first.starts_with(b"PROXY ") || first.starts_with(b"\r\n\r\n\0") => {
                Some(Foreign::ProxyHeader)
            }
            _ if word.is_some_and(|end| end > 2 && first[end] == b' ') => Some(Foreign::Http),
            _ => None,
        }
    }

    /// What it is counted as.
    pub fn refusal(self) -> Refusal {
        match self {
            Foreign::Tls => Refusal::TlsHello,
            Foreign::Http2 => Refusal::Http2Preface,
            Foreign::ProxyHeader => Refusal::ProxyHeader,
            Foreign::Http => Refusal::Http,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_recognized() {
        for (first, foreign) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Some(Foreign::Tls)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Foreign::Http2)),
            (
                b"PROXY TCP4 10.0.0.7 10.0.0.1 50000 8088\r\nPOST / HTTP/1.1\r\n",
                Some(Foreign::ProxyHeader),
            ),
            (
                b"PROXY UNKNOWN\r\nPOST / HTTP/1.1\r\n",
                Some(Foreign::ProxyHeader),
            ),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Some(Foreign::ProxyHeader)),
            (b"GET / HTTP/1.1\r\n", Some(Foreign::Http)),
            (b"OPTIONS * HTTP/1.0\r\n", Some(Foreign::Http)),
            (b"{\"n\":1}\n", None),
            (b"[\"tag\",1,{}]", None),
            (b"\x93\xa3tag", None),
            (b"HELLO", None),
            (b" GET /", None),
            (b"", None),
        ] {
            assert_eq!(Foreign::of(first), foreign, "{first:?}");
        }
    }
}
