//! Masks headers in texts: `Cookie: …`, up to the end of the line, or of the string that contains it.

use memchr::memrchr_iter;

use super::mask::{Kind, Pass, backslashes, is_signed};
use super::name::{behind_blanks, unescaped};
use super::work::looked_at;

impl Pass<'_> {
    /// Masks what follows a header's colon, which is escaped as in URLs if `is_in_url`: then up to the parameter's end.
    pub(super) fn mask_header(&mut self, behind_colon: usize, is_in_url: bool, kind: Kind) {
        let depth = self.depth_of_string(behind_colon);
        let value = behind_blanks(&self.lines[behind_colon..], b" \t", unescaped);
        let start = self.lines.len() - value.len();
        // The end of a line that is left as it is may be far away, and there may be many headers in the line.
        if is_signed(value, kind) {
            return;
        }
        let is_in_url = is_in_url && start == behind_colon;
        let end = self.end_of_text(start, unescaped, |byte, behind| match byte {
            b'"' => self.depth_of_quote(self.lines.len() - behind.len() - 1) <= depth,
            b' ' | b'&' => is_in_url,
            _ => byte < b' ' && byte != b'\t',
        });
        if let Some(secret) = self.secret_of(start, end, kind) {
            self.mask(secret, end);
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
            let depth = self.depth_of_quote(self.searched + quote);
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

    /// How many backslashes belong to this quote. Those that it has beyond them stand for backslashes in the string.
    fn depth_of_quote(&self, quote: usize) -> usize {
        let before = match self.lines[quote] {
            b'"' => &self.lines[..quote],
            // `\u0022`
            _ => &self.lines[..quote - b"u002".len()],
        };
        let backslashes = backslashes(before);
        looked_at(backslashes);
        backslashes & !(backslashes + 1)
    }
}

/// Whether a quote that follows begins a string of JSON: a member's value, or an element of an array.
fn begins_value(before: &[u8]) -> bool {
    match before.trim_ascii_end() {
        [before @ .., b':' | b',' | b'['] => {
            matches!(before.trim_ascii_end(), [.., b'"' | b':'])
        }
        _ => false,
    }
}
