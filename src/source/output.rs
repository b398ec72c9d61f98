//! A source's way into the queue: frames what was read, fills chunks, offers them, and counts what is lost on the way.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::buffer::chunk::{CHUNK_BYTES, Chunk, Extent, first_lines};
use crate::buffer::queue::Producer;
use crate::buffer::spool::{Appended, Appender};
use crate::framer::{Event, Frame, Framer, Lost};
use crate::rules::LiveRules;
use crate::source::spec::WhenFull;
use crate::telemetry::Report;
use crate::telemetry::counters::{Reason, Refusal};
use crate::telemetry::snapshot::Lag;

mod clients;
mod count;
#[cfg(test)]
pub(super) mod fixture;

/// While there is no room, how often to check whether the consumer is gone.
const LOOK: Duration = Duration::from_millis(100);

/// Events that were dropped because they are malformed or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// How many.
    pub events: u64,
    /// How far the beginning of the first one is before the end of what was read.
    pub bytes_back: u64,
}

/// One source's end of the agent.
pub struct SourceOutput {
    /// The source's place in the report.
    source: usize,
    producer: Producer,
    /// What events go through before they are queued.
    spool: Option<Appender>,
    report: Arc<Report>,
    when_full: WhenFull,
    max_event: usize,
    rules: LiveRules,
    chunk: Chunk,
    /// Spare memory for what clients send next.
    pub spare: Vec<u8>,
    /// The same for events.
    pub spare_lines: Vec<u8>,
    /// The part of the chunk that is counted as received, and went through the rules.
    counted: Extent,
    /// Events that were so counted since the start.
    events: u64,
    broken: Option<Broken>,
    /// Events were left out because nothing takes them any longer.
    cut_short: bool,
    /// Events may wait this long for others, as is set for bodies.
    pub batch_age: Duration,
}

impl SourceOutput {
    /// For the source at this place of the report, with events of at most `max_event` bytes.
    pub fn new(
        source: usize,
        producer: Producer,
        spool: Option<Appender>,
        report: Arc<Report>,
        when_full: WhenFull,
        max_event: usize,
        rules: LiveRules,
    ) -> Self {
        SourceOutput {
            source,
            producer,
            spool,
            report,
            when_full,
            max_event,
            rules,
            chunk: Chunk::default(),
            spare: Vec::new(),
            spare_lines: Vec::new(),
            counted: Extent::default(),
            events: 0,
            broken: None,
            cut_short: false,
            batch_age: Duration::ZERO,
        }
    }

    /// A framer for one of the source's streams.
    pub fn framer(&self) -> Framer {
        Framer::new(self.max_event)
    }

    /// Takes all that the framer has.
    pub fn take(&mut self, framer: &mut Framer) {
        self.take_frames(framer, None);
    }

    /// Takes what the framer has, and what it holds of an event that will never be whole, because
    /// the stream has ended.
    pub fn take_last(&mut self, framer: &mut Framer) {
        framer.end();
        self.take_frames(framer, None);
        self.flush();
    }

    /// The same, because the agent stops: a stream that is cut off is not malformed.
    pub fn take_cut_off(&mut self, framer: &mut Framer) {
        framer.end();
        self.take_frames(framer, Some(Reason::Shutdown));
        self.flush();
    }

    fn take_frames(&mut self, framer: &mut Framer, if_malformed: Option<Reason>) {
        while let Some(frame) = framer.next() {
            match frame {
                Frame::Event(event) => {
                    if self.would_overflow(event.raw_len()) {
                        self.flush();
                    }
                    self.append(&event);
                }
                Frame::Lost(lost) => self.lose(lost, if_malformed),
            }
        }
    }

    fn lose(&mut self, lost: Lost, if_malformed: Option<Reason>) {
        match lost {
            Lost::Malformed => self.count_dropped(if_malformed.unwrap_or(Reason::Malformed), 1),
            Lost::TooLarge => self.count_dropped(Reason::TooLarge, 1),
        }
    }

