//! Options: where they may stand, which one wins, how a wrong one is refused, and what is never shown.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::iter;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;

use crate::support::{Agent, AgentCommand, Answer, Authority, STATE_DIR, Webhook};

const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
/// In what must not be shown, wherever it is put by mistake.
const SECRET: &str = "B5A79AAD-D822";
/// Nobody listens there, and nobody is asked: nothing is read that could be posted.
const NOWHERE: &str = "http://127.0.0.1:9/";
const COLLECTOR: &str = "http://127.0.0.1:9/services/collector";

/// Runs the agent on an empty input: its exit code, standard output and log.
fn run(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    run_as(Agent::command(), args, env)
}

fn run_as(
    agent: AgentCommand,
    args: &[&str],
    env: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let mut command = agent.stdin(Stdio::null()).args(args);
    for (name, value) in env {
        command = command.env(name, value);
    }
    let ended = command.run();
    (
        ended.code,
        String::from_utf8(ended.stdout).unwrap(),
        ended.log,
    )
}

/// Runs the agent, which must refuse to start, and gives what it says.
#[track_caller]
fn refusal(args: &[&str], env: &[(&str, &str)]) -> String {
    let (code, stdout, log) = run(args, env);
    let is_content = args.contains(&"--auth-token-file") && !args.contains(&"--auth-token");
    let expected = if is_content { 1 } else { 2 };
    assert_eq!(code, Some(expected), "{args:?} {env:?} said:\n{log}");
    assert_eq!(stdout, "", "{args:?} {env:?}");
    assert!(!log.contains("started:"), "{args:?} {env:?} said:\n{log}");
    assert!(!log.contains("panicked"), "{args:?} {env:?} said:\n{log}");
    log
}

/// Whether a message holds this flag or variable, and not just a longer one.
fn names(message: &str, name: &str) -> bool {
    message.split([' ', ':', '\'']).any(|word| word == name)
}

fn variable(flag: &str) -> String {
    format!("S3_AUDIT_WEBHOOK_{}", flag.to_uppercase().replace('-', "_"))
}

/// An option of `run`, a value that it takes, and values that it refuses with what would be right.
struct Row {
    flag: &'static str,
    good: String,
    bad: Vec<(String, &'static str)>,
    /// What it is of no use without.
    beside: Option<String>,
}

fn option(flag: &'static str, good: &str) -> Row {
    Row {
        flag,
        good: good.to_owned(),
        bad: Vec::new(),
        beside: None,
    }
}

impl Row {
    fn beside(self, option: String) -> Self {
        let beside = Some(option);
        Row { beside, ..self }
    }

    fn refuses(mut self, values: &[&str], right: &'static str) -> Self {
        let values = values.iter().map(|&value| (value.to_owned(), right));
        self.bad.extend(values);
        self
    }

    /// A switch stands alone on the command line, and needs a value in the environment only.
    fn is_switch(&self) -> bool {
        self.good == "true"
    }

    fn as_flag(&self, value: &str) -> String {
        if self.is_switch() {
            format!("--{}", self.flag)
        } else {
            format!("--{}={value}", self.flag)
        }
    }

