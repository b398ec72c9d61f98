//! Writes lines to a sink that may fail, such as a file on a full disk. Lines that it does not take are counted, and
//! their number takes their place as soon as it takes something again.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::Duration;

/// The time between two attempts to write to a non-blocking sink that is full.
const NEXT_TRY: Duration = Duration::from_millis(10);

/// Lines on their way into a sink.
pub(super) struct LineWriter<'a, W, G> {
    sink: &'a mut W,
    /// The line that says how many were lost.
    gap: G,
    lost: u64,
    /// The last line was written in part.
    is_torn: bool,
}

impl<'a, W: Write, G: Fn(u64) -> String> LineWriter<'a, W, G> {
    /// `gap` makes the line that says how many were lost.
    pub(super) fn new(sink: &'a mut W, gap: G) -> Self {
        LineWriter {
            sink,
            gap,
            lost: 0,
            is_torn: false,
        }
    }

    /// Writes a line, with its newline, or counts it.
    pub(super) fn write(&mut self, line: &str) {
        self.lose(0);
        if self.lost > 0 || !self.put(line.as_bytes()) {
            self.lost += 1;
        }
    }

    /// Lines were lost before they came here.
    pub(super) fn lose(&mut self, lines: u64) {
        self.lost += lines;
        if self.lost > 0 {
            let gap = (self.gap)(self.lost);
            if self.put(gap.as_bytes()) {
                self.lost = 0;
            }
        }
    }

    /// False if the sink fails.
    fn put(&mut self, line: &[u8]) -> bool {
        let is_ready = !self.is_torn || self.put_part(b"\n");
        is_ready && self.put_part(line)
    }

    fn put_part(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            // Standard error may be a terminal or a pipe that another process has made non-blocking.
            match self.sink.write(bytes) {
                Ok(count @ 1..) => {
                    bytes = &bytes[count..];
                    self.is_torn = !bytes.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(NEXT_TRY),
                Ok(0) | Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Has room for this many bytes; beyond that, writing is an error.
    struct Disk {
        room: usize,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.written.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of lines 1 to 3, and, once there is room again, of 4 and 5.
    fn after(room: usize) -> String {
        let mut disk = Disk {
            room,
            written: Vec::new(),
        };
        let gap = |lines| format!("{lines} lost\n");
        let mut lines = LineWriter::new(&mut disk, gap);
        for line in ["1\n", "2\n", "3\n"] {
            lines.write(line);
        }
        lines.sink.room = 100;
        for line in ["4\n", "5\n"] {
            lines.write(line);
        }
        String::from_utf8(disk.written).unwrap()
    }

    #[test]
    fn what_a_sink_does_not_take_is_counted_when_it_takes_something_again() {
        for (room, expected) in [
            (0, "3 lost\n4\n5\n"),
            (2, "1\n2 lost\n4\n5\n"),
            (6, "1\n2\n3\n4\n5\n"),
            // The rest of a line that was begun is not written elsewhere.
            (3, "1\n2\n2 lost\n4\n5\n"),
        ] {
            assert_eq!(after(room), expected, "{room}");
        }
    }

    #[test]
    fn lines_that_were_lost_before_are_counted_too() {
        let mut written = Vec::new();
        let mut lines = LineWriter::new(&mut written, |lines| format!("{lines} lost\n"));
        lines.write("1\n");
        lines.lose(7);
        lines.write("2\n");
        assert_eq!(written, b"1\n7 lost\n2\n");
    }
}
