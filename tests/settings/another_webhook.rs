//! Another endpoint, token, authority or format: in force with the next request, and nothing goes to both.

use std::fs;

use crate::delivery::{feed, numbered, taken};
use crate::source_http::{ask, free_address, request, success};
use crate::support::{
    Answer, Authority, BlackHole, Client, Request, Webhook, end_input, eventually,
};

use super::{OTHER, Place, TOKEN, webhook};

#[test]
fn another_endpoint_or_token_is_in_force_with_the_next_request() {
    let (first, second) = (Webhook::start(), Webhook::start());
    let place = Place::new();
    place.write(&webhook(&first.url(), TOKEN));
    let mut agent = place.start(&[]);
    let events = numbered(0..30);
    feed(&mut agent, &events[..10]);
    first.wait_for_events(10);

    place.write(&webhook(&first.url(), OTHER));
    agent.wait_for_log("changed (");
    feed(&mut agent, &events[10..20]);
    first.wait_for_events(20);
    place.write(&webhook(&second.url(), OTHER));
    agent.wait_for_nth_log(2, "changed (");
    feed(&mut agent, &events[20..]);
    second.wait_for_events(10);

    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.dropped), (30, 0), "{log}");
    assert_eq!(
        (taken(&first), taken(&second)),
        (events[..20].to_vec(), events[20..].to_vec())
    );
    let tokens = |hook: &Webhook, token: &str| {
        let requests = hook.requests();
        let with = requests
            .iter()
            .filter(|request| request.header("Authorization") == Some(token));
        with.count()
    };
    assert!(tokens(&first, TOKEN) > 0 && tokens(&first, OTHER) > 0);
    assert_eq!(
        (tokens(&second, TOKEN), tokens(&second, OTHER)),
        (0, second.request_count())
    );
    // What has changed, and where, but not to what secret.
    let place = place.file();
    assert!(
        log.contains(&format!(
            "{}:2: S3_AUDIT_WEBHOOK_AUTH_TOKEN",
            place.display()
        )),
        "{log}"
    );
    assert!(!log.contains("00000000-1111"), "{log}");
}

#[test]
fn a_request_in_flight_is_finished_and_not_sent_to_the_next_webhook_too() {
    let (first, second) = (Webhook::start(), Webhook::start());
    let place = Place::new();
    place.write(&webhook(&first.url(), TOKEN));
    let mut agent = place.start(&[]);
    let events = numbered(0..20);
    first.hold();
    feed(&mut agent, &events[..10]);
    let in_flight = first.wait_for_requests(1)[0].body.len();

    place.write(&webhook(&second.url(), TOKEN));
    agent.wait_for_log("changed (");
    feed(&mut agent, &events[10..]);
    first.release();
    let both = |hooks: [&Webhook; 2]| hooks.map(taken).concat();
    eventually("all arrive", || {
        (both([&first, &second]).len() >= 20).then_some(())
    });
    let (balance, log) = end_input(agent);
    assert_eq!(both([&first, &second]), events, "{log}");
    assert_eq!((balance.delivered, first.request_count()), (20, 1));
    assert_eq!(first.requests()[0].body.len(), in_flight);
}

#[test]
fn what_the_last_webhook_rejects_goes_to_the_next() {
    let (first, second) = (Webhook::start(), Webhook::start());
    first.always(Answer::status(400));
    let place = Place::new();
    place.write(&webhook(&first.url(), TOKEN));
    let mut agent = place.start(&[]);
    let events = numbered(0..1);
    first.hold();
    feed(&mut agent, &events);
    first.wait_for_requests(1);
    place.write(&webhook(&second.url(), TOKEN));
    agent.wait_for_log("changed (");
    first.release();
    second.wait_for_events(1);
    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.rejected), (1, 0), "{log}");
}

#[test]
fn a_webhook_that_is_away_does_not_delay_the_change_to_another() {
    let hook = Webhook::start();
    for away in ["http://127.0.0.1:9/raw", &BlackHole::start().url()] {
        let place = Place::new();
        place.write(&webhook(away, TOKEN));
        // The wait for the next attempt would outlast the test.
        let mut agent = place.start(&[
            "--backoff-min=1h",
            "--backoff-max=1h",
            "--connect-timeout=1s",
        ]);
        let events = numbered(0..10);
        let before = taken(&hook).len();
        feed(&mut agent, &events);
        agent.wait_for_log("delivery failed");
        place.write(&webhook(&hook.url(), TOKEN));
        hook.wait_for_events(before + 10);
        let (balance, log) = end_input(agent);
        assert_eq!(taken(&hook)[before..], events);
        assert_eq!((balance.delivered, balance.dropped), (10, 0));
        // Whoever gave another one reads that it helped.
        assert!(log.contains("delivery restored after "), "{log}");
    }
}

