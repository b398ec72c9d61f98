//! Splunk's indexer acknowledgement: the query for what is indexed.

use std::time::SystemTime;

use serde_json::json;
use ureq::http::header;

use super::{ANSWER_BYTES, Webhook, read};
use crate::delivery::batch::Batch;
use crate::delivery::outcome::{Cause, DeliveryError, Outcome};
use crate::webhook::answer::Answer;
use crate::webhook::error::Unanswered;

/// How many bytes more an answer may have for each body.
const ID_BYTES: u64 = 32;
const QUERY: &str = "check that the endpoint takes queries at …/services/collector/ack, and that indexer acknowledgement is \
                     turned on for this token; or leave out --hec-ack";

impl Webhook {
    /// Whether what [`try_out`](Self::try_out) has posted is indexed; for indexer acknowledgement only.
    ///
    /// # Errors
    /// The webhook does not say so.
    pub fn is_indexed(&mut self, id: u64) -> Result<bool, DeliveryError> {
        Ok(!self.ask_indexed(0, &[id])?.is_empty())
    }

    pub(super) fn ask_indexed(
        &mut self,
        channel: u64,
        ids: &[u64],
    ) -> Result<Vec<u64>, DeliveryError> {
        let result = self.over_kept_connection(|webhook| webhook.try_ask(channel, ids));
        let answer = result.map_err(|unanswered| self.error(&unanswered))?;
        let nothing = Batch::default();
        let question = self.question(&nothing);
        if let Some(indexed) = answer.indexed() {
            self.addresses.reached();
            return Ok(indexed);
        }
        let shown = answer.shown(&question);
        Err(match answer.outcome(&question, SystemTime::now()) {
            Outcome::Failed(error) if error.cause == Cause::Settings => error,
            _ if matches!(answer.status, 400..=499)
                && !matches!(answer.status, 408 | 425 | 429) =>
            {
                DeliveryError::permanent(shown, QUERY)
            }
            Outcome::Failed(error) => error,
            _ => DeliveryError::transient(
                Cause::Answer,
                format!("{shown}, which is no answer to it"),
            ),
        })
    }

    fn try_ask(&self, channel: u64, ids: &[u64]) -> Result<Answer, Unanswered> {
        let uri = self.template.ack_uri.as_ref().unwrap_or(&self.template.uri);
        let request = self.request(uri, Some(channel));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let body = json!({ "acks": ids }).to_string().into_bytes();
        let mut response = self.send(request, vec![body.into()], Some(channel))?;
        let limit = ANSWER_BYTES + ID_BYTES * ids.len() as u64;
        Ok(read(&mut response, limit))
    }
}
