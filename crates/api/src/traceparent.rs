//! `traceparent`, by which programs say what a request belongs to (W3C Trace Context, level 2).

use std::fmt;

/// The place of a request in a trace: which trace, and what in it comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Traceparent {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
}

/// The flags of version 00: sampled, and a random trace id.
const FLAGS: u8 = 0b11;

/// The length of version 00; later ones may be longer.
const LENGTH: usize = 55;

/// No version is longer than this by far; what is, is not read.
const LONGEST: usize = 512;

impl Traceparent {
    /// The header. `None` for ids that mean nothing: all zeros.
    #[must_use]
    pub fn new(trace_id: [u8; 16], parent_id: [u8; 8], flags: u8) -> Option<Self> {
        let is_one = trace_id != [0; 16] && parent_id != [0; 8];
        is_one.then_some(Self { trace_id, parent_id, flags: flags & FLAGS })
    }

    /// What a caller sent, if it is one: `00-TRACE-PARENT-FLAGS` in lowercase hexadecimal, or of a later version, which is read
    /// as far as this one goes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        if !dashes || bytes.len() < LENGTH || bytes.len() > LONGEST {
            return None;
        }
        let [version] = hex(&bytes[..2])?;
        let fits = match version {
            0 => bytes.len() == LENGTH,
            0xff => false,
            _ => bytes.len() == LENGTH || bytes[LENGTH] == b'-',
        };
        let [flags] = hex(&bytes[53..55])?;
        let (trace_id, parent_id) = (hex(&bytes[3..35])?, hex(&bytes[36..52])?);
        if fits { Self::new(trace_id, parent_id, flags) } else { None }
    }

    /// The id of the trace.
    #[must_use]
    pub fn trace_id(self) -> [u8; 16] {
        self.trace_id
    }

    /// The id of what comes before.
    #[must_use]
    pub fn parent_id(self) -> [u8; 8] {
        self.parent_id
    }

    /// The lowest bit says that the trace is recorded.
    #[must_use]
    pub fn flags(self) -> u8 {
        self.flags
    }
}

/// As version 00 writes it.
impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.parent_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", self.flags)
    }
}

/// Bytes from lowercase digits, twice as many.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_comes_back_as_it_was() {
        let read = Traceparent::parse(GOOD).expect("a good one");
        assert_eq!((read.to_string().as_str(), read.flags()), (GOOD, 1));
        assert_eq!((read.trace_id()[0], read.parent_id()[7]), (0x0a, 0x31));
    }

    #[test]
    fn later_versions_are_read_as_far_as_this_one_goes() {
        for later in ["01", "cc", "fe"] {
            for more in ["", "-", "-what-ever-follows"] {
                let text = format!("{later}{}{more}", &GOOD[2..]);
                assert_eq!(Traceparent::parse(&text).map(|read| read.to_string()).as_deref(), Some(GOOD), "{text}");
            }
        }
        let flags = format!("{}ff", &GOOD[..53]);
        assert_eq!(Traceparent::parse(&flags).map(Traceparent::flags), Some(3), "those that are not known are dropped");
    }

    #[test]
    fn nothing_else_is_one() {
        let zero = |from: usize, to: usize| format!("{}{}{}", &GOOD[..from], "0".repeat(to - from), &GOOD[to..]);
        for bad in [
            String::new(),
            "-".repeat(55),
            zero(3, 35),
            zero(36, 52),
            GOOD.to_uppercase(),
            format!("ff{}", &GOOD[2..]),
            format!("{GOOD}-"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
            format!("01{}x", &GOOD[2..]),
            GOOD[..54].to_owned(),
            GOOD.replace('-', "_"),
            GOOD.replace("0af7", "0ag7"),
            GOOD.replace("0af7", "0é7"),
            format!("01{}-{}", &GOOD[2..], "x".repeat(500)),
        ] {
            assert_eq!(Traceparent::parse(&bad), None, "{bad:?}");
        }
    }
}
