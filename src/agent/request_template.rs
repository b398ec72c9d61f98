//! What requests look like, according to the options; and whether these fit each other and the endpoint, so that this
//! need not be found out from the webhook.

use std::sync::Arc;

use ureq::http::{HeaderName, Uri};

use crate::config::error::UsageError;
use crate::config::opt::Opt;
use crate::config::options::WebhookOptions;
use crate::config::provenance::Provenance;
use crate::sys::host;
use crate::text::small_file;
use crate::webhook::encode::{Compressed, Encoder, Format};
use crate::webhook::endpoint::{Collector, Endpoint};
use crate::webhook::header::{self, Header};
use crate::webhook::sign::{self, Signer};
use crate::webhook::template::RequestTemplate;

/// The template of requests to this endpoint.
///
/// # Errors
/// Names the option that is wrong, or that does not fit another one.
pub(super) fn template(
    options: &WebhookOptions,
    endpoint: &Endpoint,
    provenance: &Provenance,
) -> Result<RequestTemplate, UsageError> {
    let collector = endpoint.collector();
    let format = options.format;
    if format == Format::Hec && collector == Some(Collector::Raw) {
        let what = format!(
            "hec is for Splunk's event endpoint, but {} is its raw one; fix: give …/services/collector/event, or \
                 --format ndjson",
            provenance.name(Opt::Endpoint)
        );
        return Err(provenance.error(Opt::Format, what));
    }
    if format != Format::Hec && collector == Some(Collector::Event) {
        let what = "Splunk's event endpoint takes --format hec only; fix: give that, or …/services/collector/raw";
        return Err(provenance.error(Opt::Endpoint, what));
    }
    let is_bulk = endpoint.is_bulk();
    if is_bulk && options.event_prefix.is_none() {
        let what =
            r#"_bulk wants a line before each event; fix: give --event-prefix '{"create":{}}'"#;
        return Err(provenance.error(Opt::Endpoint, what));
    }
    if is_bulk && hides_errors(endpoint.uri().query().unwrap_or_default()) {
        let what = "the answer to _bulk would not tell of events that were not taken; fix: leave format out, and have \
                    `errors` and `items.*.status` in the filter_path";
        return Err(provenance.error(Opt::Endpoint, what));
    }
    let metadata = metadata(options, provenance)?;
    if options.hec_ack && collector.is_none() {
        let what = "is for Splunk's /services/collector endpoints; fix: leave it out, or give such an --endpoint";
        return Err(provenance.error(Opt::HecAck, what));
    }
    let is_raw = collector == Some(Collector::Raw);
    if let Some((option, _, _)) = metadata
        .first()
        .filter(|_| format != Format::Hec && !is_raw)
    {
        let what = "means something only with --format hec, or to an endpoint …/services/collector/raw; fix: leave it out";
        return Err(provenance.error(*option, what));
    }
    let uri = match is_raw {
        true => with_query(endpoint.uri(), &with_host(&metadata))
            .ok_or_else(|| provenance.error(Opt::Endpoint, "is too long; fix: shorten it"))?,
        false => endpoint.uri().clone(),
    };
    Ok(RequestTemplate {
        encoder: encoder(options, options.compress, provenance)?,
        uri,
        ack_uri: options.hec_ack.then(|| endpoint.ack_uri()).flatten(),
        headers: headers(options, provenance)?,
        signer: signer(options, provenance)?,
        is_splunk: format == Format::Hec || collector.is_some(),
    })
}

/// Whether these parameters of a `_bulk` have its answer in another format, or without what tells of errors.
fn hides_errors(query: &str) -> bool {
    let mut parameters = query.split('&').filter_map(|part| part.split_once('='));
    parameters.any(|(name, value)| {
        let value = value.replace("%2C", ",").replace("%2c", ",");
        let mut parts = value.split(',');
        match name {
            "format" => value != "json",
            // What begins with a minus is left out, and all else is there.
            "filter_path" if parts.clone().all(|part| part.starts_with('-')) => {
                parts.any(|part| part == "-errors" || part.starts_with("-*"))
            }
            "filter_path" => !parts.any(|part| part == "errors" || part.starts_with('*')),
            _ => false,
        }
    })
}

/// The encoder of bodies, wherever they go.
///
/// # Errors
/// Names the option that is wrong, or that does not fit another one.
pub(super) fn encoder(
    options: &WebhookOptions,
    compressed: Compressed,
    provenance: &Provenance,
) -> Result<Encoder, UsageError> {
    let prefix = options.event_prefix.as_deref();
    if prefix.is_some_and(|prefix| prefix.is_empty() || prefix.contains(['\n', '\r'])) {
        let what = r#"is empty or contains a line break; fix: give one line such as {"create":{}}"#;
        return Err(provenance.error(Opt::EventPrefix, what));
    }
    if prefix.is_some() && options.format != Format::Ndjson {
        let what =
            "a line before each event is for --format ndjson only; fix: leave one of both out";
        return Err(provenance.error(Opt::EventPrefix, what));
    }
    let metadata = with_host(&metadata(options, provenance)?);
    let members: Vec<_> = metadata
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    Ok(Encoder::new(
        options.format,
        compressed,
        prefix.unwrap_or_default(),
        &members,
    )
    .with_time_path(options.time_field.clone()))
}

