//! Every option of `run`, a row each, for the tests that try them all.

use std::path::Path;
use std::{fs, iter};

use crate::support::{Agent, Authority, STATE_DIR};

use super::{NOWHERE, TOKEN, run_as};

const COLLECTOR: &str = "http://127.0.0.1:9/services/collector";

/// An option of `run`, a value that it takes, and values that it refuses with what would be right.
pub(super) struct Row {
    pub(super) flag: &'static str,
    pub(super) good: String,
    pub(super) bad: Vec<(String, &'static str)>,
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
    pub(super) fn is_switch(&self) -> bool {
        self.good == "true"
    }

    pub(super) fn as_flag(&self, value: &str) -> String {
        if self.is_switch() {
            format!("--{}", self.flag)
        } else {
            format!("--{}={value}", self.flag)
        }
    }

    /// Runs the agent with what else it needs to start.
    pub(super) fn run(
        &self,
        option: Option<String>,
        env: &[(&str, &str)],
    ) -> (Option<i32>, String, String) {
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
pub(super) fn options(dir: &Path) -> Vec<Row> {
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
            .refuses(
                &["https://hec:99999/", "https://[fe80::1%25lo]/", "c/"],
                URL,
            ),
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
