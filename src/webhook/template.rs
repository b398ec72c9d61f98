//! What requests look like: the format of their bodies and their headers.

use std::fmt;
use std::sync::Arc;

use ureq::http::{Uri, header};

use crate::webhook::encode::Encoder;
use crate::webhook::header::Header;
use crate::webhook::sign::Signer;

/// What requests look like.
#[derive(Clone)]
pub struct RequestTemplate {
    /// Makes their bodies.
    pub encoder: Encoder,
    /// Where they go: the endpoint, with Splunk's metadata as its query.
    pub uri: Uri,
    /// Where to ask what is indexed, if that is wanted.
    pub ack_uri: Option<Uri>,
    /// Headers besides `Authorization` and those that follow from the body.
    pub headers: Vec<Header>,
    /// Signs bodies.
    pub signer: Option<Arc<Signer>>,
    /// Requests go to Splunk, or something like it, so its codes in answers count.
    pub is_splunk: bool,
}

impl fmt::Debug for RequestTemplate {
    /// Headers contain secrets, and so do some services' URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestTemplate({:?})", self.encoder)
    }
}

impl RequestTemplate {
    /// `Content-Type`, unless the options name one.
    pub fn content_type(&self) -> Option<&'static str> {
        let is_own = |(name, _): &Header| *name == header::CONTENT_TYPE;
        let has_own = self.headers.iter().any(is_own);
        (!has_own).then(|| self.encoder.format().content_type())
    }
}