    /// Runs the agent with what else it needs to start.
    fn run(&self, option: Option<String>, env: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let endpoint = match self.flag {
            "pin-sha256" | "tls-server-name" | "ca-file" | "client-cert" | "client-key" => {
                "https://127.0.0.1:9/"
            }
            flag if flag.starts_with("hec-ack") => COLLECTOR,
            _ => NOWHERE,
        };
        let rest = [("endpoint", endpoint), ("auth-token", TOKEN)]
            .into_iter()
            .filter(|(flag, _)| *flag != self.flag.trim_end_matches("-file"))
            .chain(self.flag.starts_with("hec-").then_some(("format", "hec")))
            .map(|(flag, value)| format!("--{flag}={value}"));
        let args: Vec<_> = iter::once("run".to_owned())
            .chain(rest)
            .chain(option)
            .chain(self.beside.clone())
            .collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let agent = Agent::command();
        if self.flag == "state-dir" {
            // The test's own would win over the file's.
            return run_as(agent.without(STATE_DIR), &args, env);
        }
        run_as(agent, &args, env)
    }
}

/// Every option of `run`. The files that some of them take are made in `dir`.
fn options(dir: &Path) -> Vec<Row> {
    const URL: &str = "fix: use a URL such as https://splunk:8088/services/collector/raw";
    const FORMAT: &str = "fix: use ndjson, array, single or hec";
    const HEADER: &str = "such as 'Splunk <token>'";
    const SOURCE: &str = "fix: use stdin, file:PATH, unix:PATH, unix-listen:PATH, http:ADDR:PORT, \
                          https:ADDR:PORT, fluent:ADDR:PORT, fluents:ADDR:PORT or fluent:PATH";
    const ADDRESS: &str = "fix: use one such as";
    const PATH: &str = "107 bytes at most, this one has 108";
    const PIN: &str =
        "is no SHA-256 of 64 hexadecimal digits; fix: use one that `s3-audit-webhook test` shows";
    const SWITCH: &str = "is neither true nor false; fix: use one of them";
    const COUNT: &str = "is no whole number; fix: use one such as";
    const SIZE: &str = "is no size; fix: use one such as 65536, 64KiB or 1MiB";
    const TIME: &str = "is no duration; fix: use one such as 500ms, 1s or 5m";
    const CA: &str =
        "contains no certificate; fix: give a PEM file, with '-----BEGIN CERTIFICATE-----'";
    const KEY: &str = "contains no private key; fix: put one, with '-----BEGIN PRIVATE KEY-----'";
    const PROXY: &str = "fix: use a URL such as http://proxy:3128";
    const DIRECTORY: &str = "can't be read: Is a directory";

    let file = |name: &str, content: &str| {
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let token = file("token", TOKEN);
    let two_tokens = file("two", "one\ntwo\n");
    let empty = file("empty", "");
    let text = file("text", "no PEM");
    let sign_key = file("sign_key", &format!("whsec_{}", "A".repeat(32)));
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let junk = file("junk", junk);
    let ca = Authority::new("some CA").write_pem(dir, "ca");
    let (certificate, key) = Authority::new("some CA")
        .client("me")
        .write_pem(dir, "client");
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let (_, other_key) = Authority::new("some CA")
        .client("me")
        .write_pem(dir, "other");
    let combined = fs::read_to_string(certificate).unwrap() + &fs::read_to_string(key).unwrap();
    let combined = file("combined", &combined);
    let long = format!("/{}", "a".repeat(107));
    let dir = dir.to_str().unwrap();
    let missing = &*format!("{dir}/missing");

    vec![
        option("endpoint", NOWHERE)
            .refuses(&["hec:8088", "hec", "", " ", "//hec"], URL)
            .refuses(&["ftp://hec", "https://", "https:///"], URL)
            .refuses(&["https://hec:0/", "https://hec:/", "https:/"], URL)
            .refuses(&["https://hec:99999/", "c/"], URL),
        option("endpoint-mode", "spread").refuses(&["", "both"], "fix: use failover or spread"),
        option("failback", "1m").refuses(&["soon"], TIME),
        option("auth-token", TOKEN)
            .refuses(
                &["-"],
                "only `enable` asks for one; fix: give --auth-token-file",
            )
            .refuses(&["", " \t", "\"\"", r#"\"\""#], HEADER)
            .refuses(&["a\r\nX-Evil: 1", "a\u{1b}", "é"], HEADER),
        option("auth-token-file", &token).refuses(&[&empty, &two_tokens], HEADER),
        option("format", "array").refuses(&["", "json", "NDJSON"], FORMAT),
        option("event-prefix", r#"{"create":{}}"#).refuses(&[""], "fix: give one line such as"),
        option("compress", "gzip:6").refuses(
            &["", "zstd", "gzip:", "gzip:0", "gzip:10"],
            "none, gzip, or gzip:1",
        ),
        option("header", &format!("X-Key: a, b; c | X-Other: @{token}"))
            .refuses(
                &["", "X-Key", "X Key: 1", ": 1", "X-Key: 1 | B5A7"],
                "fix: use 'Name: value'",
            )
            .refuses(
                &[
                    "X-Key:",
                    "X-Key: \"a\" | X-Other: ",
                    &format!("X-Key: @{empty}"),
                ],
                "the value is empty",
            )
            .refuses(
                &["X-Key: é", "X-Key: a\r\nX-Evil: 1"],
                "no HTTP header can carry",
            )
            .refuses(&["authorization: Basic eA=="], "is what --auth-token sets")
            .refuses(
                &["Content-Length: 5", "Expect: 100-continue"],
                "for the agent to set",
            )
            .refuses(&["X-Key: 1|x-key: 2"], "x-key is given twice"),
        option("hec-ack", "true").refuses(&["", "2"], SWITCH),
        option("hec-ack-timeout", "10m")
            .refuses(&["soon"], TIME)
            .refuses(&["0"], "fix: use 1ms or more"),
        option("hec-host", "s3-1").refuses(&["", " "], "is empty"),
        option("hec-source", "a b").refuses(&[""], "is empty"),
        option("hec-sourcetype", "_json").refuses(&[""], "is empty"),
        option("hec-index", "audit").refuses(&[""], "is empty"),
        option("time-field", "meta.when").refuses(
            &["", "meta.", "a..b"],
            "fix: use names with dots between them, such as meta.when",
        ),
        option("source", "stdin")
            .refuses(&["", "stdout", "tcp:127.0.0.1:514"], SOURCE)
            .refuses(&["/var/log/audit.log", "stdin,", "stdin:"], SOURCE)
            .refuses(&["file:"], "lacks a path; fix: use file:PATH")
            .refuses(&["unix:"], "lacks a path; fix: use unix:PATH")
            .refuses(&["stdin,stdin", "unix:/a,stdin,unix:/a"], "given twice")
            .refuses(&[&format!("unix:{long}")], PATH)
            .refuses(&[&format!("unix-listen:{long}")], PATH)
            .refuses(&[&format!("unix:{text}")], "for a file use file:PATH")
            .refuses(&[&format!("unix-listen:{text}")], "no socket")
            .refuses(
                &[
                    "http:",
                    "http:8080",
                    "http:localhost:8080",
                    "http://127.0.0.1:8080",
                ],
                ADDRESS,
            )
            .refuses(&["fluent:24224", "fluent:localhost:24224"], ADDRESS)
            .refuses(&["http:0.0.0.0:0"], "give --listen-token-file")
            .refuses(&[&format!("fluent:{long}")], PATH),
        option("exclude", "user=*|api.name=Head*,api.statusCode<400|*")
            .refuses(&["", "user", "user>1", "b"], "is no condition; fix: write")
            .refuses(
                &["user==a", "n<=1", "n=>400", "n=<400", "n!=>4", "user=~a"],
                "fix: use =, !=, >= or <",
            )
            .refuses(&["n>=many", "n<", "n<inf"], "fix: use =, or a number")
            .refuses(
                &["=a", "a..b=1", "[0]=1", "a.*=1"],
                "fix: write names with dots",
            ),
        option("include", "user=a")
            .beside("--exclude=*".into())
            .refuses(&["user"], "is no condition; fix: write"),
        option("redact", "s3").refuses(&["", "all"], "fix: use s3"),
        option("redact-field", "X-Token,my_field").refuses(
            &["", "a b", "meta.token", "é"],
            "fix: give the name of a member",
        ),
        option("trail", "true")
            .refuses(&["", "maybe"], SWITCH)
            // Its records would have to be delivered.
            .beside("--dry-run".into()),
        option("trail-interval", "30s")
            .refuses(&["", "1 h 5"], TIME)
            .refuses(&["0"], "fix: use 1ms or more"),
        option("file-start", "end").refuses(&["", "start", "End"], "fix: use beginning or end"),
        option("exclude-files", "*.gz,/var/log/pods/**/debug.log")
            .refuses(&["", "[a-z", "*.{gz}"], "use *, ?, [a-z] and **"),
        option("max-deleted-bytes", "0").refuses(&["", "much", "-1"], SIZE),
        option("listen-token-file", &token).refuses(&[&empty], "fix: write a token per line"),
        option("listen-cert", &combined)
            .refuses(&[&empty, key], "contains no certificate")
            .refuses(&[certificate], "contains no private key"),
        option("listen-key", key)
            .beside(format!("--listen-cert={certificate}"))
            .refuses(&[&empty, certificate], "contains no private key")
            .refuses(
                &[other_key.to_str().unwrap()],
                "contains a private key that is not the certificate's",
            ),
        option("listen-client-ca", certificate)
            .beside(format!("--listen-cert={combined}"))
            .refuses(&[&empty, key], "contains no certificate"),
        option("listen-connections-per-peer", "1").refuses(&["-1", "many"], COUNT),
        option("status-token-file", &token).refuses(&[&empty], "fix: write a token per line"),
        option("hec-input", "unwrap").refuses(&["", "drop"], "fix: use keep or unwrap"),
        option("listen-connections", "1")
            .refuses(&["some"], COUNT)
            .refuses(&["0"], "fix: use 1 or more"),
        option("socket-mode", "0600")
            .refuses(
                &["", "rw", "0888", "01777", "+660"],
                "is no file mode; fix: use three octal digits such as 0660",
            )
            // The last ones are 0660, 0640, 0622, 0770 and 0777 in decimal, as YAML reads them.
            .refuses(
                &["0", "0555", "0066", "432", "416", "402", "504", "511"],
                "fix: use three octal digits such as 0660, in quotes in YAML: \"0660\"",
            ),
        option("listen-timeout", "5s")
            .refuses(&["x"], TIME)
            .refuses(&["0"], "fix: use 1ms or more"),
        option("max-body-bytes", "1MiB")
            .refuses(&["x"], SIZE)
            .refuses(&["0"], "fix: use 1 or more")
            .refuses(&["2 GiB"], "too large; fix: use 1 GiB or less"),
        option("status-listen", "127.0.0.1:0")
            .refuses(&["9108", "localhost:9108", ""], ADDRESS)
            .refuses(&["192.0.2.1:9108"], "can't listen"),
        option("unhealthy-after", "0").refuses(&["later"], TIME),
        option("when-full", "wait").refuses(&["", "Block"], "fix: use drop or wait"),
        option("spool-bytes", "1MiB")
            .refuses(&["", "much"], SIZE)
            .refuses(
                &["1", "512 KiB"],
                "too small; fix: use 1 MiB or more, or 0 for no spool",
            ),
        option("spool-dir", &format!("{missing}/spool")),
        option("spool-sync", "always")
            .refuses(&["", "sometimes"], "fix: use never, second or always"),
        option("max-rate", "1MiB").refuses(&["fast"], SIZE),
        option("dry-run", "true").refuses(&["", "maybe"], SWITCH),
        option("max-event-bytes", "1MiB")
            .refuses(&["", "MiB", "-1", "1.5MiB", "1TiB", "0x10"], SIZE)
            .refuses(&["99999999999999999999", "99999999999GiB"], SIZE)
            .refuses(&["0"], "fix: use 1 or more")
            .refuses(&["2 GiB"], "too large; fix: use 1 GiB or less"),
        option("buffer-events", "1000")
            .refuses(&["", "-1", "1e3", "1.5", "1k"], COUNT)
            .refuses(&["0"], "fix: use 1 or more"),
        option("buffer-bytes", "1 MiB")
            .refuses(&["much"], SIZE)
            .refuses(&["0"], "fix: use 1 or more")
            .refuses(&["16777215 GiB"], "too large; fix: use 1024 GiB or less"),
        option("connections", "8")
            .refuses(&["many"], COUNT)
            .refuses(&["0"], "fix: use 1 or more")
            .refuses(&["65"], "fix: use 64 or less"),
        option("batch-events", "10")
            .refuses(&["ten"], COUNT)
            .refuses(&["0"], "fix: use 1 or more"),
        option("batch-bytes", "65536")
            .refuses(&["64 parsecs"], SIZE)
            .refuses(&["0"], "fix: use 1 or more"),
        option("batch-raw-bytes", "65536")
            .refuses(&["64 parsecs"], SIZE)
            .refuses(&["0"], "fix: use 1 or more"),
        option("batch-age", "0")
            .refuses(&["", "s", "soon", "-1s", "1y", "1.2.3s"], TIME)
            .refuses(&["366d", "99999999999999999999999d"], "max 365d"),
        option("backoff-min", "10ms")
            .refuses(&["fast"], TIME)
            .refuses(&["0"], "fix: use 1ms or more"),
        option("backoff-max", "1m")
            .refuses(&["slow"], TIME)
            .refuses(&["100ms"], "less than --backoff-min, which is 500ms"),
        option("reject-after", "0").refuses(&["", "-1", "1.5", "4294967296"], COUNT),
        option("reject-file", &format!("{dir}/rejected.json")).refuses(
            &[dir, "/dev/null"],
            "fix: name a file that can be written to",
        ),
        option("reject-bytes", "1GiB")
            .refuses(&["x"], SIZE)
            .refuses(&["0"], "fix: use 1 or more"),
        option("log-format", "json").refuses(&["", "JSON", "xml"], "fix: use text or json"),
        option("sign-key-file", &sign_key)
            .refuses(&[&empty], "contains no key; fix: make a key with")
            .refuses(&[&text], "contains a key that is not whsec_ and base64"),
        option("address-family", "4").refuses(&["", "5", "ipv4"], "fix: use 4, 6 or any"),
        option("connect-timeout", "1.5s")
            .refuses(&["x"], TIME)
            .refuses(&["0"], "fix: use 1ms or more"),
        option("request-timeout", "1h")
            .refuses(&["x"], TIME)
            .refuses(&["0"], "fix: use 1ms or more"),
        option("ca-file", ca.to_str().unwrap())
            .refuses(&[&empty, &text], CA)
            .refuses(&[&junk], "contains a certificate that is none"),
        option("client-cert", &combined)
            .refuses(&[&empty, key], CA)
            .refuses(&[certificate], "contains no private key")
            .refuses(&[&junk], KEY),
        option("client-key", key)
            .beside(format!("--client-cert={certificate}"))
            .refuses(&[&empty, certificate], KEY)
            .refuses(&[other_key.to_str().unwrap()], "not the certificate's"),
        option("proxy", "http://proxy:3128")
            .refuses(&["", "socks5://proxy", "proxy:99999", "http://"], PROXY),
        option("no-proxy", "true").refuses(&["", "2"], SWITCH),
        option("pin-sha256", &"0a".repeat(32)).refuses(&["", "0a", &"0g".repeat(32)], PIN),
        option("tls-server-name", "hec.example.com")
            .refuses(&["", "a b"], "fix: give a host name or an address"),
        option("insecure", "true").refuses(&["", "2"], SWITCH),
        option("enabled", "yes").refuses(&["", "maybe"], SWITCH),
        option("config", &empty)
            .refuses(&[dir], DIRECTORY)
            .refuses(&[&text], "is neither NAME=value nor a comment"),
        option("state-dir", dir),
        option("shutdown-timeout", "0").refuses(&["never"], TIME),
        option("report-interval", "1")
            .refuses(&["often"], TIME)
            .refuses(&["0"], "fix: use 1ms or more"),
    ]
}

#[test]
fn without_a_webhook_it_says_what_to_give() {
    let message = refusal(&["run"], &[]);
    for part in [
        "--endpoint URL",
        "--auth-token TOKEN",
        "--auth-token-file FILE",
        "S3_AUDIT_WEBHOOK_ENDPOINT",
        "S3_AUDIT_WEBHOOK_AUTH_TOKEN",
        "--dry-run",
    ] {
        assert!(message.contains(part), "no {part} in {message}");
    }
    assert_eq!(message.lines().count(), 1, "{message}");

    let message = refusal(&["run", "--endpoint", NOWHERE], &[]);
    assert!(message.contains("no token is set"), "{message}");
    assert!(message.contains("--auth-token TOKEN"), "{message}");
    let message = refusal(&["run", "--auth-token", TOKEN], &[]);
    assert!(message.contains("--endpoint URL"), "{message}");
}

/// What may pass by itself is no wrong usage, such as what is in a file that is just being written.
fn code_of(flag: &str, value: &str, log: &str) -> i32 {
    let passes = [
        "Cannot assign requested address",
        "can't be read: No such file",
    ];
    let path = Path::new(value.trim_start_matches("X-Key: @"));
    let is_content = !["config", "state-dir", "spool-dir"].contains(&flag) && path.is_file();
    let passes = passes.iter().any(|what| log.contains(what)) && !log.contains("CONFIG");
    match passes || is_content {
        true => 1,
        false => 2,
    }
}

#[test]
fn a_bad_value_is_refused_with_the_name_that_its_user_wrote_and_what_would_be_right() {
    let dir = TempDir::new().unwrap();
    for row in options(dir.path()) {
        let (flag, variable) = (format!("--{}", row.flag), variable(row.flag));
        for (number, (value, right)) in row.bad.iter().enumerate() {
            // A line of the file holds no line end, and loses the blanks around it.
            let fits_file = !value.contains('\n') && row.flag != "config";
            let fits = [true, !row.is_switch(), fits_file];
            // The first in every way, and the others, which the same code reads, in one way each.
            let one = (number..).map(|way| way % 3).find(|&way| fits[way]);
            let is_due = |way: usize| fits[way] && (number == 0 || one == Some(way));
            let from_variable = is_due(0).then(|| row.run(None, &[(&variable, value)]));
            let from_flag = is_due(1).then(|| row.run(Some(row.as_flag(value)), &[]));
            let named = from_variable.map(|ended| (ended, &variable)).into_iter();
            let named = named.chain(from_flag.map(|ended| (ended, &flag)));
            let file = dir.path().join("webhook.env");
            let from_file = is_due(2).then(|| {
                fs::write(&file, format!("# first\n{variable}='{value}'\n")).unwrap();
                let ended = row.run(None, &[("S3_AUDIT_WEBHOOK_CONFIG", file.to_str().unwrap())]);
                let place = format!("{}:2: {variable}", file.display());
                assert!(ended.2.contains(&place), "no {place} in:\n{}", ended.2);
                (ended, &variable)
            });
            for ((code, stdout, log), name) in named.chain(from_file) {
                assert_eq!(
                    (code, stdout.as_str()),
                    (Some(code_of(row.flag, value, &log)), ""),
                    "{name} {value:?}:\n{log}"
                );
                // Of a settings file its path, and the line in it, say more.
                let name = if row.flag == "config" { value } else { name };
                assert!(names(&log, name), "no {name} in:\n{log}");
                // What the operating system says has no fix that is always the same.
                let has_fix =
                    log.contains("fix: ") || log.contains("can't ") || log.contains("os error");
                assert!(
                    log.contains(right) && has_fix,
                    "{name} {value:?} lacks {right:?}:\n{log}"
                );
                assert!(!log.contains("started:"), "{log}");
                // The part of a list that is wrong is enough.
                let shown = value.trim().rsplit(',').next().unwrap_or_default();
                let secret = ["auth-token", "header"].contains(&row.flag);
                assert!(secret || log.contains(shown), "no {shown:?} in:\n{log}");
            }
        }
    }
}

/// What clap, and the parsers of values, say alone names neither the option nor what is wrong.
#[test]
fn what_is_wrong_with_a_value_is_said_wherever_it_is_found() {
    for (args, expected) in [
        (
            &["--batch-bytes", "-1"][..],
            "--batch-bytes: '-1' is no size; fix: ",
        ),
        (
            &["--redact", "S3"],
            "--redact: 'S3' is not known; fix: use s3",
        ),
        (
            &["--address-family=5"],
            "--address-family: '5' is not known; fix: use 4, 6 or any",
        ),
        (
            &["--redact-field=a b"],
            "--redact-field: 'a b' is no name; fix: ",
        ),
        (
            &["--endpoint=http://h/x # note"],
            "--endpoint: '#' is no URL",
        ),
        (
            &["--header=X-Key s3cret"],
            "--header: lacks the colon behind the name; fix: ",
        ),
    ] {
        let endpoint = format!("--endpoint={NOWHERE}");
        let args = [&["run", "--auth-token=none", &endpoint], args].concat();
        let message = refusal(&args, &[]);
        assert!(message.contains(expected), "no {expected:?} in {message}");
    }
    let message = refusal(&["spool", "nope"], &[]);
    assert!(
        message.contains("'nope' is not known; fix: use list, cat or verify"),
        "{message}"
    );

    let bytes = OsStr::from_bytes(b"s3cr\xe9t");
    let flag = OsStr::from_bytes(b"--auth-token=s3cr\xe9t");
    let command = || Agent::command().arg("run");
    for (command, name) in [
        (
            command().env("S3_AUDIT_WEBHOOK_AUTH_TOKEN", bytes),
            "S3_AUDIT_WEBHOOK_AUTH_TOKEN",
        ),
        (command().arg(flag), "--auth-token"),
        (command().arg("--auth-token").arg(bytes), "an argument"),
    ] {
        let ended = command.run();
        let expected = format!("{name}: contains bytes that are not UTF-8; fix: ");
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        assert!(
            ended.log.contains(&expected) && !ended.log.contains("s3cr"),
            "{}",
            ended.log
        );
    }
}

/// Who gives them believes that the webhook is verified, or knows this host.
#[test]
fn what_belongs_to_tls_is_refused_without_it() {
    let pin = format!("--pin-sha256={}", "0a".repeat(32));
    for option in [
        "--ca-file=ca.pem",
        "--client-cert=mine.pem",
        "--client-key=mine.key",
        "--tls-server-name=h",
        &pin,
    ] {
        let (name, _) = option.split_once('=').unwrap();
        let endpoints = format!("--endpoint={NOWHERE}");
        let log = refusal(&["run", &endpoints, "--auth-token=none", option], &[]);
        let expected = format!("{name}: is of no use with http://; fix: ");
        assert!(log.contains(&expected), "no {expected:?} in {log}");
    }
}

/// A settings file may have it from an endpoint that was `https://`.
#[test]
fn without_tls_insecure_has_no_effect_and_is_named() {
    let endpoint = format!("--endpoint={NOWHERE}");
    let args = ["check", &endpoint, "--auth-token=none", "--insecure"];
    let (code, _, log) = run(&args, &[]);
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("--insecure: has no effect without an https:// endpoint"),
        "{log}"
    );
    assert!(!log.contains("not verified"), "{log}");
}

#[test]
fn what_an_option_names_and_is_not_there_is_waited_for() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // Not even root can read this.
    let unreadable = dir.path().join("loop");
    symlink(&unreadable, &unreadable).unwrap();
    let (missing, inside) = (dir.path().join("missing/x"), file.join("x"));
    for path in [&missing, &inside, &unreadable, &dir.path().to_owned()] {
        let path = path.to_str().unwrap();
        for options in [
            "--auth-token-file=PATH",
            "--ca-file=PATH",
            "--sign-key-file=PATH",
            "--client-cert=PATH",
            "--header=X-Key: @PATH",
            "--status-token-file=PATH --status-listen=127.0.0.1:0",
            "--listen-token-file=PATH --source=stdin,http:127.0.0.1:0",
            "--listen-cert=PATH --source=stdin,fluents:127.0.0.1:0",
            "--listen-cert=PATH --listen-key=PATH --source=stdin,https:127.0.0.1:0",
            "--state-dir=PATH/state",
            "--spool-dir=PATH/spool --spool-bytes=1MiB",
            "--source=stdin,file:PATH/a.log",
            "--source=stdin,unix-listen:PATH/inside/sock",
            "--source=stdin,fluent:PATH/inside/sock",
            "--source=stdin,unix:PATH/inside/sock",
        ] {
            let options = options.replace("PATH", path).replace(" --", "\n--");
            let token =
                (!options.contains("--auth-token")).then(|| format!("--auth-token={TOKEN}"));
            let endpoint = "--endpoint=https://127.0.0.1:9/";
            let agent = Agent::command().without(STATE_DIR).args(["run", endpoint]);
            let agent = agent.args(options.lines()).args(token).spawn();
            agent.wait_for_log("started: ");
            agent.signal(libc::SIGTERM);
            let ended = agent.wait();
            assert_eq!(ended.code, Some(0), "{options}: {}", ended.log);
        }
    }
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file_for_every_option_in_the_help() {
    let dir = TempDir::new().unwrap();
    let rows = options(dir.path());
    let (_, help, _) = run(&["run", "--help"], &[]);
    let in_help: BTreeSet<_> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let tested: BTreeSet<_> = rows.iter().map(|row| row.flag).collect();
    assert_eq!(in_help, tested, "the table above must have a row for each");

    let file = dir.path().join("webhook.env");
    let config = ("S3_AUDIT_WEBHOOK_CONFIG", file.to_str().unwrap());
    for row in rows {
        let variable = variable(row.flag);
        let good = row.good.as_str();
        let bad = row.bad.first().map_or(good, |(bad, _)| bad);
        let flag = row.as_flag(good);

        if row.flag == "config" {
            let (code, _, log) = row.run(None, &[(&variable, good)]);
            assert_eq!(code, Some(0), "{variable}={good}:\n{log}");
            let (code, _, log) = row.run(Some(flag.clone()), &[(&variable, bad)]);
            assert_eq!(code, Some(0), "{flag} over {variable}:\n{log}");
            continue;
        }

        fs::write(&file, format!("{variable}='{good}'\n")).unwrap();
        let (code, _, log) = row.run(None, &[config]);
        assert_eq!(code, Some(0), "{variable}={good} in the file:\n{log}");
        fs::write(&file, format!("{variable}='{bad}'\n")).unwrap();
        let (code, _, log) = row.run(None, &[config, (&variable, good)]);
        assert_eq!(code, Some(0), "{variable} over the file:\n{log}");
        let (code, _, log) = row.run(Some(flag.clone()), &[config, (&variable, bad)]);
        assert_eq!(code, Some(0), "{flag} over both:\n{log}");
    }
}

#[test]
fn the_example_of_a_settings_file_has_every_setting_with_its_default() {
    let example = include_str!("../../packaging/webhook.env");
    let (_, help, _) = run(&["run", "--help"], &[]);
    let settings: Vec<_> = example
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .filter(|(name, _)| name.starts_with("S3_AUDIT_WEBHOOK_"))
        .collect();
    let in_help = help.matches("\n      --").count();
    // All but the settings file's own place.
    assert_eq!(settings.len(), in_help - 1);

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("webhook.env");
    let mut text = String::new();
    for (name, value) in settings {
        let flag = name.trim_start_matches("S3_AUDIT_WEBHOOK_");
        let flag = flag.to_lowercase().replace('_', "-");
        let mut parts = help.split("\n      --");
        let is_its = |part: &&str| part.split([' ', '\n']).next() == Some(&*flag);
        let rest = parts.find(is_its).expect(name);
        let is_default = rest.contains(&format!("[default: {value}]"));
        assert!(
            is_default || value.starts_with('<') || value == "false",
            "{name}={value}"
        );
        if !value.starts_with('<') && name != "S3_AUDIT_WEBHOOK_STATE_DIR" {
            text += &format!("{name}={value}\n");
        }
    }
    fs::write(&file, text).unwrap();
    let config = ("S3_AUDIT_WEBHOOK_CONFIG", file.to_str().unwrap());
    let (code, _, log) = run(
        &["run", "--endpoint", NOWHERE, "--auth-token", TOKEN],
        &[config],
    );
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("is not a setting"), "{log}");
}

#[test]
fn what_the_environment_says_takes_effect_and_a_flag_changes_it() {
    let hook = Webhook::start();
    let agent = || {
        Agent::command()
            .arg("run")
            .env("S3_AUDIT_WEBHOOK_ENDPOINT", hook.url())
            .env("S3_AUDIT_WEBHOOK_AUTH_TOKEN", TOKEN)
            .env("S3_AUDIT_WEBHOOK_SOURCE", "stdin")
            .env("S3_AUDIT_WEBHOOK_BATCH_EVENTS", "1")
            .env("S3_AUDIT_WEBHOOK_DRY_RUN", "no")
            .input("{}\n{}\n{}\n")
    };
    agent().run().balance().holds();
    let requests = hook.requests();
    assert_eq!(requests.len(), 3, "one event a request: {requests:?}");
    let path = requests[0].path.split('?').next();
    assert_eq!(path, Some("/services/collector/raw"));
    assert_eq!(requests[0].header("Authorization"), Some(TOKEN));

    agent()
        .args(["--batch-events", "3"])
        .run()
        .balance()
        .holds();
    assert_eq!(hook.request_count(), 3 + 1);

    assert_eq!(agent().arg("--dry-run").run().stdout, b"{}\n{}\n{}\n");
    assert_eq!(hook.request_count(), 3 + 1, "a dry run posts nothing");
}

#[test]
fn limits_that_contradict_each_other_name_both_as_they_were_written() {
    let message = refusal(
        &[
            "run",
            "--endpoint",
            NOWHERE,
            "--auth-token",
            TOKEN,
            "--backoff-max",
            "1s",
        ],
        &[("S3_AUDIT_WEBHOOK_BACKOFF_MIN", "2s")],
    );
    assert!(
        message.contains("--backoff-max: 1s is less than"),
        "{message}"
    );
    assert!(
        message.contains("S3_AUDIT_WEBHOOK_BACKOFF_MIN, which is 2s"),
        "{message}"
    );
}

#[test]
fn a_token_goes_out_as_it_is_but_for_quotes_around_it() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("token");
    let hook = Webhook::start();
    let sent = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = Agent::command().arg("run").endpoint(&hook.url()).args(args);
        for (name, value) in env {
            command = command.env(name, value);
        }
        let before = hook.request_count();
        assert_eq!(command.input("{}").run().code, Some(0), "{args:?} {env:?}");
        let requests = hook.requests();
        assert_eq!(requests.len(), before + 1);
        requests[before].header("Authorization").unwrap().to_owned()
    };
    for (given, header) in [
        (TOKEN, TOKEN),
        ("Bearer a.b_c==", "Bearer a.b_c=="),
        ("Basic dTpw", "Basic dTpw"),
        (&format!("\"{TOKEN}\""), TOKEN),
        (&format!("'{TOKEN}'"), TOKEN),
        // As the guide's command line gives it: --auth-token='\"Splunk …\"'.
        (&format!("\\\"{TOKEN}\\\""), TOKEN),
        ("Custom a\"b\"", "Custom a\"b\""),
    ] {
        assert_eq!(sent(&[&format!("--auth-token={given}")], &[]), header);
        assert_eq!(sent(&[], &[("S3_AUDIT_WEBHOOK_AUTH_TOKEN", given)]), header);
        for end in ["", "\n", "\r\n"] {
            fs::write(&file, format!("{given}{end}")).unwrap();
            assert_eq!(
                sent(&["--auth-token-file", file.to_str().unwrap()], &[]),
                header
            );
        }
    }
}

#[test]
fn of_two_tokens_the_flag_wins_and_else_it_is_asked_which() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, "from a file\n").unwrap();
    let file = path.to_str().unwrap();
    let token_variable = ("S3_AUDIT_WEBHOOK_AUTH_TOKEN", "from a variable");
    let file_variable = ("S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE", file);

    let hook = Webhook::start();
    for (flag, value, env, sent) in [
        ("--auth-token", "from a flag", token_variable, "from a flag"),
        ("--auth-token", "from a flag", file_variable, "from a flag"),
        ("--auth-token-file", file, token_variable, "from a file"),
        (
            "--auth-token-file",
            file,
            ("S3_AUDIT_WEBHOOK_AUTH_TOKEN_FILE", "/missing"),
            "from a file",
        ),
    ] {
        let agent = Agent::command().arg("run").endpoint(&hook.url());
        agent
            .args([flag, value])
            .env(env.0, env.1)
            .input("{}")
            .run();
        let last = hook.requests().pop().unwrap();
        assert_eq!(
            last.header("Authorization"),
            Some(sent),
            "{flag} and {env:?}"
        );
    }

    let base = ["run", "--endpoint", NOWHERE];
    let both_flags = [
        &base[..],
        &["--auth-token", SECRET, "--auth-token-file", file],
    ]
    .concat();
    for (message, names) in [
        (
            refusal(&both_flags, &[]),
            ["--auth-token and", "--auth-token-file"],
        ),
        (
            refusal(&base, &[token_variable, file_variable]),
            [token_variable.0, file_variable.0],
        ),
    ] {
        assert!(names.iter().all(|name| message.contains(name)), "{message}");
        assert!(message.contains("give one of them"), "{message}");
    }
}

