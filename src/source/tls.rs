//! TLS for sources that listen: rustls' server side, with files that may be renewed while the agent runs.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{Error, InvalidMessage, ServerConfig, ServerConnection, StreamOwned};

use super::watched::{Invalid, Watch, Watched};
use crate::telemetry::counters::Refusal;
use crate::text::pem::{self, Part};

/// PEM files of a listener.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate with its chain: `--listen-cert`.
    pub cert: PathBuf,
    /// Its key: `--listen-key`, or in the certificate's file.
    pub key: Option<PathBuf>,
    /// The authorities of clients: `--listen-client-ca`. With it, only clients with a certificate are served.
    pub client_ca: Option<PathBuf>,
}

/// Puts connections inside TLS. One serves all sources.
pub struct TlsServer {
    config: Watched<ServerConfig>,
    wants_client_cert: bool,
}

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// `--listen-cert`.
    Cert,
    /// `--listen-key`.
    Key,
    /// `--listen-client-ca`.
    ClientCa,
}

/// Why files can't be used.
#[derive(Debug)]
pub struct TlsFileError {
    /// Which file.
    pub file: TlsFile,
    /// What is wrong.
    pub message: String,
}

impl TlsServer {
    /// Reads the files.
    ///
    /// # Errors
    /// A file does not hold what it should, or the key is another certificate's. One that can't be read is waited for.
    pub fn load(files: TlsFiles) -> Result<Self, TlsFileError> {
        let (has_key, wants_client_cert) = (files.key.is_some(), files.client_ca.is_some());
        let files = [
            (TlsFile::Cert, Some(files.cert)),
            (TlsFile::Key, files.key),
            (TlsFile::ClientCa, files.client_ca),
        ];
        let files = files
            .into_iter()
            .filter_map(|(kind, path)| Some((kind, path?)));
        let (kinds, paths): (Vec<_>, Vec<_>) = files.unzip();
        let make = move |contents: &[Vec<u8>]| config(contents, has_key, wants_client_cert);
        let config = Watched::open("certificates of listeners", paths.clone(), make);
        let config = config.map_err(|(place, what)| {
            let path = paths.get(place).map(|path| path.display().to_string());
            TlsFileError {
                file: kinds.get(place).copied().unwrap_or(TlsFile::Cert),
                message: format!("{} {what}", path.unwrap_or_default()),
            }
        })?;
        Ok(TlsServer {
            config,
            wants_client_cert,
        })
    }

    /// Whether only clients with a certificate are served.
    pub fn wants_client_cert(&self) -> bool {
        self.wants_client_cert
    }

    /// Whether the files are there.
    ///
    /// # Errors
    /// They were not there yet, for this reason.
    pub fn check(&self) -> Result<(), String> {
        self.config.current().map(drop)
    }

    /// Puts a connection inside TLS. The handshake happens with the first read.
    ///
    /// # Errors
    /// None that a client could cause.
    pub fn accept<S: Read + Write>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let config = self.config.current().map_err(io::Error::other)?;
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    }
}

impl Watch for TlsServer {
    fn look(&self, at_once: bool) {
        self.config.look(at_once);
    }
}

/// A connection inside TLS. Works over streams that block and over those that do not.
pub type TlsStream<S> = StreamOwned<ServerConnection, S>;

/// How a client whose handshake failed is counted. `None` if the connection broke.
pub fn handshake_error(error: &io::Error) -> Option<Refusal> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        // The client does not speak TLS.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Refusal::NotTls,
        // It has shown no certificate, or none of a CA in `--listen-client-ca`.
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => Refusal::ClientCertificate,
        // It does not accept this listener's certificate, or has other versions and ciphers of TLS.
        _ => Refusal::Handshake,
    })
}

