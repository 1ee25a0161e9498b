//! Which characters become which others: sentencepiece's compact table, a double array (Aoe, 1989) of what is replaced, in front
//! of the texts that replace it.

/// The table. Every step in it is checked: the file may be anybody's.
pub(super) struct Charsmap {
    units: Vec<u32>,
    /// Texts, each up to a zero byte.
    texts: Vec<u8>,
}

impl Charsmap {
    /// From the bytes of the file: the length of the array in bytes, the array, the texts.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let cut = || "its table of characters is cut short".to_owned();
        let (length, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
        let (array, texts) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut)?;
        let (units, odd) = array.as_chunks();
        if !odd.is_empty() || units.is_empty() {
            return Err("its table of characters is damaged".into());
        }
        if std::str::from_utf8(texts).is_err() {
            return Err("its table of characters has texts that are not UTF-8".into());
        }
        Ok(Self { units: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(), texts: texts.to_vec() })
    }

    /// The longest beginning of a text that is replaced: its bytes, and what stands in its place.
    pub(super) fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let (mut found, mut place) = (None, offset(*self.units.first()?));
        for (count, byte) in (1..).zip(text.bytes()) {
            place ^= usize::from(byte);
            let Some(unit) = self.units.get(place) else { break };
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            place ^= offset(*unit);
            let has_value = unit & 1 << 8 != 0;
            // inside a character nothing can end
            if let Some(value) = self.units.get(place).filter(|_| has_value && text.is_char_boundary(count)) {
                found = self.text((value & !(1 << 31)) as usize).map(|text| (count, text)).or(found);
            }
        }
        found
    }

    fn text(&self, start: usize) -> Option<&str> {
        let bytes = self.texts.get(start..)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).ok()
    }
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}
