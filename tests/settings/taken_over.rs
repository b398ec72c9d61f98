//! When the file is read, and when what it says is taken over.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use crate::delivery::{feed, finish, lines_of, numbered};
use crate::support::{Authority, Webhook, end_input};

use super::{OTHER, Place, TOKEN, disabled, webhook};

#[test]
fn a_file_that_is_being_written_is_not_taken_before_it_stays_the_same() {
    let (first, second) = (Webhook::start(), Webhook::start());
    let place = Place::new();
    place.write(&webhook(&first.url(), TOKEN));
    let mut agent = place.start(&[]);

    // In place, from nothing, a few bytes at a time, over several looks.
    let new = webhook(&second.url(), OTHER);
    let mut file = fs::File::create(place.file()).unwrap();
    for piece in new.as_bytes().chunks(3) {
        file.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(60));
    }
    agent.wait_for_log("changed (");
    let events = numbered(0..5);
    feed(&mut agent, &events);
    second.wait_for_events(5);
    let (_, log) = finish(agent, &second, &events);
    assert_eq!(lines_of("ERROR", &log), [""; 0]);
    assert_eq!(log.matches("changed (").count(), 1, "{log}");
    assert_eq!(first.request_count(), 0);
}

#[test]
fn sighup_asks_to_look_at_once_and_gets_an_answer() {
    let hook = Webhook::start();
    let place = Place::new();
    place.write(&webhook(&hook.url(), TOKEN));
    let agent = place.start(&[]);
    agent.signal(libc::SIGHUP);
    agent.wait_for_log("settings read again: nothing changed");
    place.write(&disabled(&webhook(&hook.url(), TOKEN)));
    agent.signal(libc::SIGHUP);
    agent.wait_for_log("webhook disabled by");
    let (balance, _) = end_input(agent);
    assert_eq!(balance.received, 0);
}

/// A mounted ConfigMap or Secret: the file is a link through a link to a directory that is swapped.
#[test]
fn kubernetes_swap_of_symbolic_links_is_followed() {
    let (first, second) = (Webhook::start(), Webhook::start());
    let place = Place::new();
    let dir = place.0.path();
    for (version, hook) in [("..1", &first), ("..2", &second)] {
        fs::create_dir(dir.join(version)).unwrap();
        fs::write(
            dir.join(version).join("webhook.env"),
            webhook(&hook.url(), TOKEN),
        )
        .unwrap();
    }
    symlink("..1", dir.join("..data")).unwrap();
    symlink("..data/webhook.env", place.file()).unwrap();
    let mut agent = place.start(&[]);
    symlink("..2", dir.join("..new")).unwrap();
    fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
    fs::remove_dir_all(dir.join("..1")).unwrap();
    agent.wait_for_log("changed (");
    let events = numbered(0..5);
    feed(&mut agent, &events);
    second.wait_for_events(5);
    finish(agent, &second, &events);
}

/// A ConfigMap and a Secret are mounted by themselves, in any order.
#[test]
fn new_settings_wait_for_the_file_that_they_name() {
    let (first, second) = (Webhook::start(), Webhook::start());
    let place = Place::new();
    place.write(&webhook(&first.url(), TOKEN));
    let mut agent = place.start(&[]);
    let token = place.0.path().join("token");
    place.write(&format!(
        "S3_AUDIT_WEBHOOK_ENDPOINT={}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE={}\n",
        second.url(),
        token.display()
    ));
    agent.wait_for_log("token can't be read");
    fs::write(&token, OTHER).unwrap();
    agent.wait_for_log("the settings are valid again");
    let events = numbered(0..5);
    feed(&mut agent, &events);
    second.wait_for_events(5);
    assert_eq!(second.requests()[0].header("Authorization"), Some(OTHER));
    finish(agent, &second, &events);
}

/// No file that the agent follows says when they can be used.
#[test]
fn settings_that_can_not_be_used_yet_are_tried_again() {
    let authority = Authority::new("host");
    let tls = authority.server(&["127.0.0.1"]).server_config();
    let (plain, secure) = (Webhook::start(), Webhook::builder().tls(tls).start());
    let place = Place::new();
    place.write(&webhook(&plain.url(), TOKEN));
    let roots = place.0.path().join("host.pem");
    let mut agent = place.command(&[]).env("SSL_CERT_FILE", roots).spawn();
    agent.wait_for_log("started:");
    place.write(&webhook(&secure.url(), TOKEN));
    agent.wait_for_log("no trusted roots there");
    authority.write_pem(place.0.path(), "host");
    agent.wait_for_log("the settings are valid again");
    let events = numbered(0..5);
    feed(&mut agent, &events);
    secure.wait_for_events(5);
    finish(agent, &secure, &events);
}

/// What must not leave the host does not wait for a token.
#[test]
fn rules_are_in_force_while_the_token_is_missing_and_sighup_is_answered() {
    let hook = Webhook::start();
    let place = Place::new();
    let token = place.0.path().join("token");
    let settings = format!(
        "S3_AUDIT_WEBHOOK_ENDPOINT={}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE={}\n",
        hook.url(),
        token.display()
    );
    place.write(&settings);
    let mut agent = place.start(&[]);
    agent.signal(libc::SIGHUP);
    agent.wait_for_nth_log(2, "waiting for it");
    place.write(&format!(
        "{settings}S3_AUDIT_WEBHOOK_REDACT_FIELD=a\nS3_AUDIT_WEBHOOK_BATCH_EVENTS=7\n"
    ));
    agent.wait_for_log("; rules: redact a");
    agent.wait_for_log("S3_AUDIT_WEBHOOK_BATCH_EVENTS has changed; restart the agent");
    feed(&mut agent, &["{\"a\":\"1\",\"b\":\"1\"}".into()]);
    fs::write(&token, TOKEN).unwrap();
    hook.wait_for_events(1);

    fs::remove_file(&token).unwrap();
    agent.wait_for_log("keeping the previous webhook");
    agent.signal(libc::SIGHUP);
    agent.wait_for_nth_log(2, "keeping the previous webhook");
    place.write(&format!("{settings}S3_AUDIT_WEBHOOK_REDACT_FIELD=b\n"));
    agent.wait_for_log("; rules: redact b");
    agent.wait_for_nth_log(3, "keeping the previous webhook");
    feed(&mut agent, &["{\"a\":\"2\",\"b\":\"2\"}".into()]);
    hook.wait_for_events(2);
    fs::write(&token, TOKEN).unwrap();
    agent.wait_for_log("the settings are valid again");
    let masked = ["{\"a\":\"*\",\"b\":\"1\"}", "{\"a\":\"2\",\"b\":\"*\"}"];
    finish(agent, &hook, &masked.map(Into::into));
}
