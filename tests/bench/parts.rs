//! The parts of an event's way, each alone, on 10,000 events of about 1 KB: `cargo bench`.

// `bench.rs` uses the rest, and allows the same.
#[allow(dead_code, clippy::expect_used)]
mod events;
mod packed;

use divan::Bencher;
use divan::counter::ItemsCount;

use s3_audit_webhook::buffer::chunk::{CHUNK_BYTES, Chunk, Extent};
use s3_audit_webhook::buffer::queue::{Taken, queue};
use s3_audit_webhook::delivery::batch;
use s3_audit_webhook::framer::{Frame, Framer};
use s3_audit_webhook::rules::Rules;
use s3_audit_webhook::rules::filter::{Action, Filter};
use s3_audit_webhook::rules::redact::Redactor;
use s3_audit_webhook::source::fluent::batch::Batch;
use s3_audit_webhook::source::fluent::message::Entries;
use s3_audit_webhook::source::fluent::unpack::take_whole;
use s3_audit_webhook::webhook::encode::{Compressed, Encoder, Format};

const EVENTS: usize = 10_000;
const LIMIT: usize = 4 << 20;

fn main() {
    divan::main();
}

fn lines() -> Vec<u8> {
    let mut lines = Vec::new();
    // Into memory, which takes every write.
    let _ = events::write(0..EVENTS as u64, &mut lines);
    lines
}

/// Chunks as a source fills them.
fn chunks() -> Vec<Chunk> {
    let mut chunks = vec![Chunk::default()];
    for line in lines().split_inclusive(|byte| *byte == b'\n') {
        if chunks[chunks.len() - 1].bytes.len() + line.len() > CHUNK_BYTES {
            chunks.push(Chunk::default());
        }
        if let Some(last) = chunks.last_mut() {
            last.bytes.extend_from_slice(line);
            last.events += 1;
        }
    }
    chunks
}

/// From the entries of a chunk of the fluent protocol to checked events, one per line.
#[divan::bench]
fn fluent_packed_forward(bencher: Bencher) {
    let mut packed = Vec::new();
    for line in lines().split(|byte| *byte == b'\n') {
        // There is nothing after the last line.
        let _ = packed::append(line, &mut packed);
    }
    let mut batch = Batch::new(LIMIT);
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        take_whole(&mut batch, Entries::Many(&packed), usize::MAX);
        assert_eq!(std::mem::take(&mut batch.lines.events), EVENTS);
        batch.lines.bytes.clear();
    });
}

/// From bytes to checked events, one per line.
#[divan::bench]
fn framer(bencher: Bencher) {
    let lines = lines();
    let mut out = Vec::with_capacity(lines.len());
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        let mut framer = Framer::new(LIMIT);
        out.clear();
        let mut rest = &lines[..];
        while !rest.is_empty() {
            framer.copy_in(&mut rest);
            while let Some(frame) = framer.next() {
                if let Frame::Event(event) = frame {
                    event.append_line(&mut out);
                }
            }
        }
        out.len()
    });
}

/// Into the queue and out again, in one thread.
#[divan::bench]
fn queue_of_chunks(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(chunks)
        .bench_local_values(|chunks| {
            let (producer, consumer) = queue(Extent {
                events: EVENTS,
                bytes: 64 << 20,
            });
            for mut chunk in chunks {
                producer.offer(&mut chunk);
            }
            drop(producer);
            let mut events = 0;
            while let Taken::Events(run) = consumer.take(Extent::MAX, None) {
                events += run.extent().events;
                consumer.finish(run.extent(), [run.seqs()]);
                run.into_buffer()
                    .into_iter()
                    .for_each(|buffer| consumer.recycle(buffer));
            }
            events
        });
}

/// The same lines without a secret: only the signature is missing, so their length is the same.
fn without_secrets() -> Vec<Chunk> {
    let mut chunks = chunks();
    for chunk in &mut chunks {
        let text = String::from_utf8_lossy(&chunk.bytes);
        let text = text
            .replace("Signature=", "Checksum--")
            .replace("\"Authorization\":", "\"Authorisation\":");
        chunk.bytes = text.into_bytes();
    }
    chunks
}

/// Masks chunks with and without secrets.
#[divan::bench(args = [true, false])]
fn redact(bencher: Bencher, has_secrets: bool) {
    let rules = Rules::new(Filter::default(), Redactor::new(true, []), Vec::new());
    let inputs = if has_secrets { chunks } else { without_secrets };
    screen(bencher, &rules, inputs);
}

/// Three rules, the last of which excludes a sixth of the events; or rules that match nothing.
#[divan::bench(args = [true, false])]
fn three_rules(bencher: Bencher, match_some: bool) {
    let rules = match match_some {
        true => [
            (Action::Include, "api.statusCode>=400"),
            (Action::Exclude, "userAgent=kube-probe*"),
            (Action::Exclude, "api.name=Head*"),
        ],
        false => [
            (Action::Exclude, "api.name=NoSuchCall"),
            (Action::Exclude, "api.statusCode>=600"),
            (Action::Exclude, "requestPath=/health*"),
        ],
    };
    let rules = rules
        .into_iter()
        .filter_map(|(action, text)| Some((action, text.parse().ok()?)));
    let rules = Rules::new(Filter::new(rules).unwrap_or_default(), None, Vec::new());
    screen(bencher, &rules, chunks);
}

fn screen(bencher: Bencher, rules: &Rules, inputs: fn() -> Vec<Chunk>) {
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(inputs)
        .bench_local_refs(|chunks| {
            let screened = chunks
                .iter_mut()
                .map(|chunk| rules.screen(chunk, 0).events());
            screened.sum::<usize>()
        });
}

/// Bodies of 1 MiB in each format that is made from the lines, and compressed.
#[divan::bench(args = ["array", "hec", "gzip:1"])]
fn encoder(bencher: Bencher, kind: &str) {
    let (format, compressed) = match kind {
        "array" => (Format::Array, Compressed::No),
        "hec" => (Format::Hec, Compressed::No),
        _ => (Format::Ndjson, Compressed::Gzip(1)),
    };
    let mut encoder = Encoder::new(format, compressed, "", &[("host", "s3-1")]);
    let mut lines = chunks()
        .into_iter()
        .flat_map(|chunk| chunk.bytes)
        .collect::<Vec<_>>();
    lines.truncate(1 << 20);
    lines.truncate(memchr::memrchr(b'\n', &lines).map_or(0, |end| end + 1));
    let body = batch::Batch::of(&lines);
    bencher
        .counter(ItemsCount::new(body.extent().events))
        .bench_local(|| encoder.encode(&body, usize::MAX));
}