/// Sources remove envelopes unless the format needs them, so what they do follows the format.
#[test]
fn with_another_format_envelopes_are_kept_or_removed() {
    let hook = Webhook::start();
    let place = Place::new();
    let plain = webhook(&hook.url(), TOKEN);
    let in_envelopes = format!(
        "{}S3_AUDIT_WEBHOOK_FORMAT=hec\nS3_AUDIT_WEBHOOK_HEC_HOST=own\n",
        webhook(&hook.url().replace("/raw", "/event"), TOKEN)
    );
    let envelope = r#"{"event":{"n":1},"host":"its"}"#;
    let request = request(
        &format!(
            "POST /services/collector/event\nContent-Length: {}",
            envelope.len()
        ),
        envelope.as_bytes(),
    );
    let run = |first: &str, then: &str, options: &[&str]| {
        let address = free_address();
        let source = format!("http:{address}");
        place.write(first);
        let agent = place.start(&[&["--source", &source], options].concat());
        let before = hook.request_count();
        let mut client = Client::connect(address);
        ask(&mut client, &request, &success(""));
        hook.wait_for_requests(before + 1);
        place.write(then);
        agent.wait_for_log("settings changed");
        ask(&mut client, &request, &success(""));
        let requests = hook.wait_for_requests(before + 2);
        agent.signal(libc::SIGTERM);
        agent.wait();
        let text = |request: &Request| request.text().trim().to_owned();
        requests[before..].iter().map(text).collect::<Vec<_>>()
    };
    let wrapped = r#"{"event":{"n":1},"host":"own"}"#;
    assert_eq!(run(&plain, &in_envelopes, &[]), [r#"{"n":1}"#, envelope]);
    assert_eq!(run(&in_envelopes, &plain, &[]), [envelope, r#"{"n":1}"#]);
    // What was asked for at the start holds.
    let unwrap = ["--hec-input=unwrap"];
    assert_eq!(run(&in_envelopes, &plain, &unwrap), [wrapped, r#"{"n":1}"#]);
}

#[test]
fn a_new_token_in_its_file_and_a_new_ca_in_its_file_are_taken_over() {
    let place = Place::new();
    let dir = place.0.path();
    let authorities = ["old", "new"].map(Authority::new);
    let hooks = authorities.each_ref().map(|authority| {
        Webhook::builder()
            .tls(authority.server(&["127.0.0.1"]).server_config())
            .start()
    });
    let token = dir.join("token");
    fs::write(&token, TOKEN).unwrap();
    let ca = authorities[0].write_pem(dir, "ca");
    place.write(&format!(
        "S3_AUDIT_WEBHOOK_ENDPOINT={}\nS3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE={}\nS3_AUDIT_WEBHOOK_CA_FILE={}\n",
        hooks[0].url(),
        token.display(),
        ca.display()
    ));
    // Its first attempt may meet the old webhook as it goes.
    let mut agent = place.start(&["--report-interval=100ms"]);
    let events = numbered(0..3);
    feed(&mut agent, &events[..1]);
    hooks[0].wait_for_events(1);

    fs::write(&token, OTHER).unwrap();
    agent.wait_for_log(&format!("changed ({})", token.display()));
    feed(&mut agent, &events[1..2]);
    hooks[0].wait_for_events(2);
    assert_eq!(hooks[0].requests()[1].header("Authorization"), Some(OTHER));

    // The same place, with a certificate of a CA that is trusted only when its file has changed.
    let address = hooks[0].address();
    hooks[0].stop();
    let tls = authorities[1].server(&["127.0.0.1"]).server_config();
    let renewed = Webhook::builder().address(address).tls(tls).start();
    feed(&mut agent, &events[2..]);
    agent.wait_for_log("certificate of an unknown CA");
    authorities[1].write_pem(dir, "ca");
    renewed.wait_for_events(1);
    let (balance, log) = end_input(agent);
    assert_eq!((balance.delivered, balance.dropped), (3, 0), "{log}");
    assert!(
        log.contains(&format!("changed ({})", ca.display())),
        "{log}"
    );
}
