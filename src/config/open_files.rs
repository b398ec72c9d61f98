//! Files of secrets, events or settings that every user of the host can read or change.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::telemetry::message::Message;
use crate::webhook::endpoint;
use crate::webhook::header;

/// A message for each file of secrets or events that every user can read or change, and for settings that every user
/// can change. Those of the webhook's keys come with the webhook.
pub(super) fn warnings(options: &RunOptions, provenance: &Provenance) -> Vec<Message> {
    let setting = |option| provenance.file.setting(option);
    let is_secret = |url: &str| endpoint::shown(url) != url;
    let has_secret = [Opt::AuthToken, Opt::Header, Opt::Proxy]
        .into_iter()
        .any(|option| setting(option).is_some())
        || setting(Opt::Endpoint).is_some_and(|urls| endpoint::list(&urls.value).any(is_secret));
    let in_headers = options.webhook.headers.iter();
    let in_headers = in_headers.filter_map(|text| Some((Opt::Header, header::file(text)?)));
    // Without a file of its own, the key is with the certificate.
    let key = match &options.listen_key {
        Some(_) => (Opt::ListenKey, &options.listen_key),
        None => (Opt::ListenCert, &options.listen_cert),
    };
    let files = [
        (Opt::Config, &Some(provenance.file.path.clone())),
        (Opt::AuthTokenFile, &options.webhook.auth_token_file),
        (Opt::ListenTokenFile, &options.listen_token_file),
        (Opt::StatusTokenFile, &options.status_token_file),
        key,
        (Opt::RejectFile, &options.reject_file),
    ];
    let files = files.map(|(option, path)| Some((option, path.clone()?)));
    let open = files.into_iter().flatten().chain(in_headers);
    let open = open.filter_map(|(option, path)| {
        let rights = match option {
            Opt::Config if !has_secret => 0o002,
            _ => 0o006,
        };
        let file = fs::metadata(&path).ok()?;
        // Everybody may write to /dev/null.
        (file.is_file() && file.mode() & rights != 0).then(|| Message::KeyReadable {
            option: provenance.name(option),
            path: path.display().to_string(),
        })
    });
    open.collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::invocation::Invocation;
    use crate::config::options::Command;

    #[test]
    fn files_of_secrets_are_for_their_owner_and_group() {
        const TOKEN: &str = "S3_AUDIT_WEBHOOK_AUTH_TOKEN=x\n";
        const SECRET_URL: &str =
            "S3_AUDIT_WEBHOOK_ENDPOINT='https://a/b https://h/http/ZaVnC4dhaV2cMyJ'\n";
        const URL: &str = "S3_AUDIT_WEBHOOK_ENDPOINT=https://h:8088/services/collector/raw\n";
        const OTHER: &str = "S3_AUDIT_WEBHOOK_BATCH_EVENTS=1\n";
        const OPTIONS: [&str; 6] = [
            "--auth-token-file",
            "--listen-token-file",
            "--status-token-file",
            "--listen-cert",
            "--reject-file",
            "--header",
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::write(path("token"), "x").unwrap();
        for (text, mode, token_mode, open) in [
            (TOKEN, 0o640, 0o640, &[][..]),
            (TOKEN, 0o644, 0o640, &["--config"]),
            (SECRET_URL, 0o644, 0o640, &["--config"]),
            (URL, 0o644, 0o640, &[]),
            (OTHER, 0o644, 0o600, &[]),
            (OTHER, 0o646, 0o600, &["--config"]),
            (OTHER, 0o600, 0o604, &OPTIONS),
            (OTHER, 0o600, 0o602, &OPTIONS),
        ] {
            fs::write(path("env"), text).unwrap();
            for (name, mode) in [("env", mode), ("token", token_mode)] {
                fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
            }
            let value = |option: &str| match option {
                "--header" => format!("X-Key: @{}", path("token")),
                _ => path("token"),
            };
            let files = OPTIONS.map(|option| format!("{option}={}", value(option)));
            let arguments = [
                "x".to_owned(),
                "run".into(),
                format!("--config={}", path("env")),
            ];
            let arguments = arguments.into_iter().chain(files).map(OsString::from);
            let Invocation {
                command,
                provenance,
            } = Invocation::read(arguments).unwrap();
            let Command::Run(options) = command else {
                panic!("not run");
            };
            let found = warnings(&options, &provenance)
                .into_iter()
                .map(|message| message.text());
            let names: Vec<_> = found
                .map(|text| text.split(':').next().unwrap().to_owned())
                .collect();
            assert_eq!(names, open, "{text} {mode:o} {token_mode:o}");
        }
    }
}
