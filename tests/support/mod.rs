//! The tests' foundation: a webhook that answers as it is told, certificates for it, the agent as a child process, and
//! waits for conditions instead of sleeps.

mod account;
mod agent;
mod black_hole;
pub(crate) mod certs;
mod cgroup;
mod client;
pub(crate) mod control;
mod files;
mod metrics;
mod mount;
#[allow(dead_code)] // benches measure
mod process;
mod proxy;
mod selftest;
mod wait;
mod webhook;
mod wire;

pub(crate) use account::{
    arrived, assert_arrive, end, end_input, end_without_loss, event, wait_for_end,
};
pub(crate) use agent::{Agent, AgentCommand, BINARY, Balance, Ended, NOBODY, STATE_DIR};
pub(crate) use black_hole::{BlackHole, server_that_says};
pub(crate) use certs::Authority;
pub(crate) use cgroup::Cgroup;
pub(crate) use client::Client;
pub(crate) use files::{Files, append, number};
pub(crate) use metrics::Metrics;
pub(crate) use mount::Mount;
pub(crate) use process::{Process, raise_descriptor_limit};
pub(crate) use proxy::Proxy;
pub(crate) use wait::{PATIENCE, eventually, poll, unchanged_for, wait_until_read, within};
pub(crate) use webhook::{Answer, Request, Webhook, own_loopback};
pub(crate) use wire::{Fault as WireFault, Wire};
