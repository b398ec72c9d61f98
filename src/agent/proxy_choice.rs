//! Which proxy is used on the way to the webhook: the one that is configured, else the environment's, read as curl does
//! (<https://curl.se/docs/manpage.html#ENVIRONMENT>).

use ureq::http::Uri;

use crate::config::error::UsageError;
use crate::config::opt::Opt;
use crate::config::options::WebhookOptions;
use crate::config::provenance::Provenance;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::no_proxy;
use crate::webhook::proxy::Proxy;

/// Decides which proxy is used on the way to `endpoint`.
///
/// # Errors
/// Names the option or variable that is wrong.
pub(super) fn choose(
    options: &WebhookOptions,
    provenance: &Provenance,
    endpoint: &Endpoint,
) -> Result<Option<Proxy>, UsageError> {
    match (option(options, provenance)?, &options.proxy) {
        (Some(Opt::Proxy), Some(text)) => Proxy::parse(text, &provenance.location(Opt::Proxy))
            .map(Some)
            .map_err(|what| provenance.error(Opt::Proxy, what)),
        (Some(_), _) => Ok(None),
        (None, _) => of_environment(endpoint.uri(), |name| provenance.variable(name)),
    }
}

/// Which option says so, if one does: a flag wins over the environment, and that over the settings file.
///
/// # Errors
/// Both are given in one place.
pub fn option(
    options: &WebhookOptions,
    provenance: &Provenance,
) -> Result<Option<Opt>, UsageError> {
    match (&options.proxy, options.no_proxy) {
        (Some(_), true) => provenance.stronger(Opt::Proxy, Opt::NoProxy).map(Some),
        (Some(_), false) => Ok(Some(Opt::Proxy)),
        (None, true) => Ok(Some(Opt::NoProxy)),
        (None, false) => Ok(None),
    }
}

fn of_environment(
    endpoint: &Uri,
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Option<Proxy>, UsageError> {
    // HTTP_PROXY is not read, because a client of a CGI program can set it with a header called Proxy.
    let of_scheme: &[_] = match endpoint.scheme_str() {
        Some("http") => &["http_proxy"],
        _ => &["https_proxy", "HTTPS_PROXY"],
    };
    let first = |names: &[&'static str]| {
        let mut names = names.iter();
        names.find_map(|name| Some((*name, variable(name).filter(|text| !text.is_empty())?)))
    };
    let found = first(of_scheme).or_else(|| first(&["all_proxy", "ALL_PROXY"]));
    let Some((name, text)) = found else {
        return Ok(None);
    };
    let exceptions = first(&["no_proxy", "NO_PROXY"]);
    let host = endpoint.host().unwrap_or_default();
    if exceptions.is_some_and(|(_, list)| no_proxy::covers(&list, host)) {
        return Ok(None);
    }
    Proxy::parse(&text, name)
        .map(Some)
        .map_err(|what| UsageError(format!("{name}: {what}, or --no-proxy to go without it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_as_curl_reads_it() {
        let (hec, plain, long) = ("https://hec/", "http://hec/", "https://hec.example.com/");
        for (endpoint, variables, expected) in [
            (hec, "", ""),
            (hec, "HTTPS_PROXY=a", "a HTTPS_PROXY"),
            (
                hec,
                "HTTPS_PROXY=a https_proxy=b ALL_PROXY=c",
                "b https_proxy",
            ),
            (hec, "https_proxy= HTTPS_PROXY= ALL_PROXY=c", "c ALL_PROXY"),
            (hec, "http_proxy=a HTTP_PROXY=b", ""),
            (plain, "HTTP_PROXY=a https_proxy=b", ""),
            (plain, "http_proxy=a", "a http_proxy"),
            ("https://127.0.0.1/", "https_proxy=a", "a https_proxy"),
            (long, "https_proxy=a NO_PROXY=example.com", ""),
            (long, "https_proxy=a NO_PROXY=* no_proxy=x", "a https_proxy"),
            ("https://[::1]:8088/", "https_proxy=a NO_PROXY=::1", ""),
            // An invalid proxy is not an error if none is used.
            (hec, "https_proxy=socks5://a NO_PROXY=hec", ""),
        ] {
            let variable = |name: &str| {
                let mut variables = variables.split(' ').filter_map(|one| one.split_once('='));
                let (_, value) = variables.find(|(known, _)| *known == name)?;
                Some(value.to_owned())
            };
            let found = of_environment(&endpoint.parse().unwrap(), variable).unwrap();
            let found = found.map(|proxy| format!("{proxy} {}", proxy.place()));
            let expected = expected.replace(' ', ":1080 ");
            assert_eq!(
                found.unwrap_or_default(),
                expected,
                "{endpoint} {variables}"
            );
        }
    }
}
