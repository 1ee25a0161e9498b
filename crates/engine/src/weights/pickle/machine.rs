//! The stack machine: it writes down what a program would make.

use std::collections::HashMap;

use safetensors::Dtype;

/// Steps of a program.
pub(super) const MOST_STEPS: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// Where a tuple or a list of entries begins.
    Mark,
    /// None, true or false: nothing that counts here.
    Nothing,
    Number(i64),
    Text(&'a str),
    Global(Global),
    // places in the machine's lists
    Tuple(usize),
    Dictionary(usize),
    Storage(usize),
    Tensor(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    Storage(Dtype),
}

#[derive(Clone, Copy)]
pub(super) struct Storage<'a> {
    pub(super) dtype: Dtype,
    pub(super) name: &'a str,
    pub(super) length: usize,
}

#[derive(Clone)]
pub(super) struct View<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) shape: Vec<usize>,
    pub(super) offset: usize,
    pub(super) count: usize,
}

#[derive(Default)]
pub(super) struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    pub(super) stack: Vec<Value<'a>>,
    memo: HashMap<u32, Value<'a>>,
    pub(super) tuples: Vec<Vec<Value<'a>>>,
    pub(super) dictionaries: Vec<Vec<(Value<'a>, Value<'a>)>>,
    pub(super) storages: Vec<Storage<'a>>,
    pub(super) tensors: Vec<View<'a>>,
}

pub(super) type Outcome<T> = Result<T, String>;

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a [u8]) -> Self {
        Self { program, ..Self::default() }
    }

    /// Runs to the end: the dictionary that is left.
    pub(super) fn run(&mut self) -> Outcome<usize> {
        for _ in 0..MOST_STEPS {
            let instruction = self.byte()?;
            if instruction == b'.' {
                return match self.pop()? {
                    Value::Dictionary(place) => Ok(place),
                    _ => Err("its pickle holds no dictionary of tensors".into()),
                };
            }
            self.step(instruction)?;
        }
        Err(format!("its pickle takes more than {MOST_STEPS} steps"))
    }

    fn step(&mut self, instruction: u8) -> Outcome<()> {
        match instruction {
            // protocol and frames say how it was written, no more
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            b'N' | 0x88 | 0x89 => self.push(Value::Nothing),
            b'(' => self.push(Value::Mark),
            b'K' | b'M' | b'J' | 0x8a => self.whole_number(instruction),
            b'X' | 0x8c => self.text(instruction),
            b')' | b't' | 0x85..=0x87 => self.tuple(instruction),
            b'}' => self.dictionary(),
            b's' | b'u' => self.entries(instruction),
            b'q' | b'r' | 0x94 => self.remember(instruction),
            b'h' | b'j' => self.recall(instruction),
            b'c' | 0x93 => self.global(instruction),
            b'Q' => self.storage(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            other => Err(format!("its pickle has the instruction 0x{other:02x}, which no dictionary of tensors needs")),
        }
    }

    // ------------------------------------------------------------------------------------------ plain values

    fn whole_number(&mut self, instruction: u8) -> Outcome<()> {
        let bytes = match instruction {
            b'K' => self.take(1)?,
            b'M' => self.take(2)?,
            b'J' => self.take(4)?,
            _ => {
                let length = usize::from(self.byte()?);
                self.take(length)?
            }
        };
        if bytes.len() > 8 {
            return Err("its pickle has a number of more than 64 bits".into());
        }
        let signed = matches!(instruction, b'J' | 0x8a) && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let start = if signed { -1 } else { 0 };
        let value = bytes.iter().rev().fold(start, |value: i64, byte| value << 8 | i64::from(*byte));
        self.push(Value::Number(value))
    }

    fn text(&mut self, instruction: u8) -> Outcome<()> {
        let length = if instruction == b'X' { self.count(4)? } else { self.count(1)? };
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "its pickle has a text that is not UTF-8")?;
        self.push(Value::Text(text))
    }

    fn tuple(&mut self, instruction: u8) -> Outcome<()> {
        let items = match instruction {
            b')' => Vec::new(),
            b't' => self.since_mark()?,
            counted => {
                let first = self.stack.len().checked_sub(usize::from(counted - 0x84)).ok_or_else(empty)?;
                self.stack.split_off(first)
            }
        };
        if items.iter().any(|item| matches!(item, Value::Mark)) {
            return Err(empty());
        }
        self.tuples.push(items);
        self.push(Value::Tuple(self.tuples.len() - 1))
    }

    pub(super) fn dictionary(&mut self) -> Outcome<()> {
        self.dictionaries.push(Vec::new());
        self.push(Value::Dictionary(self.dictionaries.len() - 1))
    }

    fn entries(&mut self, instruction: u8) -> Outcome<()> {
        let items = if instruction == b'u' {
            self.since_mark()?
        } else {
            let first = self.stack.len().checked_sub(2).ok_or_else(empty)?;
            self.stack.split_off(first)
        };
        let Some(Value::Dictionary(place)) = self.stack.last() else {
            return Err("its pickle puts entries into something that is not a dictionary".into());
        };
        if !items.len().is_multiple_of(2) {
            return Err(empty());
        }
        self.dictionaries[*place].extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn remember(&mut self, instruction: u8) -> Outcome<()> {
        let place = match instruction {
            b'q' => u32::from(self.byte()?),
            b'r' => self.count(4)? as u32,
            _ => self.memo.len() as u32,
        };
        let value = *self.stack.last().ok_or_else(empty)?;
        self.memo.insert(place, value);
        Ok(())
    }

    fn recall(&mut self, instruction: u8) -> Outcome<()> {
        let place = if instruction == b'h' { u32::from(self.byte()?) } else { self.count(4)? as u32 };
        let value = self.memo.get(&place).copied().ok_or("its pickle recalls what it never remembered")?;
        self.push(value)
    }

    // ------------------------------------------------------------------------------------- stack and program

    pub(super) fn push(&mut self, value: Value<'a>) -> Outcome<()> {
        self.stack.push(value);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Outcome<Value<'a>> {
        self.stack.pop().ok_or_else(empty)
    }

    /// What lies above the last mark, which goes.
    fn since_mark(&mut self) -> Outcome<Vec<Value<'a>>> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark)).ok_or_else(empty)?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn byte(&mut self) -> Outcome<u8> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, length: usize) -> Outcome<&'a [u8]> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.program.get(self.at..end)).ok_or("its pickle is cut short")?;
        self.at += length;
        Ok(taken)
    }

    fn count(&mut self, bytes: usize) -> Outcome<usize> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    pub(super) fn line(&mut self) -> Outcome<&'a str> {
        let rest = &self.program[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("its pickle is cut short")?;
        let line = self.take(length)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| "its pickle names something that is not UTF-8".to_owned())
    }
}

/// A program that takes what nobody put there.
pub(super) fn empty() -> String {
    "its pickle takes values that it never made".into()
}
