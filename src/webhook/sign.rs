//! `--sign-key-file`: signatures of request bodies as in Standard Webhooks (standardwebhooks.com), with HMAC-SHA256.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{Context, HMAC_SHA256, Key};
use ureq::http::HeaderName;

use crate::buffer::acks::Seq;
use crate::buffer::piece::Piece;
use crate::sys::random;
use crate::text::certificate::sha256;
use crate::text::hex;

/// The headers of a signed request.
pub const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("webhook-id"),
    HeaderName::from_static("webhook-timestamp"),
    HeaderName::from_static("webhook-signature"),
];
/// The old key and the new one.
const MAX_KEYS: usize = 2;
/// In bytes, by the standard.
const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
const MAKE: &str = "fix: make a key with `echo \"whsec_$(openssl rand -base64 32)\"`";

/// Signs bodies. Shows no key.
#[derive(Debug)]
pub struct Signer(Vec<Key>);

impl Signer {
    /// Reads a file of keys, a line each; a line that begins with # is a comment.
    ///
    /// # Errors
    /// Says what is wrong, without showing a key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = keys.map(key).collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            1..=MAX_KEYS => Ok(Signer(keys)),
            0 => Err(format!("contains no key; {MAKE}")),
            _ => {
                Err("contains more than two keys; fix: leave the new one and the one before".into())
            }
        }
    }

    /// The values of [`HEADERS`] for a body with this id, at this Unix time. With two keys there are two signatures, so
    /// that receivers may have either key.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[Piece]) -> [String; 3] {
        let signed = format!("{id}.{timestamp}.");
        let signatures = self.0.iter().map(|key| {
            let mut context = Context::with_key(key);
            context.update(signed.as_bytes());
            body.iter().for_each(|piece| context.update(piece));
            format!("v1,{}", STANDARD.encode(context.sign()))
        });
        let signatures = signatures.collect::<Vec<_>>().join(" ");
        [id.to_owned(), timestamp.to_string(), signatures]
    }
}

fn key(line: &str) -> Result<Key, String> {
    if line.starts_with("whsk_") || line.starts_with("whpk_") {
        return Err(format!(
            "contains an asymmetric key, which can't be used; {MAKE}"
        ));
    }
    let text = line.strip_prefix("whsec_").unwrap_or(line);
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| format!("contains a key that is not whsec_ and base64; {MAKE}"))?;
    match KEY_LENGTHS.contains(&bytes.len()) {
        true => Ok(Key::new(HMAC_SHA256, &bytes)),
        false => Err(format!(
            "contains a key of {} bytes, where 24 to 64 are wanted; {MAKE}",
            bytes.len()
        )),
    }
}

/// The id of a body with events of these numbers: the same whenever it is sent, and never that of another body, even of
/// another start or host. `msg_START_FIRST-LAST`, with a suffix if some in between are missing.
pub fn message_id(seqs: &[Range<Seq>]) -> String {
    let mut id = format!("msg_{:016x}", random::of_this_start());
    if let (Some(first), Some(last)) = (seqs.first(), seqs.last()) {
        id += &format!("_{}-{}", first.start, last.end.saturating_sub(1));
    }
    if seqs.len() > 1 {
        let numbers = seqs.iter().flat_map(|range| [range.start, range.end]);
        let numbers: Vec<u8> = numbers.flat_map(Seq::to_be_bytes).collect();
        id += &format!("_{}", hex::encode(&sha256(&numbers)[..8]));
    }
    id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn signatures_are_those_of_the_standards_own_example() {
        let text = "# old\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\n";
        let signer = Signer::parse(text).unwrap();
        let body = [&b"{\"test\": "[..], b"2432232314}"].map(|piece| Piece::from(piece.to_vec()));
        let [id, timestamp, signature] =
            signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, &body);
        assert_eq!(
            (&*id, &*timestamp),
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");

        let other = format!("{text}{}", STANDARD.encode([7; 64]));
        let [_, _, both] = Signer::parse(&other)
            .unwrap()
            .sign(&id, 1_614_265_330, &body);
        let both: Vec<_> = both.split(' ').collect();
        assert!(both.len() == 2 && both[0] == signature && both[1] != signature);
    }

    #[test]
    fn what_is_no_key_is_refused_unseen() {
        let long = STANDARD.encode([7; 65]);
        let key = STANDARD.encode([7; 24]);
        for text in [
            "",
            "#\n",
            "whsec_",
            "s3cret",
            "whsec_s3cret!",
            "whsk_s3cret",
            "czNjcmV0",
            &long,
            &[&*key; 3].join("\n"),
        ] {
            let error = Signer::parse(text).unwrap_err();
            assert!(
                !error.contains("s3cret") && !error.contains(&key) && error.contains("; fix: "),
                "{error}"
            );
        }
        assert!(!format!("{:?}", Signer::parse(&key).unwrap()).contains("7"));
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "ranges are what is meant")]
    fn the_same_events_have_the_same_id_and_others_another() {
        let bodies: &[&[Range<Seq>]] = &[
            &[],
            &[0..1],
            &[0..2],
            &[1..2],
            &[0..1, 2..3],
            &[0..1, 2..4],
            &[0..2, 3..4],
            &[0..4],
        ];
        let ids: BTreeSet<_> = bodies.iter().map(|seqs| message_id(seqs)).collect();
        assert_eq!(ids.len(), bodies.len());
        assert_eq!(message_id(&[5..9]), message_id(&[5..9]));
        assert!(message_id(&[5..9]).ends_with("_5-8"));
    }
}
