//! Masks headers in texts: `Cookie: …`, up to the end of the line, or of the string that contains it.

use memchr::memrchr_iter;

use super::authorization::{is_signed, secret_in};
use super::mask::{Pass, backslashes, depth_of, ends_line};
use super::name::{behind_blanks, unescaped};
use super::secrets::Kind;
use super::work::looked_at;

impl Pass<'_> {
    /// Masks what follows a header's colon.
    pub(super) fn mask_header(&mut self, behind_colon: usize, kind: Kind) {
        let depth = self.depth_of_string(behind_colon);
        let value = behind_blanks(&self.lines[behind_colon..], b" \t", unescaped);
        let start = self.lines.len() - value.len();
        // The end of a line that is left as it is may be far away, and there may be many headers in the line.
        if is_signed(value, kind) {
            return;
        }
        let mut end = self.end_of_text(start, unescaped, ends_line(depth));
        if let Some((b'"', behind)) = unescaped(&self.lines[end..])
            && !matches!(
                behind_blanks(behind, b" \t\r\n", unescaped),
                [b',' | b']' | b'}' | b':', ..]
            )
        {
            // It is not JSON, though it looked like that.
            end = self.end_of_text(end, unescaped, ends_line(0));
        }
        if let Some(secret) = secret_in(&self.lines[start..end], kind) {
            self.mask(start + secret, end);
        }
    }

    /// How many backslashes are before the quotes of the string that contains this byte: none in the event's own, and
    /// some in JSON within JSON. Where that is not certain, it is the event's own: too much is masked then.
    fn depth_of_string(&mut self, at: usize) -> usize {
        self.copy_up_to(at);
        let text = &self.lines[self.searched..self.written];
        // A string that is not the innermost one has ended if a quote of its depth, or a lesser one, follows.
        let mut least = usize::MAX;
        let found = memrchr_iter(b'"', text).find_map(|quote| {
            let depth = depth_of(backslashes(&text[..quote]));
            let is_sure = depth < least && (depth == 0 || begins_value(&text[..quote - depth]));
            least = least.min(depth);
            is_sure.then_some((quote, depth))
        });
        looked_at(2 * (text.len() - found.map_or(0, |(quote, _)| quote)));
        let known = Some(self.header_depth).filter(|depth| *depth < least);
        self.header_depth = found.map_or(known.unwrap_or(0), |(_, depth)| depth);
        self.searched = self.written;
        self.header_depth
    }
}

/// Whether a quote that follows begins a string of JSON: a member's value, or an element of an array.
fn begins_value(before: &[u8]) -> bool {
    match before.trim_ascii_end() {
        [before @ .., b':' | b','] => before.trim_ascii_end().ends_with(b"\""),
        [before @ .., b'['] => before.trim_ascii_end().ends_with(b":"),
        _ => false,
    }
}
