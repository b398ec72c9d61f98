use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const TEXT: Style = Style {
    format: LogFormat::Text,
    is_journal: false,
};

/// Takes a line when it is allowed to, and passes it on.
struct Sink {
    allowed: Receiver<()>,
    written: Sender<String>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.allowed.try_recv().is_err() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let _ = self
            .written
            .send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A running queue of `limit` bytes, the sender that lets it write a line, and what it has written.
fn blocked(limit: usize) -> (Arc<Queue>, Sender<()>, Receiver<String>) {
    let queue = Arc::new(Queue::new(TEXT, limit));
    let ((allow, allowed), (written, lines)) = (channel(), channel());
    let running = Arc::clone(&queue);
    thread::spawn(move || running.run(&mut Sink { allowed, written }));
    (queue, allow, lines)
}

fn message(number: usize) -> Message {
    Message::SettingNeedsRestart {
        setting: format!("number {number}"),
        what: "has changed",
    }
}

#[test]
fn a_sink_that_takes_nothing_delays_nobody_and_what_did_not_fit_is_counted() {
    let (queue, allow, lines) = blocked(1 << 10);
    // A thread that waits would wait for ever.
    let ((pushed, has_pushed), pushing) = (channel(), Arc::clone(&queue));
    thread::spawn(move || {
        for number in 0..100 {
            pushing.push(&message(number), false);
            assert!(pushing.bytes.load(SeqCst) <= pushing.limit);
        }
        pushed.send(()).unwrap();
    });
    let patience = Duration::from_secs(20);
    assert_eq!(has_pushed.recv_timeout(patience), Ok(()), "it is delayed");
    assert!(!queue.flush(Duration::from_millis(20)));
    for _ in 0..100 {
        allow.send(()).unwrap();
    }
    assert!(queue.flush(Duration::from_secs(60)));
    let (mut accounted, mut lost) = (0, 0);
    for line in lines.try_iter() {
        if line.contains(" log lines were lost ") {
            let count = line.split_whitespace().nth(2).unwrap();
            lost += count.parse::<usize>().unwrap();
            accounted += count.parse::<usize>().unwrap();
        } else {
            let expected = format!("number {accounted} has changed");
            assert!(line.contains(&expected), "{line}");
            accounted += 1;
        }
    }
    assert_eq!(accounted, 100);
    assert!((1..100).contains(&lost), "{lost}");

    assert_eq!(queue.bytes.load(SeqCst), 0);
}

#[test]
fn there_is_room_for_the_last_line_and_nothing_follows_it() {
    let (queue, allow, lines) = blocked(1);
    queue.push(&message(1), false);
    queue.push(&message(2), true);
    queue.push(&message(3), true);
    queue.push(&message(4), false);
    for _ in 0..10 {
        allow.send(()).unwrap();
    }
    assert!(queue.flush(Duration::from_secs(60)));
    let lines: Vec<_> = lines.try_iter().collect();
    assert!(lines[0].contains(" 1 log lines were lost "), "{lines:?}");
    assert!(lines[1].contains("number 2 has changed"), "{lines:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn lines_of_many_threads_are_written_or_counted() {
    const LINES: usize = 4000;
    let (queue, allow, lines) = blocked(1 << 10);
    (0..2 * LINES).for_each(|_| allow.send(()).unwrap());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..LINES / 4).for_each(|number| queue.push(&message(number), false)));
        }
    });
    assert!(queue.flush(Duration::from_secs(60)));
    let count = |line: String| match line.contains(" log lines were lost ") {
        true => line.split_whitespace().nth(2).unwrap().parse().unwrap(),
        false => 1,
    };
    assert_eq!(lines.try_iter().map(count).sum::<usize>(), LINES);
    assert_eq!(queue.bytes.load(SeqCst), 0);
}

#[test]
fn a_line_is_text_or_json_for_a_terminal_or_for_the_journal() {
    let message = Message::SourceUnavailable {
        source: "file:/a\u{1b}[2J".into(),
        error: "no \"b\"\nc".into(),
    };
    for (format, is_journal, expected) in [
        (
            LogFormat::Text,
            false,
            "1970-01-01T00:00:00Z WARN  file:/a\\u{1b}[2J: unavailable: no \"b\"\\nc; retrying\n",
        ),
        (
            LogFormat::Text,
            true,
            "<4>WARN  file:/a\\u{1b}[2J: unavailable: no \"b\"\\nc; retrying\n",
        ),
        (
            LogFormat::Json,
            false,
            "{\"time\":\"1970-01-01T00:00:00Z\",\"level\":\"warn\",\"message\":\"source_unavailable\",\
             \"text\":\"file:/a\\\\u{1b}[2J: unavailable: no \\\"b\\\"\\\\nc; retrying\",\"fields\":{\
             \"error\":\"no \\\"b\\\"\\\\nc\",\"source\":\"file:/a\\\\u{1b}[2J\"}}\n",
        ),
    ] {
        let style = Style { format, is_journal };
        assert_eq!(style.line(&message, SystemTime::UNIX_EPOCH), expected);
    }
}

#[test]
fn only_levels_of_this_program_are_filters() {
    for filter in ["info", "WARN", "s3_audit_webhook=debug", "off"] {
        assert!(is_filter(filter), "{filter}");
    }
    for filter in ["", "verbose", "ureq=trace", "info=ureq"] {
        assert!(!is_filter(filter), "{filter}");
    }
}