    /// Takes what the framer has, as far as there is room, and never waits for it. Returns the
    /// [position](Self::position) after all of it; `None` if some is left, in the framer or still to be queued.
    pub fn take_while_room(&mut self, framer: &mut Framer) -> Option<u64> {
        loop {
            if self.chunk.bytes.len() >= CHUNK_BYTES && !self.offer() {
                return None;
            }
            match framer.next() {
                Some(Frame::Event(event)) => {
                    if self.would_overflow(event.raw_len()) {
                        // Even if it is not taken, one more event is: that can't stay in the framer.
                        self.offer();
                    }
                    self.append(&event);
                }
                Some(Frame::Lost(lost)) => {
                    let first = Broken {
                        events: 0,
                        bytes_back: framer.unfinished(),
                    };
                    self.broken.get_or_insert(first).events += 1;
                    self.lose(lost, None);
                }
                None => return self.try_position(),
            }
        }
    }

    /// What [`take_while_room`](Self::take_while_room) has dropped since the last call.
    pub fn broken(&mut self) -> Option<Broken> {
        self.broken.take()
    }

    /// Waits until what was taken is queued, for at most this long.
    pub fn wait_for_room(&mut self, patience: Duration) {
        self.count();
        self.producer.offer_or_wait(&mut self.chunk, patience);
        self.counted = self.chunk.extent();
    }

    /// Queues what was taken as far as there is room, without waiting. Returns the [position](Self::position) after it,
    /// if all of it was queued.
    pub fn try_position(&mut self) -> Option<u64> {
        (self.offer() && !self.cut_short).then(|| self.producer.enqueued())
    }

    /// Gives up what was taken and not queued.
    pub fn abandon(&mut self) {
        let (source, events) = (Some(self.source), self.counted.events);
        self.report.dropped(Reason::Shutdown, source, events);
        self.clear();
    }

    fn would_overflow(&self, length: usize) -> bool {
        !self.chunk.is_empty() && self.chunk.bytes.len() + length >= CHUNK_BYTES
    }

    fn append(&mut self, event: &Event<'_>) {
        if !self.could_ever_take(event) {
            return self.count_dropped(Reason::TooLarge, 1);
        }
        event.append_line(&mut self.chunk.bytes);
        self.chunk.events += 1;
    }

    /// Whether its line, with its newline and what replaces bytes that are not UTF-8, could ever be queued.
    fn could_ever_take(&self, event: &Event<'_>) -> bool {
        let takes = |bytes| self.could_take(Extent { events: 1, bytes });
        // Computing the exact length reads every byte, so it is done only where it matters.
        event.raw_len() <= self.max_event
            && (takes(3 * event.raw_len() + 1) || takes(event.line_len()))
    }

    /// Takes all of these events and empties `lines`. None may be longer than [`max_line`](Self::max_line).
    pub fn take_lines(&mut self, lines: &mut Chunk) {
        let mut rest = &lines.bytes[..];
        while !rest.is_empty() {
            let part = first_lines(rest, CHUNK_BYTES);
            if self.would_overflow(part.bytes) {
                self.flush();
            }
            let (part_lines, behind) = rest.split_at(part.bytes);
            self.chunk.bytes.extend_from_slice(part_lines);
            self.chunk.events += part.events;
            rest = behind;
        }
        lines.clear();
    }

    fn clear(&mut self) {
        self.chunk.clear();
        self.counted = Extent::default();
    }

    /// Queues what there is room for; of a source that drops, the rest is dropped. True if nothing is left.
    fn offer(&mut self) -> bool {
        if self.chunk.is_empty() {
            return true;
        }
        self.count();
        let mut reason = self.spool_or_queue();
        if self.when_full == WhenFull::Drop && !self.chunk.is_empty() {
            if !self.producer.is_open() {
                reason = Reason::Shutdown;
            }
            let (source, events) = (Some(self.source), self.chunk.events);
            self.report.dropped(reason, source, events);
            self.clear();
        }
        self.chunk.is_empty()
    }

    /// Puts what there is room for into the spool, or into the queue if no spool works. Returns why the rest would be
    /// dropped.
    fn spool_or_queue(&mut self) -> Reason {
        let spool = self.spool.as_ref();
        let appended = spool.map(|spool| spool.append(&mut self.chunk));
        if matches!(appended, None | Some(Appended::Unavailable)) {
            self.producer.offer(&mut self.chunk);
        }
        if self.chunk.bytes.capacity() == 0 {
            self.chunk.bytes = self.producer.buffer();
        }
        self.counted = self.chunk.extent();
        match appended {
            Some(Appended::Full) => Reason::SpoolFull,
            _ => Reason::BufferFull,
        }
    }

