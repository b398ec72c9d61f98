//! A source's way into the queue, for tests.

use super::*;
use crate::buffer::queue::{Consumer, queue};
use crate::telemetry::ReportedSource;

/// With room for so much, and what becomes of its events.
pub(crate) fn output(room: Extent, when_full: WhenFull) -> (SourceOutput, Consumer, Arc<Report>) {
    let (producer, consumer) = queue(room);
    let source = ReportedSource {
        name: "http:a".into(),
        resumes: false.into(),
    };
    let report = Arc::new(Report::new(Duration::from_secs(10), vec![source]));
    let output = SourceOutput::new(
        0,
        producer,
        None,
        Arc::clone(&report),
        when_full,
        1 << 10,
        LiveRules::default(),
    );
    (output, consumer, report)
}
