//! A stand-in for Splunk's HTTP Event Collector, to try the agent with: says what it receives and keeps nothing.
//!
//!     cargo run --example receiver [ADDRESS]
//!
//! The first line that it prints is its URL. The end of its stdin (Ctrl-D) ends it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

// The tests' webhook can do far more than this program asks of it.
#[allow(dead_code, unused_imports)]
#[path = "../support/webhook/mod.rs"]
mod webhook;

use webhook::{Answer, Request, Webhook};

/// What was accepted so far.
#[derive(Default)]
struct Totals {
    events: AtomicUsize,
    requests: AtomicUsize,
}

fn main() -> ExitCode {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let Ok(address) = address.parse::<SocketAddr>() else {
        eprintln!("not an address with a port, such as 127.0.0.1:8088: {address}");
        return ExitCode::from(2);
    };
    let hook = Webhook::builder().address(address).forgetful().start();
    say(&hook.url());

    let totals = Arc::new(Totals::default());
    let counted = Arc::clone(&totals);
    hook.answer_by(move |request| answer(request, &counted));

    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    hook.stop();
    let (events, requests) = (
        totals.events.load(Ordering::Relaxed),
        totals.requests.load(Ordering::Relaxed),
    );
    say(&format!("total {events} events in {requests} requests"));
    ExitCode::SUCCESS
}

fn answer(request: &Request, totals: &Totals) -> Answer {
    let token = request
        .header("Authorization")
        .and_then(|value| value.strip_prefix("Splunk "));
    if token.is_none_or(str::is_empty) {
        say("refused a request without `Authorization: Splunk TOKEN`");
        return Answer::hec(401, "Invalid authorization", 3);
    }
    let events = request.event_count();
    totals.events.fetch_add(events, Ordering::Relaxed);
    totals.requests.fetch_add(1, Ordering::Relaxed);
    say(&format!(
        "received {events} events ({} bytes)",
        request.body.len()
    ));
    Answer::ok()
}

/// Prints a line. Nobody may be reading any more, which is no reason to panic, as `println!` would.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
