//! What an operator should know although all is delivered.

pub(super) const FLUENT_BIT_RAW: &str = "Fluent Bit makes one record of all events of a body at /services/collector/raw; give \
                              --format hec and …/services/collector/event";

pub(super) const LATE: &str = "an answer did not come to its end, which delivery waits for, up to 5s each time; check the webhook's \
                    Content-Length, and what is before it";

pub(super) const NO_TIME: &str = "no time was found in an event: the webhook takes its time of arrival for it; give --time-field, or \
                       auto_extract_timestamp=true in the endpoint's query";

pub(super) const NO_TIME_THERE: &str = "an event has no time where --time-field says: the webhook takes its time of arrival for it; correct \
                             --time-field, or leave it out if the time is in a member that is tried by default";
