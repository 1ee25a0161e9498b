//! From when until when a certificate is valid: the one thing that has to be read from it here.
//!
//! A certificate is nested DER (X.690): a tag, a length, so many bytes. The way to the two dates is short (RFC 5280,
//! 4.1), so it is walked by hand.

use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The time in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: OffsetDateTime,
    pub(super) until: OffsetDateTime,
}

impl Validity {
    /// `None` where this is no certificate.
    pub(super) fn read(certificate: &[u8]) -> Option<Self> {
        let mut signed = Der(Der(certificate).take(SEQUENCE)?);
        let mut inner = Der(signed.take(SEQUENCE)?);
        if inner.0.first() == Some(&VERSION) {
            inner.take(VERSION)?;
        }
        inner.take(INTEGER)?; // serial number
        inner.take(SEQUENCE)?; // algorithm of the signature
        inner.take(SEQUENCE)?; // issuer
        let mut dates = Der(inner.take(SEQUENCE)?);
        Some(Self { from: dates.time()?, until: dates.time()? })
    }
}

/// What is left to read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // a length of up to four bytes, the highest first
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (*found == tag).then_some(content)
    }

    fn time(&mut self) -> Option<OffsetDateTime> {
        let tag = *self.0.first()?;
        let text = std::str::from_utf8(self.take(tag)?).ok()?;
        let text = match tag {
            GENERALIZED_TIME => text.to_owned(),
            // two digits of the year: 50 and above are of the last century
            UTC_TIME => format!("{}{text}", if text >= "50" { "19" } else { "20" }),
            _ => return None,
        };
        let format = format_description!("[year][month][day][hour][minute][second]Z");
        PrimitiveDateTime::parse(&text, format).ok().map(PrimitiveDateTime::assume_utc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dates_of_a_certificate_are_read_and_nonsense_is_not() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        // the first year is written with two digits, the second with four
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(1999, 2, 3), rcgen::date_time_ymd(2051, 4, 5));
        let certificate = params.self_signed(&key).expect("a certificate");
        let der = certificate.der().to_vec();
        let expected = Validity { from: params.not_before, until: params.not_after };
        assert_eq!(Validity::read(&der), Some(expected));
        for cut in 0..der.len() {
            assert_eq!(Validity::read(&der[..cut]), None, "cut at {cut}");
        }
        // whatever the bytes say, nothing panics
        for at in 0..der.len() {
            for value in [0x00, 0x7f, 0x80, 0x84, 0xff] {
                let mut bent = der.clone();
                bent[at] = value;
                let _ = Validity::read(&bent);
            }
        }
    }
}