    /// Sends on what was taken. To be called when there is nothing more to read for now.
    pub fn flush(&mut self) {
        if self.offer() {
            return;
        }
        if self.spool.is_some() {
            while !self.chunk.is_empty() && self.producer.is_open() {
                thread::sleep(LOOK);
                self.spool_or_queue();
            }
        } else {
            while self.producer.offer_or_wait(&mut self.chunk, LOOK) && !self.chunk.is_empty() {}
        }
        self.cut_short |= !self.chunk.is_empty();
        self.report
            .dropped(Reason::Shutdown, Some(self.source), self.chunk.events);
        self.clear();
    }

    /// Sends on what was taken, and returns how many events must have
    /// [ended](crate::buffer::queue::QueueStats::watermark) before all of it has. `None` if some of it never will,
    /// because the agent ends.
    pub fn position(&mut self) -> Option<u64> {
        self.flush();
        (!self.cut_short).then(|| self.producer.enqueued())
    }

    /// All events below this position are final.
    pub fn watermark(&self) -> u64 {
        self.producer.stats().watermark()
    }

    /// Whether events go anywhere: there is a webhook, and forwarding is not disabled.
    pub fn is_forwarding(&self) -> bool {
        self.report.is_forwarding()
    }

    /// The longest event that is taken.
    pub fn max_event(&self) -> usize {
        self.max_event
    }

    /// The longest line that is taken, its newline not counted: it has room in the buffer.
    pub fn max_line(&self) -> usize {
        let room = match &self.spool {
            Some(spool) => spool.max_line(),
            None => self.producer.stats().bound().bytes.saturating_sub(1),
        };
        self.max_event.min(room)
    }

    /// How much of the room for clients' events is in use, in percent. For a spool, only whether it takes any counts.
    pub fn percent_used(&self) -> usize {
        if let Some(spool) = &self.spool {
            return if spool.takes_nothing() { 100 } else { 0 };
        }
        let stats = self.producer.stats();
        stats.buffered().percent_of(stats.bound())
    }

    /// Counts and logs that a client was refused, for this reason.
    pub fn refused(&self, reason: Refusal, peer: impl Into<Option<IpAddr>>) {
        self.report
            .request_refused(self.source, reason, shown(peer.into()));
    }

    /// What counts and logs refused clients, for those who see them elsewhere.
    pub fn refusals(&self) -> impl Fn(Refusal, IpAddr) + Send + Sync + 'static {
        let (report, source) = (Arc::clone(&self.report), self.source);
        move |reason, peer| report.request_refused(source, reason, shown(Some(peer)))
    }

    /// Counts the events of a client that are all dropped, for this reason.
    pub fn count_dropped(&self, reason: Reason, events: usize) {
        self.report.received(self.source, events);
        self.report.dropped(reason, Some(self.source), events);
    }

    /// Logs, once, what must be configured differently at a client.
    pub fn complain(&self, what: &'static str, peer: Option<IpAddr>) {
        self.report.source_complaint(self.source, what, shown(peer));
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        self.report.source_name(self.source)
    }

    /// The stream is unavailable, for this reason.
    pub fn failed(&self, why: &str) {
        self.report.source_failed(self.source, why);
    }

    /// The stream is there.
    pub fn worked(&self) {
        self.report.source_restored(self.source);
    }

    /// Events that were read since the start.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What was not delivered yet, and what removed files take.
    pub fn lag(&self, lag: Lag, deleted: u64) {
        self.report.source_lag(self.source, lag);
        self.report.source_deleted_bytes(self.source, deleted);
    }

    /// A file was taken for the copy of another.
    pub fn copied(&self) {
        self.report.source_copied(self.source);
    }

    /// There is nothing to read yet, which need not be a failure.
    pub fn waits(&self) {
        self.report.source_up(self.source, false);
    }

    /// The stream can't be read any more, and has not come to its end.
    pub fn ended_early(&self) {
        self.report.source_up(self.source, false);
    }

    /// The agent ends, and the stream's writer may have written more than was read.
    pub fn cut_off(&self) {
        self.report.source_cut_off(self.source);
    }

    /// Whether events are kept that are taken from here on.
    pub fn is_open(&self) -> bool {
        self.producer.is_open()
    }

    /// Bytes of the stream are lost that are not counted as events.
    pub fn lost_bytes(&self, bytes: u64, reason: &str) {
        self.report.source_lost_bytes(self.source, bytes, reason);
    }
}

fn shown(peer: Option<IpAddr>) -> Option<String> {
    peer.map(|peer| peer.to_canonical().to_string())
}
