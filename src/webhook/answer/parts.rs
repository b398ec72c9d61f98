//! An answer that tells of each event what became of it, as Elasticsearch's `_bulk` does.

use super::{Answer, Class, Question, Verdict, status_class};
use crate::webhook::error::DeliveryError;

/// What became of a body's events, where not all have the same end.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts {
    /// How many the webhook has.
    pub delivered: usize,
    /// How many it won't have.
    pub refused: usize,
    /// Why it won't have the first of them.
    pub why_refused: String,
    /// Of each event, in their order, whether it must be sent again.
    pub again: Vec<bool>,
    /// Why the first of them must be, if any must.
    pub trouble: Option<DeliveryError>,
}

/// A document of this identity is there already: an earlier request's answer was lost.
const CONFLICT: u16 = 409;

const ITEMS: &str =
    "leave `errors` and `items.*.status` in the answer, if the --endpoint has a filter_path";
const TARGET: &str = "see that the index or data stream is there, that the token may write to it, and that it is \
                      not blocked, as it is when a disk is full";

/// What an answer of success means for each event.
pub(super) fn verdict(answer: &Answer, question: &Question<'_>) -> Verdict {
    let (told, events) = (&answer.items, answer.events);
    match told.errors {
        None if told.cut_off => return Verdict::Retry(broken_off(answer)),
        None | Some(false) => return Verdict::Delivered,
        Some(true) => {}
    }
    let is_whole = told.items.len() == events || (told.cut_off && told.items.len() < events);
    if !is_whole || told.items.iter().any(|item| item.status == 0) {
        let why = format!(
            "answered {} with errors, but not of which events",
            answer.status
        );
        return Verdict::Retry(DeliveryError::lasting(why, ITEMS));
    }
    let mut parts = Parts {
        delivered: 0,
        refused: 0,
        why_refused: String::new(),
        again: vec![false; events],
        trouble: None,
    };
    for (item, again) in told.items.iter().zip(&mut parts.again) {
        let why = || {
            let error = question.tellable(&item.error);
            format!("{} {error}", item.status).trim_end().to_owned()
        };
        match status_class(item.status) {
            _ if item.status == CONFLICT => parts.delivered += 1,
            Class::Taken => parts.delivered += 1,
            Class::BadEvents(_) => {
                if parts.refused == 0 {
                    parts.why_refused = why();
                }
                parts.refused += 1;
            }
            class => {
                *again = true;
                parts.trouble.get_or_insert_with(|| {
                    let trouble =
                        DeliveryError::passing(format!("answered {} for some events", why()));
                    let remedy = (!matches!(class, Class::Busy(_))).then_some(TARGET);
                    DeliveryError {
                        remedy,
                        retry_after: answer.wait(),
                        ..trouble
                    }
                });
            }
        }
    }
    if told.items.len() < events {
        parts.again[told.items.len()..].fill(true);
        parts.trouble.get_or_insert_with(|| broken_off(answer));
    }
    match parts.trouble {
        None if parts.refused == 0 => Verdict::Delivered,
        None if events == 1 => Verdict::Refused(DeliveryError::passing(parts.why_refused)),
        Some(trouble) if parts.delivered + parts.refused == 0 => Verdict::Retry(trouble),
        _ => Verdict::Partly(parts),
    }
}

fn broken_off(answer: &Answer) -> DeliveryError {
    DeliveryError::passing(format!(
        "answered {}, but the answer broke off",
        answer.status
    ))
}
