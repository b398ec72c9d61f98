//! What a client is made of.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::header;
use ureq::unversioned::transport::Connector;

use crate::text::secret::Secrets;
use crate::text::token::Token;
use crate::webhook::answering::Answers;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::error::Timeouts;
use crate::webhook::observer::Observer;
use crate::webhook::proxy::Proxy;
use crate::webhook::resolve::{Known, Names, Resolve};
use crate::webhook::template::RequestTemplate;
use crate::webhook::tls::TlsSettings;
use crate::webhook::tls::connect::Tls;
use crate::webhook::tunnel::Tunnel;
use crate::webhook::wire::Wire;
use crate::webhook::wire::socket::Tcp;

/// How long an answer's body may take once its status is known.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// ureq's settings.
pub(super) fn config(proxy: Option<&Proxy>, timeouts: Timeouts) -> Config {
    Agent::config_builder()
        .proxy(proxy.map(Proxy::for_client))
        .http_status_as_error(false)
        // The token must not travel to another host.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("s3-audit-webhook/", env!("CARGO_PKG_VERSION")))
        // Without this header, any coding would be allowed.
        .accept_encoding("identity")
        .max_idle_connections(1)
        .timeout_resolve(Some(timeouts.connect))
        .timeout_connect(Some(timeouts.connect))
        .timeout_global(Some(timeouts.request))
        .timeout_recv_body(Some(ANSWER_TIME))
        .build()
}

/// ureq with its own chain of connectors, and with ours around them.
pub(super) fn agent(
    config: Config,
    tls: &Arc<TlsSettings>,
    wire: &Wire,
    known: &Known,
    observer: Arc<dyn Observer>,
    names: impl Names,
) -> Agent {
    let tcp = Tcp {
        wire: wire.clone(),
        observer: Arc::clone(&observer),
    };
    let tunnel = Tunnel::new(wire.clone(), Arc::clone(&observer));
    let tls = Tls::new(Arc::clone(tls), wire.clone(), Arc::clone(&observer));
    let answers = Answers {
        wire: wire.clone(),
        has_proxy: config.proxy().is_some(),
    };
    let connector = ().chain(tunnel).chain(tcp).chain(tls).chain(answers);
    let resolver = Resolve {
        names,
        known: known.clone(),
        observer,
    };
    Agent::with_parts(config, connector, resolver)
}

/// Everything in a request that may be secret.
pub(super) fn secrets(
    endpoint: &Endpoint,
    token: Option<&Token>,
    template: &RequestTemplate,
    proxy: Option<&Proxy>,
) -> Secrets {
    let mut secrets = Secrets::default();
    if let Some(token) = token {
        secrets.add_credential(token.reveal());
    }
    endpoint.add_secrets(&mut secrets);
    for (name, value) in &template.headers {
        let is_open = [header::CONTENT_TYPE, header::ACCEPT, header::USER_AGENT].contains(name);
        if let Some(value) = value.to_str().ok().filter(|_| !is_open) {
            secrets.add_header_value(value);
        }
    }
    if let Some(password) = proxy.and_then(Proxy::password) {
        secrets.add(&password);
    }
    secrets
}
