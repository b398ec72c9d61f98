//! Who may post: clients with the token, and where the agent listens without one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::support::{Agent, Client, Webhook, arrived, event};

use super::{
    CLOSE, Listener, TokenFile, answer, ask, end_with, events, free_address, free_port_everywhere,
    post, request, start, success,
};

#[test]
fn only_clients_with_the_token_are_heard_where_one_is_set() {
    const TOKEN: &str = "Splunk 0D3C8A1E-77B4-4B69-8D3F-27C1A4D6E5F0";
    const OTHER: &str = "Splunk 9F1B2C3D-0000-4B69-8D3F-27C1A4D6E5F0";
    let missing = answer(
        "401 Unauthorized",
        CLOSE,
        r#"{"text":"Token is required","code":2}"#,
    );
    let wrong = answer(
        "403 Forbidden",
        CLOSE,
        r#"{"text":"Invalid token","code":4}"#,
    );
    let file = TokenFile::new(&format!("{TOKEN}\n"));
    let (hook, address) = (Webhook::start(), free_address());
    let agent = Agent::command()
        .args([
            "run",
            "--endpoint",
            &hook.url(),
            "--auth-token",
            "Splunk test",
        ])
        .args([&format!("--source=http:{address}"), &file.option()])
        .env("S3_AUDIT_WEBHOOK_LOG", "debug")
        .spawn();
    agent.wait_for_log("started: ");
    let listener = Listener {
        hook,
        agent,
        address,
    };

    let ask_with = |target: &str, header: &str| {
        let head = format!("{target}\n{header}\nContent-Length: 7");
        listener.last_words(&request(&head, event(0).as_bytes()))
    };
    for target in ["POST /", "PUT /", "GET /", "DELETE /"] {
        assert_eq!(ask_with(target, "X-Authorization: x"), missing, "{target}");
    }
    let (missing_head, _) = missing.split_once("{").unwrap();
    assert_eq!(ask_with("HEAD /", "X-Authorization: x"), missing_head);
    for given in [
        OTHER,
        "",
        "Splunk",
        &TOKEN[..TOKEN.len() - 1],
        &format!("{TOKEN}0"),
        &TOKEN.to_lowercase(),
        &TOKEN.replace("Splunk ", ""),
        &TOKEN.replace("Splunk", "Bearer"),
        &format!("{TOKEN}, {TOKEN}"),
    ] {
        let words = ask_with("POST /", &format!("Authorization: {given}"));
        assert_eq!(words, wrong, "{given:?}");
    }
    let head = format!("POST /\nauthorization: {TOKEN}\nContent-Length: 7");
    let mut client = listener.client();
    for number in 1..=2 {
        ask(
            &mut client,
            &request(&head, event(number).as_bytes()),
            &success(""),
        );
    }
    // Who has shown it once must show it again.
    ask(&mut client, &post(&event(3)), &missing);

    listener.hook.wait_for_events(2);
    assert_eq!(arrived(&listener.hook), events(1..=2));
    listener.agent.signal(libc::SIGTERM);
    let ended = listener.agent.wait();
    for secret in ["0D3C8A1E", "9F1B2C3D"] {
        assert!(!ended.log.contains(secret), "{}", ended.log);
    }
    assert_eq!(ended.balance().received, 2);
}

#[test]
fn listening_for_all_the_network_without_a_token_is_refused() {
    let run = |options: &[&str]| {
        Agent::command()
            .args(["run", "--dry-run"])
            .args(options)
            .run()
    };
    for source in ["http:0.0.0.0:0", "http:[::]:0", "http:192.0.2.7:8088"] {
        let ended = run(&["--source", source]);
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        let line = format!("--source: {source}: others on the network could post forged events");
        assert!(ended.log.contains(&line), "{}", ended.log);
        assert!(ended.log.contains("--listen-token-file"), "{}", ended.log);
    }
    // A token that cannot be had is none.
    for content in ["", "\n", "\u{fe}geheim"] {
        let file = TokenFile::new(content);
        let ended = run(&["--source=http:0.0.0.0:0", &file.option()]);
        assert_eq!(ended.code, Some(1), "{}", ended.log);
        assert!(ended.log.contains("--listen-token-file: "), "{}", ended.log);
        assert!(!ended.log.contains("geheim"), "{}", ended.log);
    }

    let (hook, file) = (Webhook::start(), TokenFile::new("Splunk test"));
    let port = free_port_everywhere();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let source = format!("--source=http:0.0.0.0:{port}");
    let agent = start(&hook, &[&source, &file.option()]);
    let head = "POST /\nAuthorization: Splunk test\nContent-Length: 7";
    let mut client = Client::connect(address);
    ask(
        &mut client,
        &request(head, event(1).as_bytes()),
        &success(""),
    );
    hook.wait_for_events(1);
    end_with(agent, &hook, &events([1]));
}

#[test]
fn an_address_that_another_process_has_is_an_error_at_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("http:{}", taken.local_addr().unwrap());
    let ended = Agent::command()
        .args(["run", "--dry-run", "--source", &source])
        .run();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let line = format!("--source: {source}: another process listens there");
    assert!(ended.log.contains(&line), "{}", ended.log);

    // The host may get an address later.
    let token = TokenFile::new("Splunk test");
    let agent = Agent::command()
        .args(["run", "--dry-run", "--source", "http:192.0.2.7:0"])
        .arg(token.option())
        .spawn();
    agent.wait_for_log("http:192.0.2.7:0: unavailable: can't listen");
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait().code, Some(0));
}
