//! `https:ADDR:PORT`: the same as `http:` inside TLS, with files that are renewed while the agent runs; and the tokens of
//! both, which are too.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::delivery::{feed, numbered};
use crate::source_http::{
    Listener, TokenFile, end_with, events, free_address, free_port_everywhere, gzip, post, request,
    start,
};
use crate::support::{Agent, Authority, Client, PATIENCE, Webhook, end, event, eventually, poll};

/// Files of a listener, and who vouches for them.
struct Files {
    dir: tempfile::TempDir,
    servers: Authority,
    clients: Authority,
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Files {
    fn new() -> Self {
        let files = Files {
            dir: tempfile::tempdir().unwrap(),
            servers: Authority::new("servers"),
            clients: Authority::new("clients"),
        };
        files.renew();
        files.servers.write_pem(files.dir.path(), "ca");
        files.clients.write_pem(files.dir.path(), "clients");
        files
    }

    /// Writes another certificate and its key.
    fn renew(&self) {
        let names = ["localhost", "127.0.0.1"];
        self.servers
            .server(&names)
            .write_pem(self.dir.path(), "server");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn options(&self) -> [String; 2] {
        ["cert=server.pem", "key=server.key"].map(|option| {
            let (option, name) = option.split_once('=').unwrap();
            format!("--listen-{option}={}", self.path(name).display())
        })
    }

    fn start(&self, more: &[&str]) -> Listener {
        let options = self.options();
        let mut options: Vec<_> = options.iter().map(String::as_str).collect();
        options.extend(more);
        Listener::start_as("https", &options)
    }

    /// A client that trusts the authority, and shows a certificate of `by`.
    fn connect(
        &self,
        listener: &Listener,
        by: Option<&Authority>,
        version: &'static SupportedProtocolVersion,
    ) -> std::io::Result<Client<Tls>> {
        let mut roots = RootCertStore::empty();
        roots.roots.clone_from(&self.servers.roots().roots);
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots);
        let config = match by {
            Some(authority) => {
                let identity = authority.client("client");
                config
                    .with_client_auth_cert(identity.chain(), identity.private_key())
                    .unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(listener.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Client::over(StreamOwned::new(connection, socket)))
    }
}

fn exchange(client: &mut Client<Tls>, request: &[u8]) -> std::io::Result<u16> {
    client.send(request)?;
    Ok(client.read_answer()?.0)
}

#[test]
fn events_come_over_tls_as_they_do_without() {
    let files = Files::new();
    let listener = files.start(&[]);
    let mut numbers = 0..;
    for version in [&TLS12, &TLS13] {
        let mut client = files.connect(&listener, None, version).unwrap();
        for _ in 0..20 {
            let number = numbers.next().unwrap();
            assert_eq!(exchange(&mut client, &post(&event(number))).unwrap(), 200);
        }
        // Larger than a record, and compressed.
        let large: String = (0..3000)
            .map(|_| event(numbers.next().unwrap()) + "\n")
            .collect();
        assert_eq!(exchange(&mut client, &post(&large)).unwrap(), 200);
        let number = numbers.next().unwrap();
        let body = gzip(event(number).as_bytes());
        let head = format!(
            "POST /\nContent-Encoding: gzip\nContent-Length: {}",
            body.len()
        );
        assert_eq!(exchange(&mut client, &request(&head, &body)).unwrap(), 200);
        // Whoever is refused still sees the answer, and a clean end.
        client
            .send(&request("DELETE /", &vec![b' '; 1 << 20]))
            .unwrap();
        let words = client.read_to_end().unwrap();
        assert!(words.starts_with("HTTP/1.1 405 "), "{words}");
    }
    let count = numbers.next().unwrap();
    listener.hook.wait_for_events(count);
    listener.end_with(&events(0..count));
}

#[test]
fn a_client_that_does_not_read_its_answers_is_logged_over_tls_too() {
    let files = Files::new();
    let listener = files.start(&["--listen-timeout=1s", "--report-interval=500ms"]);
    for version in [&TLS12, &TLS13] {
        let mut client = files.connect(&listener, None, version).unwrap();
        let requests = request("OPTIONS /", b"").repeat(200);
        client
            .stream
            .get_ref()
            .get_ref()
            .set_write_timeout(Some(PATIENCE))
            .unwrap();
        while client.send(&requests).is_ok() {}
    }
    let deaf = "(the client does not read its answers), last from 127.0.0.1";
    eventually("both are logged", || {
        let log = listener.agent.log();
        (log.matches(deaf).count() == 2).then_some(())
    });
    listener.end();
}

#[test]
fn another_agent_can_be_the_client_and_show_a_certificate() {
    let files = Files::new();
    files
        .clients
        .client("agent")
        .write_pem(files.dir.path(), "agent");
    let client_ca = format!("--listen-client-ca={}", files.path("clients.pem").display());
    let listener = files.start(&[&client_ca]);
    let address = listener.address;
    let ca = format!("--ca-file={}", files.path("ca.pem").display());
    let show = |more: &[String]| {
        let first = Agent::command()
            .args([
                "run",
                "--endpoint",
                &format!("https://{address}/"),
                "--auth-token",
                "none",
            ])
            .args(["--backoff-min", "10ms", "--shutdown-timeout", "100ms", &ca])
            // The certificate has no name for this address of loopback.
            .args(["--tls-server-name", "localhost"])
            .args(more)
            .input("{\"n\":0}\n{\"n\":1}\n")
            .spawn();
        if more.is_empty() {
            first.wait_for_log("delivery failed");
            first.signal(libc::SIGTERM);
        }
        first.wait().balance().delivered
    };
    assert_eq!(show(&[]), 0);
    let ours = ["cert=agent.pem", "key=agent.key"].map(|option| {
        let (option, name) = option.split_once('=').unwrap();
        format!("--client-{option}={}", files.path(name).display())
    });
    assert_eq!(show(&ours), 2);
    let refused = "(no valid client certificate), last from 127.0.0.1";
    listener.agent.wait_for_log(refused);
    end_with(listener.agent, &listener.hook, &events(0..2));
}

#[test]
fn only_clients_of_the_named_authority_are_served() {
    let files = Files::new();
    let client_ca = format!("--listen-client-ca={}", files.path("clients.pem").display());
    let listener = files.start(&[&client_ca]);
    for version in [&TLS12, &TLS13] {
        let other = Authority::new("clients");
        for by in [None, Some(&other)] {
            let refused = files
                .connect(&listener, by, version)
                .and_then(|mut client| exchange(&mut client, &post(&event(9))));
            assert!(refused.is_err(), "{refused:?}");
        }
        let mut client = files
            .connect(&listener, Some(&files.clients), version)
            .unwrap();
        assert_eq!(exchange(&mut client, &post(&event(0))).unwrap(), 200);
    }
    listener.hook.wait_for_events(2);
    let balance = listener.end();
    assert_eq!((balance.received, balance.delivered), (2, 2));
}

/// On a loaded machine, even what is done at once may come late now and then.
const TRIES: usize = 20;

/// Whether it holds before the agent looks by itself, a second after it last did.
fn is_before_the_next_look(condition: impl Fn() -> bool) -> bool {
    poll(Duration::from_millis(700), || condition().then_some(())).is_some()
}

#[test]
fn a_renewed_certificate_and_key_serve_the_next_client() {
    let files = Files::new();
    let listener = files.start(&[]);
    let shown = || {
        let client = files.connect(&listener, None, &TLS13).unwrap();
        client.stream.get_ref().conn.peer_certificates().unwrap()[0].clone()
    };
    let mut kept = files.connect(&listener, None, &TLS13).unwrap();
    let first = shown();
    // Half of what belongs together changes nothing.
    let pem = fs::read(files.path("server.pem")).unwrap();
    fs::write(files.path("server.pem"), "").unwrap();
    listener
        .agent
        .wait_for_log("server.pem: contains no certificate");
    assert_eq!(shown(), first);
    fs::write(files.path("server.pem"), pem).unwrap();
    files.renew();
    eventually("the new certificate is shown", || {
        (shown() != first).then_some(())
    });
    let at_once = || {
        let before = shown();
        files.renew();
        listener.agent.signal(libc::SIGHUP);
        let is_new = || shown() != before;
        is_before_the_next_look(is_new) || {
            eventually("it is read some time", || is_new().then_some(()));
            false
        }
    };
    assert!((0..TRIES).any(|_| at_once()), "SIGHUP has the files read");
    // A connection that was there stays.
    assert_eq!(exchange(&mut kept, &post(&event(0))).unwrap(), 200);
    listener.hook.wait_for_events(1);
    listener.end_with(&events(0..1));
}

#[test]
fn a_client_without_tls_learns_what_is_missing_and_is_logged() {
    let files = Files::new();
    let listener = files.start(&["--listen-timeout=2s"]);
    let words = listener.last_words(&post(&event(0)));
    assert!(
        words.starts_with("HTTP/1.1 400 ") && words.contains("use https"),
        "{words}"
    );
    listener
        .agent
        .wait_for_log("(400 the client does not speak TLS, this address does)");
    // Broken, gone at once, gone in the handshake.
    let mut client = listener.client();
    client.send(b"\x16\x03\x01\x00\x05hello").unwrap();
    client.read_to_end().unwrap();
    listener.agent.wait_for_log("(TLS handshake failed)");
    drop(listener.client());
    // A balancer that sends its PROXY header, and a client that never ends its hello.
    let mut client = listener.client();
    client
        .send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        .unwrap();
    client.read_to_end().unwrap();
    listener
        .agent
        .wait_for_log("(400 the client sends a PROXY header)");
    let mut client = listener.client();
    client.send(b"\x16\x03\x01\x02\0\x01\0\x01").unwrap();
    client.read_to_end().unwrap();
    listener.agent.wait_for_log("(408 request too slow)");
    assert_eq!(listener.end().received, 0);

    let plain = Listener::start(&[]);
    let mut client = plain.client();
    client.send(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
    let mut answer = Vec::new();
    client.stream.read_to_end(&mut answer).unwrap();
    plain
        .agent
        .wait_for_log("(400 the client speaks TLS, this address does not)");
    plain.end();
}

#[test]
fn tokens_rotate_without_a_restart() {
    let file = TokenFile::new("# of May\nSplunk old");
    let listener = Listener::start(&[&file.option()]);
    let status = |value: &str| {
        let head = format!("POST /\nAuthorization: {value}\nConnection: close\nContent-Length: 2");
        let words = listener.last_words(&request(&head, b"{}"));
        words[9..12].parse::<u16>().unwrap()
    };
    let mut kept = listener.client();
    let head = "POST /\nAuthorization: Splunk old\nContent-Length: 2";
    kept.send(&request(head, b"{}")).unwrap();
    assert_eq!(kept.read_answer().unwrap().0, 200);
    assert_eq!((status("splunk old"), status("Splunk new")), (200, 403));
    let write = |text: &str| fs::write(file.path(), text).unwrap();
    write("Splunk old\nSplunk new\nversity:s3cret\n");
    eventually("the new token is accepted", || {
        (status("Splunk new") == 200).then_some(())
    });
    assert_eq!(status("SPLUNK old"), 200);
    // As a URL's user and password come: of a line of its own, and as Splunk takes its tokens.
    assert_eq!(status("Basic dmVyc2l0eTpzM2NyZXQ="), 200);
    assert_eq!(status("Basic eDpuZXc="), 200);
    assert_eq!(status("Basic eDpvdGhlcg=="), 403);
    // What can't be used changes nothing, and is logged once, without it.
    write("Splunk new\ngeh\u{1}eim\n");
    let line = listener
        .agent
        .wait_for_log("keeping the previous tokens of clients");
    assert!(line.contains("line 2 ") && !line.contains("eim"), "{line}");
    assert_eq!(status("Splunk old"), 200);
    let at_once = || {
        write("Splunk new\n");
        listener.agent.signal(libc::SIGHUP);
        is_before_the_next_look(|| status("Splunk old") == 403) || {
            write("Splunk old\nSplunk new\n");
            let is_back = || (status("Splunk old") == 200).then_some(());
            eventually("the old token is accepted again", is_back);
            false
        }
    };
    assert!((0..TRIES).any(|_| at_once()), "SIGHUP has the file read");
    // Also over a connection that was there.
    kept.send(&request(head, b"{}")).unwrap();
    assert_eq!(kept.read_answer().unwrap().0, 403);
    fs::remove_file(file.path()).unwrap();
    listener.agent.wait_for_log("can't be read");
    assert_eq!(status("Splunk new"), 200);
    for secret in ["s3cret", "dmVy", "eDpu"] {
        assert!(
            !listener.agent.log().contains(secret),
            "{}",
            listener.agent.log()
        );
    }
    assert_eq!(listener.end().received, 0);
}

#[test]
fn files_of_a_listener_that_are_not_there_yet_are_waited_for() {
    let (files, hook) = (Files::new(), Webhook::start());
    let later = files.path("mount");
    let option =
        |option: &str, name: &str| format!("--listen-{option}={}", later.join(name).display());
    let [cert, key] = [option("cert", "server.pem"), option("key", "server.key")];
    let (ca, tokens) = (
        option("client-ca", "clients.pem"),
        option("token-file", "tokens"),
    );
    let port = free_port_everywhere();
    let plain = free_address();
    let (https, http) = (format!("https:0.0.0.0:{port}"), format!("http:{plain}"));
    let source = format!("--source=stdin,{https},{http}");
    let mut agent = start(&hook, &[&source, &cert, &key, &ca, &tokens]);
    for source in [&https, &http] {
        let line = agent.wait_for_log(&format!("WARN  {source}: unavailable"));
        assert!(line.contains("can't be read: No such file"), "{line}");
    }
    feed(&mut agent, &numbered(0..1));
    hook.wait_for_events(1);
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "nobody is kept waiting"
    );
    // A file whose content can't be right is logged, and waited for too.
    fs::create_dir(&later).unwrap();
    for name in ["server.pem", "server.key", "clients.pem"] {
        fs::copy(files.path(name), later.join(name)).unwrap();
    }
    fs::write(later.join("tokens"), "").unwrap();
    agent.wait_for_log("tokens: is empty");
    fs::write(later.join("tokens"), "Splunk test\n").unwrap();
    agent.wait_for_log(&format!("{http}: available again"));
    agent.wait_for_log(&format!("{https}: available again"));
    let mut client = Client::connect(plain);
    client.send(&post(&event(1))).unwrap();
    assert_eq!(client.read_answer().unwrap().0, 401, "no token");
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait().done().received, 1);
}

#[test]
fn what_a_listener_needs_is_checked_at_start() {
    let files = Files::new();
    let [cert, key] = files.options();
    let client_ca = format!("--listen-client-ca={}", files.path("clients.pem").display());
    let refusal = |options: &[&str]| {
        let ended = Agent::command()
            .args(["run", "--dry-run"])
            .args(options)
            .run();
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        ended.log
    };
    let log = refusal(&["--source=https:127.0.0.1:0"]);
    assert!(
        log.contains("needs a certificate; fix: give --listen-cert"),
        "{log}"
    );
    let log = refusal(&["--source=https:127.0.0.1:0", &key]);
    assert!(
        log.contains("--listen-key: is of no use without --listen-cert; fix: "),
        "{log}"
    );
    // TLS alone does not tell who the client is.
    let log = refusal(&["--source=https:0.0.0.0:0", &cert, &key]);
    assert!(
        log.contains("others on the network could post forged events"),
        "{log}"
    );
    let agent = Agent::command()
        .args([
            "run",
            "--dry-run",
            "--source=https:0.0.0.0:0",
            "--source=stdin",
            &cert,
            &key,
            &client_ca,
        ])
        .spawn();
    agent.wait_for_log("started: ");
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait().code, Some(0));

    // Without TLS a token does, with a warning.
    let (hook, token) = (Webhook::start(), TokenFile::new("Splunk test"));
    let port = free_port_everywhere();
    let source = format!("--source=http:0.0.0.0:{port}");
    let agent = start(&hook, &[&source, &token.option()]);
    let warning = agent.wait_for_log("clients send the token and the events unencrypted");
    assert!(warning.contains("WARN"), "{warning}");
    let mut client = Client::connect(([127, 0, 0, 1], port).into());
    let head = "POST /\nAuthorization: Splunk test\nContent-Length: 7";
    client.send(&request(head, event(1).as_bytes())).unwrap();
    assert_eq!(client.read_answer().unwrap().0, 200);
    eventually("it is delivered", || {
        (hook.event_count() == 1).then_some(())
    });
    assert_eq!(end(agent, &hook).delivered, 1);
}
