//! Clients that mean harm, or look like it: nobody else is kept waiting, memory stays within its bound, and each refusal
//! shows in the log and in the figures.

mod floods;
mod memory;
mod refusals;
mod unread;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::{Client, Metrics};

const HALF_A_HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nX: ";

/// Requests of a source that were refused, by reason.
pub(crate) fn refused(metrics: &Metrics, source: &str) -> Vec<(String, u64)> {
    let Some(family) = metrics.0.get("s3_audit_webhook_requests_refused_total") else {
        return Vec::new();
    };
    let of_source = family.samples.iter().filter_map(|(labels, requests)| {
        let get = |name: &str| {
            labels
                .iter()
                .find(|(label, _)| label == name)
                .unwrap()
                .1
                .clone()
        };
        (get("source") == source).then(|| (get("reason"), *requests))
    });
    of_source.filter(|(_, requests)| *requests > 0).collect()
}

fn connect_from(ip: Ipv4Addr, address: SocketAddr) -> Client<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    Client::over(socket.into())
}
