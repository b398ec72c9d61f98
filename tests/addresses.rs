//! A webhook's name with several addresses.

use std::fs;
use std::io::Write as _;

use super::delivery::{start_seeing, taken};
use super::support::{Webhook, eventually};

#[test]
fn the_address_that_answers_is_found_among_those_of_ipv6_and_ipv4() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    let hook = Webhook::start();
    let address = hook.address();
    // Nobody listens on the first ones: loopback's, and those kept for documentation.
    let dead = ["::1", "2001:db8::1", "127.78.0.4"];
    let lines = dead
        .map(str::to_owned)
        .into_iter()
        .chain([address.ip().to_string()]);
    let lines: String = lines.map(|ip| format!("{ip} hec.example\n")).collect();
    fs::write(&hosts, lines).unwrap();
    let endpoint = format!("http://hec.example:{}/", address.port());
    let Some(mut agent) = start_seeing(&hosts, "/etc/hosts", &endpoint) else {
        return;
    };
    let mut input = agent.0.stdin.take().unwrap();
    writeln!(input, "{{}}").unwrap();
    hook.wait_for_events(1);
    drop(input);
    let status = eventually("the agent ends", || agent.0.try_wait().unwrap());
    assert!(status.success());
    assert_eq!(taken(&hook), ["{}"]);
}
