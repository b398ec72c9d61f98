//! `--status-listen`: `/healthz` for probes and `/metrics` for Prometheus. Its figures are those of the log's last line,
//! and of the webhook.

mod figures;
mod health;
mod serving;

use std::net::SocketAddr;

use crate::source_http::{free_address, start};
use crate::support::{Agent, Client, Metrics, Webhook, eventually};

/// Sends a request and gives the answer, head and body.
fn exchange(address: SocketAddr, request: &str) -> (String, String) {
    let mut client = Client::connect(address);
    client.send(request.as_bytes()).unwrap();
    let answer = client.read_to_end().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The status and the body of a page.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (head, body) = exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{head}");
    (head["HTTP/1.1 ".len()..][..3].parse().unwrap(), body)
}

/// An agent that tells its status, and has an `http:` source.
struct Told {
    hook: Webhook,
    agent: Agent,
    status: SocketAddr,
    source: SocketAddr,
}

impl Told {
    fn start(options: &[&str]) -> Self {
        let (hook, status, source) = (Webhook::start(), free_address(), free_address());
        let places = [
            format!("--status-listen={status}"),
            format!("--source=http:{source}"),
        ];
        let agent = start(
            &hook,
            &[&[places[0].as_str(), &places[1]], options].concat(),
        );
        Told {
            hook,
            agent,
            status,
            source,
        }
    }

    #[track_caller]
    fn post(&self, body: &str) -> u16 {
        Client::connect(self.source).post(body).unwrap().0
    }

    #[track_caller]
    fn metrics(&self) -> Metrics {
        Metrics::parse(&self.page())
    }

    fn page(&self) -> String {
        let (status, page) = get(self.status, "/metrics");
        assert_eq!(status, 200);
        page
    }

    /// Waits for this health.
    #[track_caller]
    fn wait_for_health(&self, wanted: u16) -> String {
        eventually("another health", || {
            let (status, text) = get(self.status, "/healthz");
            (status == wanted).then_some(text)
        })
    }
}
