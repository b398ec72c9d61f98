//! Opens the trail.

use ring::digest;

use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::delivery::target::Numbering;
use crate::sys::{host, random};
use crate::telemetry::message::Message;
use crate::telemetry::watchdog::{AT_START, Watchdog};
use crate::text::hex;
use crate::trail::Saved;
use crate::trail::running::Opened;
use crate::trail::store::Store;

/// Options left out of the digest: whoever knows the digest of a secret can test guesses.
const SECRET: [Opt; 4] = [Opt::AuthToken, Opt::Header, Opt::Proxy, Opt::Endpoint];

/// Opens the trail, if one is configured, and returns what the operator should know about it.
pub(super) fn open(
    options: &RunOptions,
    provenance: &Provenance,
    watchdog: &Watchdog,
) -> (Option<Opened>, Vec<Message>) {
    if !options.trail.trail {
        return (None, Vec::new());
    }
    let (host, dir) = (host::name(), &options.spool.dir.state.state_dir);
    let (mut notices, mut kept) = (Vec::new(), None);
    if !options.dry_run {
        match watchdog.dir(AT_START, || Store::open(dir, &host)) {
            Ok(mut found) => {
                notices.append(&mut found.0.notices);
                kept = Some(found);
            }
            Err(error) => notices.push(Message::TrailUnkept {
                error: error.to_string(),
            }),
        }
    }
    let (store, saved, was) = match kept {
        Some((store, saved, was)) => (Some(store), saved, was),
        None => {
            let mut saved = Saved::of_new_stream();
            let was = saved.begin();
            (None, saved, was)
        }
    };
    notices.push(Message::TrailStarted {
        stream: saved.stream.clone(),
        first: saved.next,
    });
    let opened = Opened {
        saved: (saved, was),
        store,
        host,
        settings: digest_of(provenance),
        interval: options.trail.trail_interval,
    };
    (Some(opened), notices)
}

/// How a trail numbers events.
pub(super) fn numbering(trail: &Opened) -> Numbering {
    let (saved, _) = &trail.saved;
    Numbering {
        stream: saved.stream.as_str().into(),
        base: saved.next,
        start: random::of_this_start() as u32,
    }
}

/// The SHA-256 of all settings except secret ones.
fn digest_of(provenance: &Provenance) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for option in Opt::ALL.iter().filter(|option| !SECRET.contains(option)) {
        for value in provenance.raw(*option) {
            context.update(option.id().as_bytes());
            context.update(b"=");
            context.update(value.as_encoded_bytes());
            context.update(b"\n");
        }
    }
    hex::encode(context.finish().as_ref())
}