/// From the certificate's file, the key's if it has one, and that of the clients' authorities if there is one.
fn config(
    contents: &[Vec<u8>],
    has_key: bool,
    wants_client_cert: bool,
) -> Result<ServerConfig, Invalid> {
    let provider = Arc::new(ring::default_provider());
    let [cert, ..] = contents else {
        return Err((0, "can't be read".into()));
    };
    let key = contents.get(1).filter(|_| has_key);
    let identity = pem::identity(cert, key.map(Vec::as_slice));
    let identity = identity.map_err(|(part, what)| (usize::from(part == Part::Key), what))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| (0, error.to_string()))?;
    let builder = match contents.last().filter(|_| wants_client_cert) {
        Some(pem) => {
            let place = contents.len() - 1;
            let roots = pem::roots(pem).map_err(|what| (place, what))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier
                .build()
                .map_err(|error| (place, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let resolver = rustls::sign::SingleCertAndKey::from(identity);
    Ok(builder.with_cert_resolver(Arc::new(resolver)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// A certificate and its key.
    fn identity() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    /// Writes a new identity to this file, and returns its certificate.
    fn renew(file: &Path) -> String {
        let (cert, key) = identity();
        fs::write(file, format!("{key}{cert}")).unwrap();
        cert
    }

    fn load(
        cert: &Path,
        key: Option<&PathBuf>,
        client_ca: Option<&PathBuf>,
    ) -> Result<TlsServer, TlsFileError> {
        TlsServer::load(TlsFiles {
            cert: cert.into(),
            key: key.cloned(),
            client_ca: client_ca.cloned(),
        })
    }

    #[test]
    fn files_that_can_not_be_used_are_named_with_their_option() {
        use TlsFile::{Cert, ClientCa, Key};
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let ((cert, key), (_, other)) = (identity(), identity());
        let both = write("both", &format!("{key}{cert}"));
        let (cert, key, other) = (
            write("cert", &cert),
            write("key", &key),
            write("other", &other),
        );
        let none = write("none", "x");
        let sealed = write("sealed", "-----BEGIN ENCRYPTED PRIVATE KEY-----");
        for (cert, key, ca, file, what) in [
            (&none, Some(&key), None, Cert, "no certificate"),
            (&cert, None, None, Cert, "no private key"),
            (&cert, Some(&none), None, Key, "no private key"),
            (&cert, Some(&sealed), None, Key, "an encrypted"),
            (&cert, Some(&other), None, Key, "is not the cert"),
            (&cert, Some(&key), Some(&none), ClientCa, "no certificate"),
            (&both, None, Some(&none), ClientCa, "no certificate"),
        ] {
            let error = load(cert, key, ca).err().unwrap();
            assert_eq!(error.file, file, "{}", error.message);
            assert!(error.message.contains(what), "{}", error.message);
        }
        assert!(load(&both, None, None).unwrap().check().is_ok());
        let awaited = load(&dir.path().join("gone"), None, None).unwrap();
        assert!(awaited.check().unwrap_err().contains("can't be read"));
        assert!(load(&cert, Some(&key), Some(&cert)).is_ok());
    }

    /// A handshake, and a byte each way, over the two ends of a socket.
    #[test]
    fn renewed_files_serve_the_next_connection() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pem");
        renew(&path);
        let server = load(&path, None, None).unwrap();
        for _ in 0..2 {
            let cert = renew(&path);
            server.look(true);
            let (ours, theirs) = UnixStream::pair().unwrap();
            let client = std::thread::spawn(move || {
                let config =
                    rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                        .with_safe_default_protocol_versions()
                        .unwrap()
                        .with_root_certificates(pem::roots(cert.as_bytes()).unwrap())
                        .with_no_client_auth();
                let name = "localhost".try_into().unwrap();
                let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
                let mut stream = StreamOwned::new(connection, theirs);
                stream.write_all(b"ab").unwrap();
                let mut answer = [0];
                stream.read_exact(&mut answer).unwrap();
                answer
            });
            let mut stream = server.accept(ours).unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            assert!(!stream.conn.is_handshaking());
            stream.write_all(&byte).unwrap();
            assert_eq!(client.join().unwrap(), *b"a");
            stream.conn.send_close_notify();
        }
    }

    #[test]
    fn a_client_without_tls_is_known_by_its_first_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pem");
        renew(&path);
        let server = load(&path, None, None).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"POST / HTTP/1.1\r\n\r\n").unwrap();
        let mut stream = server.accept(ours).unwrap();
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(handshake_error(&error), Some(Refusal::NotTls));
    }
}
