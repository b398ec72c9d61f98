//! Other programs of this kind, each in the fastest configuration that loses nothing: no parsing unless unavoidable,
//! bodies of 1 MiB, one connection to the webhook, as with the agent.

use std::fs;
use std::io;
use std::process::Command;

use crate::programs::{Input, Way};
use crate::setup::Setup;

/// syslog-ng 3.38 and later. It serves no HTTP, and compresses no bodies.
pub(crate) fn syslog_ng(setup: &Setup, way: &Way) -> io::Result<Option<Command>> {
    // Fetching more than a thousand at once, with room for a whole body, is faster than the defaults.
    let window = "log-fetch-limit(1000) log-iw-size(100000)";
    let source = match &way.input {
        Input::File(path) => format!("file(\"{}\" flags(no-parse) {window});", path.display()),
        Input::Unix(sockets) => sockets
            .iter()
            .map(|socket| {
                let socket = socket.display();
                format!("unix-stream(\"{socket}\" flags(no-parse) max-connections(64) {window});")
            })
            .collect(),
        _ => return Ok(None),
    };
    if way.gzip {
        return Ok(None);
    }
    let tls = way.ca.as_ref().map_or_else(String::new, |ca| {
        format!("tls(ca-file(\"{}\") peer-verify(yes))", ca.display())
    });
    let disk = setup.directory.join("syslog-ng.disk");
    let _ = fs::remove_dir_all(&disk);
    fs::create_dir(&disk)?;
    // Reliable: everything goes to disk first. It never calls fdatasync.
    let buffer = way.spool.map_or_else(String::new, |_| {
        let disk = disk.display();
        format!("disk-buffer(reliable(yes) dir(\"{disk}\") disk-buf-size(2147483648) mem-buf-size(67108864))")
    });
    let configuration = setup.directory.join("syslog-ng.conf");
    fs::write(
        &configuration,
        format!(
            "@version: 3.38\n\
             options {{ threaded(yes); stats-freq(0); use-dns(no); keep-hostname(yes); log-msg-size(1048576); time-reopen(1); }};\n\
             source s {{ {source} }};\n\
             destination d {{ http(url(\"{}\") method(\"POST\") headers(\"Content-Type: application/x-ndjson\")\n\
               body(\"${{MSG}}\") delimiter(\"\\n\") batch-bytes(1048576) batch-lines(10000) batch-timeout(1000)\n\
               workers(1) log-fifo-size(100000) {tls} {buffer}); }};\n\
             log {{ source(s); destination(d); flags(flow-control); }};\n",
            way.url
        ),
    )?;
    let file = |name: &str| setup.directory.join(name);
    let _ = fs::remove_file(file("syslog-ng.persist"));
    let mut command = Command::new("syslog-ng");
    command
        .args(["--foreground", "--no-caps"])
        .arg("--cfgfile")
        .arg(configuration)
        .arg("--persist-file")
        .arg(file("syslog-ng.persist"))
        .arg("--pidfile")
        .arg(file("syslog-ng.pid"))
        .arg("--control")
        .arg(file("syslog-ng.ctl"));
    Ok(Some(command))
}

/// Fluent Bit 3 and later, written from its documentation. It either wraps what it reads in an object or parses it; it
/// gets unparsed lines here, which costs less.
pub(crate) fn fluent_bit(setup: &Setup, way: &Way) -> io::Result<Option<Command>> {
    let buffer = "buffer_chunk_size: 1M\n      buffer_max_size: 8M";
    let input = match &way.input {
        Input::File(path) => format!(
            "    - name: tail\n      path: {}\n      read_from_head: true\n      {buffer}\n",
            path.display()
        ),
        Input::Unix(sockets) => sockets
            .iter()
            .map(|socket| {
                let socket = socket.display();
                format!(
                    "    - name: syslog\n      mode: unix_tcp\n      path: {socket}\n      parser: whole\n      {buffer}\n"
                )
            })
            .collect(),
        Input::Http(address) => format!(
            "    - name: http\n      listen: {}\n      port: {}\n",
            address.ip(),
            address.port()
        ),
        _ => return Ok(None),
    };
    let (tls, rest) = split(&way.url);
    let (address, uri) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = address.split_once(':').unwrap_or((address, "80"));
    let mut output = format!(
        "    - name: http\n      match: '*'\n      host: {host}\n      port: {port}\n      uri: /{uri}\n      format: json_lines\n      \
         json_date_key: false\n      workers: 1\n      retry_limit: no_limits\n"
    );
    if tls {
        output += "      tls: on\n      tls.verify: on\n";
    }
    if let Some(ca) = &way.ca {
        output += &format!("      tls.ca_file: {}\n", ca.display());
    }
    if way.gzip {
        output += "      compress: gzip\n";
    }
    let configuration = setup.directory.join("fluent-bit.yaml");
    fs::write(
        &configuration,
        format!(
            "service:\n  flush: 1\n  log_level: warn\nparsers:\n  - name: whole\n    format: regex\n    regex: '^(?<log>.*)$'\n\
             pipeline:\n  inputs:\n{input}  outputs:\n{output}"
        ),
    )?;
    let mut command = Command::new("fluent-bit");
    command.arg("--config").arg(configuration);
    Ok(Some(command))
}

/// Vector 0.40 and later, written from its documentation. Lines stay text, and requests are the lines as they came.
pub(crate) fn vector(setup: &Setup, way: &Way) -> io::Result<Option<Command>> {
    let data = setup.directory.join("vector");
    fs::create_dir_all(&data)?;
    let source = match &way.input {
        Input::File(path) => format!("type: file\n    include: [\"{}\"]", path.display()),
        Input::Unix(sockets) => format!(
            "type: socket\n    mode: unix_stream\n    path: \"{}\"",
            sockets[0].display()
        ),
        Input::Http(address) => {
            format!(
                "type: http_server\n    address: \"{address}\"\n    decoding: {{ codec: bytes }}"
            )
        }
        _ => return Ok(None),
    };
    let mut sink = format!(
        "type: http\n    inputs: [in]\n    uri: \"{}\"\n    encoding: {{ codec: text }}\n    framing: {{ method: newline_delimited }}\n    \
         compression: {}\n    batch: {{ max_bytes: 1048576, max_events: 10000, timeout_secs: 1 }}\n    \
         request: {{ concurrency: 1 }}\n    healthcheck: {{ enabled: false }}\n",
        way.url,
        if way.gzip {
            "{ algorithm: gzip, level: 1 }"
        } else {
            "none"
        }
    );
    if let Some(ca) = &way.ca {
        sink += &format!("    tls: {{ ca_file: \"{}\" }}\n", ca.display());
    }
    let configuration = setup.directory.join("vector.yaml");
    fs::write(
        &configuration,
        format!(
            "data_dir: \"{}\"\nsources:\n  in:\n    {source}\nsinks:\n  out:\n    {sink}",
            data.display()
        ),
    )?;
    let mut command = Command::new("vector");
    command.arg("--quiet").arg("--config").arg(configuration);
    Ok(Some(command))
}

/// Whether it is TLS, and what follows the scheme.
fn split(url: &str) -> (bool, &str) {
    match url.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, url.trim_start_matches("http://")),
    }
}
