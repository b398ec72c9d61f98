//! TLS of the webhook, and the certificates that are made for it.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::support::certs::{Identity, provider};
use crate::support::{Answer, Authority, Client, Webhook};

/// A TLS client for `127.0.0.1` that trusts `authority`.
fn tls_client(
    hook: &Webhook,
    authority: &Authority,
    identity: Option<&Identity>,
) -> Client<TlsStream> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots());
    let config = match identity {
        Some(client) => config
            .with_client_auth_cert(client.chain(), client.private_key())
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = Client::connect(hook.address()).stream.into_inner();
    Client::over(StreamOwned::new(session, socket))
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

#[test]
fn webhook_speaks_tls() {
    let authority = Authority::new("ours");
    let hook = Webhook::builder()
        .tls(
            authority
                .server(&["localhost", "127.0.0.1"])
                .server_config(),
        )
        .start();
    hook.script([
        Answer::ok(),
        Answer::ok().close(),
        Answer::ok().close_silently(),
        Answer::reset(),
    ]);
    assert!(hook.url().starts_with("https://127.0.0.1:"));

    let mut client = tls_client(&hook, &authority, None);
    assert_eq!(client.post("a").unwrap().0, 200);
    assert_eq!(client.post("b").unwrap().0, 200);
    assert_eq!(client.read_to_end().unwrap(), "", "close_notify has come");

    let mut client = tls_client(&hook, &authority, None);
    assert_eq!(client.post("c").unwrap().0, 200);
    assert_eq!(
        client.read_to_end().unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );

    let mut client = tls_client(&hook, &authority, None);
    assert_eq!(
        client.post("d").unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert_eq!(hook.delivered_events(), [b"a", b"b", b"c"]);
}

#[test]
fn certificates_are_as_bad_as_asked_for() {
    let authority = Authority::new("ours");
    let names = &["127.0.0.1"];
    let failure = |identity: Identity| {
        let hook = Webhook::builder().tls(identity.server_config()).start();
        tls_client(&hook, &authority, None)
            .post("a")
            .unwrap_err()
            .to_string()
    };

    let wrong_name = failure(authority.server(&["hec.example.com"]));
    let expired = failure(authority.expired_server(names));
    let unknown = failure(Authority::new("theirs").server(names));

    assert!(wrong_name.contains("not valid for name"), "{wrong_name}");
    assert!(expired.contains("expired"), "{expired}");
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
}

#[test]
fn webhook_asks_for_a_client_certificate() {
    let authority = Authority::new("ours");
    let config = authority
        .server(&["127.0.0.1"])
        .server_config_for_clients_of(&authority);
    let hook = Webhook::builder().tls(config).start();

    assert!(tls_client(&hook, &authority, None).post("a").is_err());
    let stranger = Authority::new("theirs").client("agent");
    assert!(
        tls_client(&hook, &authority, Some(&stranger))
            .post("b")
            .is_err()
    );
    let friend = authority.client("agent");
    assert_eq!(
        tls_client(&hook, &authority, Some(&friend))
            .post("c")
            .unwrap()
            .0,
        200
    );
    assert_eq!(hook.delivered_events(), [b"c"]);
}

#[test]
fn certificates_are_written_as_pem() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    let (certificate, key) = authority
        .server(&["localhost"])
        .write_pem(dir.path(), "server");

    let first_line = |path| {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(first_line(ca), "-----BEGIN CERTIFICATE-----");
    assert_eq!(first_line(certificate), "-----BEGIN CERTIFICATE-----");
    assert_eq!(first_line(key), "-----BEGIN PRIVATE KEY-----");
}