/// Splunk's metadata that is configured: the option, Splunk's name for it, and the value.
fn metadata<'a>(
    options: &'a WebhookOptions,
    provenance: &Provenance,
) -> Result<Vec<(Opt, &'static str, &'a str)>, UsageError> {
    let given = [
        (Opt::HecHost, "host", &options.hec_host),
        (Opt::HecSource, "source", &options.hec_source),
        (Opt::HecSourcetype, "sourcetype", &options.hec_sourcetype),
        (Opt::HecIndex, "index", &options.hec_index),
    ];
    given
        .into_iter()
        .filter_map(|(id, name, value)| Some((id, name, value.as_deref()?.trim())))
        .map(|given| match given.2 {
            "" => Err(provenance.error(given.0, "is empty; fix: give a value, or leave it out")),
            _ => Ok(given),
        })
        .collect()
}

/// Adds this machine's name if no other host was given.
fn with_host(metadata: &[(Opt, &'static str, &str)]) -> Vec<(&'static str, String)> {
    let given = metadata
        .iter()
        .map(|(_, name, value)| (*name, (*value).to_owned()));
    let default = metadata.iter().all(|(_, name, _)| *name != "host");
    let default = default.then(|| ("host", host::name()));
    default.into_iter().chain(given).collect()
}

/// Appends these parameters to those that the URI has; one of its own wins.
fn with_query(uri: &Uri, parameters: &[(&str, String)]) -> Option<Uri> {
    let mut query = uri.query().unwrap_or_default().to_owned();
    let own: Vec<_> = uri.query().unwrap_or_default().split('&').collect();
    for (name, value) in parameters {
        let is_own = |part: &&str| part.split('=').next() == Some(name);
        if own.iter().any(is_own) {
            continue;
        }
        if !query.is_empty() {
            query.push('&');
        }
        query += &format!("{name}={}", percent_encoded(value));
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{query}", uri.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Encodes it as a part of a query (RFC 3986).
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// What signs bodies, if that is configured.
fn signer(
    options: &WebhookOptions,
    provenance: &Provenance,
) -> Result<Option<Arc<Signer>>, UsageError> {
    let Some(path) = &options.sign_key_file else {
        return Ok(None);
    };
    let signer = small_file::read_secret(path)
        .and_then(|text| Signer::parse(&text).map_err(|what| format!("{} {what}", path.display())));
    let signer = signer.map_err(|what| provenance.error(Opt::SignKeyFile, what))?;
    Ok(Some(Arc::new(signer)))
}

fn headers(options: &WebhookOptions, provenance: &Provenance) -> Result<Vec<Header>, UsageError> {
    let wrong = |what| provenance.error(Opt::Header, what);
    let mut headers: Vec<Header> = Vec::new();
    for text in &options.headers {
        let (name, value) = header::parse(text).map_err(wrong)?;
        let owner = match options.sign_key_file {
            Some(_) if sign::HEADERS.contains(&name) => Some(Opt::SignKeyFile),
            _ => (options.hec_ack && name == header::CHANNEL).then_some(Opt::HecAck),
        };
        if let Some(option) = owner.map(|option| provenance.name(option)) {
            return Err(wrong(format!(
                "{name} is what {option} sets; fix: leave one of both out"
            )));
        }
        let is_same = |(other, _): &(HeaderName, _)| *other == name;
        if headers.iter().any(is_same) {
            return Err(wrong(format!("{name} is given twice; fix: give it once")));
        }
        headers.push((name, value));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_must_tell_of_errors() {
        for (query, hides) in [
            ("", false),
            ("pipeline=x&format=json", false),
            ("format=yaml", true),
            ("filter_path=items.*.error", true),
            ("refresh&filter_path=took", true),
            ("filter_path=", true),
            ("filter_path=errors,items.*.status", false),
            ("filter_path=took%2Cerrors%2citems", false),
            ("filter_path=*", false),
            ("filter_path=-took,-items.*._id", false),
            ("filter_path=-took,-errors", true),
        ] {
            assert_eq!(hides_errors(query), hides, "{query}");
        }
    }

    #[test]
    fn parameters_go_behind_those_of_the_url() {
        let with = |url: &str| {
            let parameters = [("host", "a b/ö".to_owned()), ("index", "x".to_owned())];
            let uri = with_query(&url.parse().unwrap(), &parameters).unwrap();
            uri.to_string()
        };
        assert_eq!(
            with("https://h:1/raw"),
            "https://h:1/raw?host=a%20b%2F%C3%B6&index=x"
        );
        assert_eq!(
            with("https://h/raw?"),
            "https://h/raw?host=a%20b%2F%C3%B6&index=x"
        );
        assert_eq!(
            with("https://h/raw?index=a&b"),
            "https://h/raw?index=a&b&host=a%20b%2F%C3%B6"
        );
        assert_eq!(
            with("https://h/raw?host=&index"),
            "https://h/raw?host=&index"
        );
        assert_eq!(
            with("https://h/raw?hosts=1"),
            "https://h/raw?hosts=1&host=a%20b%2F%C3%B6&index=x"
        );
    }
}