#[test]
fn no_message_and_no_help_shows_a_secret() {
    let silent = |args: &[&str], env: &[(&str, &str)]| {
        let message = refusal(&[&["run"], args].concat(), env);
        assert!(!message.contains(SECRET), "{message}");
        message
    };
    for url in [
        format!("https://user:{SECRET}@hec/"),
        format!("user:{SECRET}@hec:8088"),
        format!("https:/user:{SECRET}@hec/"),
        format!("https://us er:{SECRET}@hec/"),
        // Not escaped, these end the host's part of the URL for whoever reads it.
        format!("https://user:{SECRET}/x@hec/"),
        format!("https://user:{SECRET}?x@hec/"),
        format!("https://user:{SECRET}#x@hec/"),
        format!("hec/raw?token={SECRET}"),
        format!("ftp://hec/#{SECRET}"),
    ] {
        let message = silent(&["--endpoint", &url, "--auth-token", SECRET], &[]);
        assert!(message.contains("--endpoint"), "{message}");
        let env = ("S3_AUDIT_WEBHOOK_ENDPOINT", url.as_str());
        let message = silent(&["--auth-token", SECRET], &[env]);
        assert!(message.contains(env.0), "{message}");
    }

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("token");
    for token in [
        format!("{SECRET}\nX: y"),
        format!("{SECRET}é"),
        format!("{SECRET}\u{7f}"),
    ] {
        silent(&["--endpoint", NOWHERE, "--auth-token", &token], &[]);
        let env = ("S3_AUDIT_WEBHOOK_AUTH_TOKEN", token.as_str());
        silent(&["--endpoint", NOWHERE], &[env]);
        fs::write(&file, token).unwrap();
        silent(
            &[
                "--endpoint",
                NOWHERE,
                "--auth-token-file",
                file.to_str().unwrap(),
            ],
            &[],
        );
    }
    fs::write(&file, [SECRET.as_bytes(), b"\xff"].concat()).unwrap();
    silent(
        &[
            "--endpoint",
            NOWHERE,
            "--auth-token-file",
            file.to_str().unwrap(),
        ],
        &[],
    );

    // Quotes forgotten, an option misspelt, given twice, and something else that is wrong.
    let message = silent(
        &["--endpoint", NOWHERE, "--auth-token", "Splunk", SECRET],
        &[],
    );
    assert!(
        message.contains("--auth-token 'Splunk <token>'"),
        "{message}"
    );
    let token = format!("--auth-token={SECRET}");
    silent(
        &["--endpoint", NOWHERE, &format!("--auth-tokn={SECRET}")],
        &[],
    );
    silent(&["--endpoint", NOWHERE, &token, &token], &[]);
    silent(&["--endpoint", NOWHERE, &token, "--batch-age=soon"], &[]);

    let url = format!("https://hec/raw?token={SECRET}");
    let env = [
        ("S3_AUDIT_WEBHOOK_AUTH_TOKEN", SECRET),
        ("S3_AUDIT_WEBHOOK_ENDPOINT", &*url),
    ];
    for args in [&["run", "--help"][..], &["run", "-h"], &["help", "run"]] {
        let (code, help, _) = run(args, &env);
        assert_eq!(code, Some(0));
        assert!(help.contains("--auth-token"), "{help}");
        assert!(!help.contains(SECRET), "{help}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let (_, short, _) = run(&["run", "-h"], &[]);
    for line in short.lines().filter(|line| line.starts_with("      --")) {
        assert!(line.trim().contains("  "), "one line for each: {line}");
    }
    let (code, version, log) = run(&["--version"], &[]);
    let expected = format!("s3-audit-webhook {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((code, version, log), (Some(0), expected, String::new()));

    let (code, help, log) = run(&["--help"], &[]);
    assert_eq!((code, log), (Some(0), String::new()));
    assert!(help.contains("Usage: s3-audit-webhook <COMMAND>"), "{help}");

    for wrong in [&[][..], &["walk"], &["run", "--no-such-option"]] {
        refusal(wrong, &[]);
    }
}

#[test]
fn a_source_that_cannot_be_opened_keeps_all_others_from_starting() {
    let dir = TempDir::new().unwrap();
    let hook = Webhook::start();
    let socket = dir.path().join("audit.sock");
    let first = format!("unix-listen:{},stdin", socket.display());
    let wrong = dir.path().join("file");
    fs::write(&wrong, "").unwrap();
    let wrong = format!("unix-listen:{}", wrong.display());

    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let agent = agent.source(&first).source(&wrong);
    let ended = agent.args(["--batch-age", "0"]).input("{}\n").run();

    assert_eq!(ended.code, Some(2), "{}", ended.log);
    assert!(ended.log.contains(&wrong), "{}", ended.log);
    assert_eq!(
        ended.log.lines().count(),
        1,
        "nothing was started: {}",
        ended.log
    );
    assert_eq!(hook.connections(), 0, "nothing was posted");
    assert!(
        !socket.exists(),
        "the socket of the first source is gone again"
    );
}

#[test]
fn a_socket_on_which_another_process_listens_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("audit.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let source = format!("unix-listen:{}", path.display());

    let args = [
        "run",
        "--endpoint",
        NOWHERE,
        "--auth-token",
        TOKEN,
        "--source",
        &source,
    ];
    let (code, stdout, log) = run(&args, &[]);

    assert_eq!(
        (code, stdout.as_str()),
        (Some(1), ""),
        "not the command line is wrong: {log}"
    );
    assert!(
        log.contains(&source) && log.contains("another process listens"),
        "{log}"
    );
    // The agent has looked in, and nothing else has changed.
    drop(listener.accept().unwrap());
    drop(UnixStream::connect(&path).unwrap());
    drop(listener.accept().unwrap());
}

#[test]
fn the_log_has_the_level_that_the_environment_names() {
    let hook = Webhook::start();
    hook.script([Answer::status(503)]);
    let log = |level: &str| {
        let agent = Agent::command()
            .arg("run")
            .endpoint(&hook.url())
            .token(TOKEN);
        let agent = agent.args(["--backoff-min", "1ms", "--backoff-max", "1ms"]);
        agent
            .env("S3_AUDIT_WEBHOOK_LOG", level)
            .input("{}")
            .run()
            .log
    };
    let warnings = log("warn");
    assert!(warnings.contains("WARN  delivery failed"), "{warnings}");
    assert!(!warnings.contains("INFO"), "{warnings}");
    assert!(log("info").contains("INFO  started:"));
    assert_eq!(log("off"), "");

    for level in ["loud", "", "warning", "ureq=trace", "info,loud"] {
        let message = refusal(
            &["run", "--endpoint", NOWHERE, "--auth-token", TOKEN],
            &[("S3_AUDIT_WEBHOOK_LOG", level)],
        );
        let named = format!("S3_AUDIT_WEBHOOK_LOG: '{level}'");
        assert!(message.contains(&named), "{message}");
        assert!(
            message.contains("fix: use error, warn, info or off"),
            "{message}"
        );
    }
}
