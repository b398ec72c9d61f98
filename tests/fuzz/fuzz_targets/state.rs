//! Arbitrary files in the state directory, which any host may have written: `show` tells of them without a panic, and with
//! no character that would do something to a terminal.
//!
//! Input: how long ago the file was written (eight bytes, in seconds, from the future on), and its text.

#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::cli::agent_text::block;
use s3_audit_webhook::cli::terminal::Paint;
use s3_audit_webhook::state::agents::Agent;

fuzz_target!(|data: &[u8]| {
    let Some((seconds, text)) = data.split_first_chunk() else {
        return;
    };
    let Ok(state) = serde_json::from_slice(text) else {
        return;
    };
    let heard = Duration::from_secs(u64::from_be_bytes(*seconds) >> 2);
    let agent = Agent {
        name: "host".into(),
        heard: UNIX_EPOCH + heard,
        state,
    };
    // As `show` reads it: none of another kind gets so far.
    if !agent.state.is_object() || !agent.state["host"].is_string() {
        return;
    }
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let shown = block(&agent, now, Paint(false));
    assert!(
        shown.chars().all(|c| c == '\n' || !c.is_control()),
        "{shown:?}"
    );
    let json = agent.json(now);
    assert_eq!(json["status"], agent.status(now).label());
    assert!(json["heard_seconds_ago"].is_u64());
});
