//! Pickles that describe tensors, read by an interpreter that can do nothing else.
//!
//! A pickle is a program for a stack machine, and Python's runs whatever the program names. This one knows the few
//! instructions that `torch.save` writes for a dictionary of tensors, and three names: `collections.OrderedDict`,
//! `torch._utils._rebuild_tensor_v2` and torch's storages of float32, float16 and bfloat16. None of them is called: what
//! they would make is written down. Everything else is an error that says what was asked for.
//!
//! Values are small and lie in lists that the program fills; it may take so many steps, so its lists are bounded. Nothing is
//! nested in memory, so nothing can be nested too deeply.

use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;

use super::archive::shown;

/// Bytes of a program. Those of real files have some ten thousand.
const LONGEST: usize = 4 << 20;
/// Steps of a program.
const MOST_STEPS: usize = 1 << 20;
/// Tensors and dictionaries, each counted as often as it is named.
const MOST_ENTRIES: usize = 1 << 14;
/// How deeply dictionaries may lie in each other.
const DEEPEST: usize = 4;
/// Bytes of a tensor's name with those of the dictionaries around it.
const LONGEST_NAME: usize = 512;
/// Dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// A tensor as the program describes it. Its numbers are contiguous.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pickled<'a> {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// The storage's name, which is digits.
    pub(super) storage: &'a str,
    /// Numbers in the storage, the first of them that counts, and how many do.
    pub(super) length: usize,
    pub(super) offset: usize,
    pub(super) count: usize,
}

/// Reads a program. Names of nested dictionaries are joined by dots.
///
/// # Errors
/// What is wrong with it, or what it asks for beyond tensors.
pub(super) fn tensors(program: &[u8]) -> Result<BTreeMap<String, Pickled<'_>>, String> {
    if program.len() > LONGEST {
        return Err(format!("its pickle has {} bytes; at most {LONGEST} are read", program.len()));
    }
    let mut machine = Machine { program, ..Machine::default() };
    let root = machine.run()?;
    let mut found = BTreeMap::new();
    machine.collect(root, "", 1, &mut 0, &mut found)?;
    Ok(found)
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
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
enum Global {
    OrderedDict,
    RebuildTensor,
    Storage(Dtype),
}

#[derive(Clone, Copy)]
struct Storage<'a> {
    dtype: Dtype,
    name: &'a str,
    length: usize,
}

#[derive(Clone)]
struct View<'a> {
    storage: Storage<'a>,
    shape: Vec<usize>,
    offset: usize,
    count: usize,
}

#[derive(Default)]
struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    memo: HashMap<u32, Value<'a>>,
    tuples: Vec<Vec<Value<'a>>>,
    dictionaries: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<Storage<'a>>,
    tensors: Vec<View<'a>>,
}

type Outcome<T> = Result<T, String>;

impl<'a> Machine<'a> {
    /// Runs to the end: the dictionary that is left.
    fn run(&mut self) -> Outcome<usize> {
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
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "its pickle has a text that is no UTF-8")?;
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

    fn dictionary(&mut self) -> Outcome<()> {
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
            return Err("its pickle puts entries into something that is no dictionary".into());
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

    // --------------------------------------------------------------------------------------- the three names

    fn global(&mut self, instruction: u8) -> Outcome<()> {
        let (module, name) = if instruction == b'c' {
            (self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            let (Value::Text(module), Value::Text(name)) = (module, name) else { return Err(empty()) };
            (module, name)
        };
        let global = match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch", "FloatStorage") => Global::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Global::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Global::Storage(Dtype::BF16),
            _ => {
                return Err(format!(
                    "its pickle asks for {}, and only tensors of float32, float16 and bfloat16 are read from pickles: \
                     nothing in them is executed",
                    shown(&format!("{module}.{name}")),
                ));
            }
        };
        self.push(Value::Global(global))
    }

    /// `("storage", type, name, device, numbers)`.
    fn storage(&mut self) -> Outcome<()> {
        let wrong = || "its pickle names a storage in an unknown way".to_owned();
        let Value::Tuple(place) = self.pop()? else { return Err(wrong()) };
        let [
            Value::Text("storage"),
            Value::Global(Global::Storage(dtype)),
            Value::Text(name),
            _,
            Value::Number(length),
        ] = self.tuples[place][..]
        else {
            return Err(wrong());
        };
        if name.is_empty() || name.len() > 20 || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("its pickle names a storage {}; numbers are expected", shown(name)));
        }
        let length = usize::try_from(length).map_err(|_| wrong())?;
        self.storages.push(Storage { dtype, name, length });
        self.push(Value::Storage(self.storages.len() - 1))
    }

    fn reduce(&mut self) -> Outcome<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Global(callee)) = (arguments, callee) else {
            return Err("its pickle calls something that is no function".into());
        };
        match (callee, &self.tuples[arguments][..]) {
            (Global::OrderedDict, []) => self.dictionary(),
            (Global::RebuildTensor, [Value::Storage(storage), Value::Number(offset), shape, strides, ..]) => {
                let view = self.view(*storage, *offset, *shape, *strides)?;
                self.tensors.push(view);
                self.push(Value::Tensor(self.tensors.len() - 1))
            }
            _ => Err("its pickle calls a function in an unknown way".into()),
        }
    }

    /// Python's attributes of a dictionary, such as the versions of a model's modules: of no use here.
    fn build(&mut self) -> Outcome<()> {
        match (self.pop()?, self.stack.last()) {
            (Value::Dictionary(_), Some(Value::Dictionary(_))) => Ok(()),
            _ => Err("its pickle gives attributes to something that has none".into()),
        }
    }

    fn view(&self, storage: usize, offset: i64, shape: Value<'a>, strides: Value<'a>) -> Outcome<View<'a>> {
        let storage = self.storages[storage];
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        let offset = usize::try_from(offset).map_err(|_| "its pickle begins a tensor before its storage")?;
        if shape.len() > MOST_DIMENSIONS || shape.len() != strides.len() {
            return Err(format!("its pickle has a tensor with the shape {shape:?} and the strides {strides:?}"));
        }
        let mut count = 1usize;
        for (size, stride) in shape.iter().zip(&strides).rev() {
            if *size != 1 && *stride != count {
                return Err("its pickle has a tensor that is not contiguous: save it again after .contiguous()".into());
            }
            count = count.checked_mul(*size).ok_or("its pickle has a tensor larger than any memory")?;
        }
        match offset.checked_add(count) {
            Some(end) if end <= storage.length => Ok(View { storage, shape, offset, count }),
            _ => Err(format!("its pickle has a tensor that reaches beyond its storage of {} numbers", storage.length)),
        }
    }

    fn sizes(&self, value: Value<'a>) -> Outcome<Vec<usize>> {
        let Value::Tuple(place) = value else { return Err("its pickle has a shape that is no tuple".into()) };
        let size = |item: &Value<'a>| match item {
            Value::Number(size) => usize::try_from(*size).map_err(|_| "its pickle has a negative size".to_owned()),
            _ => Err("its pickle has a size that is no number".into()),
        };
        self.tuples[place].iter().map(size).collect()
    }

    // ------------------------------------------------------------------------------------------- the result

    /// Writes down the tensors of a dictionary and of those within it.
    fn collect(
        &self,
        dictionary: usize,
        prefix: &str,
        depth: usize,
        seen: &mut usize,
        found: &mut BTreeMap<String, Pickled<'a>>,
    ) -> Outcome<()> {
        for (key, value) in &self.dictionaries[dictionary] {
            *seen += 1;
            let Value::Text(key) = key else { return Err("its pickle has an entry whose name is no text".into()) };
            if *seen > MOST_ENTRIES || depth > DEEPEST || prefix.len() + key.len() > LONGEST_NAME {
                return Err("its pickle has more tensors than any model, or nests them too deeply".into());
            }
            let name = format!("{prefix}{key}");
            match value {
                Value::Dictionary(inner) => self.collect(*inner, &format!("{name}."), depth + 1, seen, found)?,
                Value::Tensor(place) => {
                    let View { storage, shape, offset, count } = self.tensors[*place].clone();
                    let Storage { dtype, name: storage, length } = storage;
                    let tensor = Pickled { dtype, shape, storage, length, offset, count };
                    if found.insert(name, tensor).is_some() {
                        return Err(format!("its pickle has two tensors of the name {}", shown(key)));
                    }
                }
                _ => return Err(format!("its pickle holds {}, which is no tensor", shown(&name))),
            }
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------- stack and program

    fn push(&mut self, value: Value<'a>) -> Outcome<()> {
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Outcome<Value<'a>> {
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

    fn line(&mut self) -> Outcome<&'a str> {
        let rest = &self.program[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("its pickle is cut short")?;
        let line = self.take(length)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| "its pickle names something that is no UTF-8".to_owned())
    }
}

/// A program that takes what nobody put there.
fn empty() -> String {
    "its pickle takes values that it never made".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that ends with what stands on the stack.
    fn refused(program: &[u8]) -> String {
        tensors(&[b"\x80\x02", program, b"."].concat()).expect_err("it is refused")
    }

    /// A dictionary of one tensor with these arguments behind its storage of six numbers.
    fn tensor(arguments: &[u8]) -> Vec<u8> {
        let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ";
        [
            &b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n("[..],
            storage,
            arguments,
            b"\x89ccollections\nOrderedDict\n)RtRs",
        ]
        .concat()
    }

    #[test]
    fn nothing_is_called_but_three_names() {
        for (program, asked) in [
            (&b"cposix\nsystem\nX\x04\0\0\0echo\x85R"[..], "posix.system"),
            (b"cbuiltins\neval\nX\x01\0\0\x001\x85R", "builtins.eval"),
            (b"ctorch._utils\n_rebuild_parameter\n)R", "torch._utils._rebuild_parameter"),
            (b"\x8c\x02os\x8c\x06system\x93", "os.system"),
            (b"ctorch\nLongStorage\n", "torch.LongStorage"),
        ] {
            let said = refused(program);
            assert!(said.contains(asked) && said.contains("nothing in them is executed"), "{said}");
        }
        // instructions that make objects in other ways
        for (program, code) in
            [(&b"(iposix\nsystem\n"[..], "0x69"), (b"(o", "0x6f"), (b"\x82\x01", "0x82"), (b")\x81", "0x81")]
        {
            assert!(refused(program).contains(code));
        }
        assert!(refused(b"K\x01K\x01R").contains("no function"));
        assert!(refused(b"ccollections\nOrderedDict\nK\x01\x85R").contains("unknown way"));
        assert!(refused(b"ctorch\nFloatStorage\n)R").contains("unknown way"));
        let said = refused(&[&b"c"[..], &[b'x'; 5000], b"\n\x1b[31m\n"].concat());
        assert!(said.len() < 400 && !said.contains('\x1b'), "{said}");
    }

    #[test]
    fn what_is_no_dictionary_of_tensors_is_refused() {
        for (program, why) in [
            (&b"K\x01"[..], "no dictionary"),
            (b"N", "no dictionary"),
            (b"}X\x01\0\0\0aK\x01s", "\"a\", which is no tensor"),
            (b"}K\x01}s", "name is no text"),
            (b"", "never made"),
            (b"(", "no dictionary"),
            (b"}(K\x01u", "never made"),
            (b"NNNs", "no dictionary"),
            (b"h\x05", "never remembered"),
            (b"}Nb", "attributes"),
            (b"\x8a\x09123456789", "64 bits"),
            (b"X\xff\xff\xff\xffa", "cut short"),
            (b"cposix", "cut short"),
            (b"X\x01\0\0\0\xff", "UTF-8"),
            (b"NQ", "unknown way"),
        ] {
            let said = refused(program);
            assert!(said.contains(why), "{program:?}: {said}");
        }
    }

    #[test]
    fn a_tensor_must_lie_in_its_storage_contiguously() {
        let read = |arguments: &[u8]| {
            tensors(&[b"\x80\x02", &tensor(arguments)[..], b"."].concat()).map(|found| found["a"].count)
        };
        assert_eq!(read(b"K\0K\x02K\x03\x86K\x03K\x01\x86"), Ok(6));
        assert_eq!(read(b"K\x04K\x02\x85K\x01\x85"), Ok(2));
        assert_eq!(
            read(b"K\x05)".iter().chain(b")").copied().collect::<Vec<u8>>().as_slice()),
            Ok(1),
            "a single number"
        );
        assert_eq!(read(b"K\0K\x01K\x06\x86K\x63K\x01\x86"), Ok(6), "the stride of a single row says nothing");
        for (arguments, why) in [
            (&b"K\x01K\x02K\x03\x86K\x03K\x01\x86"[..], "beyond its storage"),
            (b"K\0K\x07\x85K\x01\x85", "beyond its storage"),
            (b"K\0K\x03K\x02\x86K\x01K\x03\x86", "not contiguous"),
            (b"K\0K\x03K\x02\x86K\0K\0\x86", "not contiguous"),
            (b"K\0K\x02K\x03\x86K\x01\x85", "the strides"),
            (b"J\xff\xff\xff\xffK\x01\x85K\x01\x85", "before its storage"),
            (b"K\0J\xff\xff\xff\xff\x85K\x01\x85", "negative size"),
            (b"K\0N\x85K\x01\x85", "no number"),
            (b"K\0NN", "no tuple"),
            (b"K\0\x8a\x08\0\0\0\0\0\0\0\x40K\x04\x86K\x04K\x01\x86", "larger than any memory"),
        ] {
            let said = read(arguments).expect_err("it is refused");
            assert!(said.contains(why), "{arguments:?}: {said}");
        }
    }

    #[test]
    fn programs_cannot_take_more_than_they_are_long() {
        assert!(refused(&vec![b'N'; LONGEST]).contains("at most"));
        assert!(refused(&vec![b'N'; MOST_STEPS + 1]).contains("steps"));
        // a dictionary within itself; and eight levels of the same one, named again and again
        assert!(refused(b"}q\0X\x01\0\0\0ah\0s").contains("too deeply"));
        let mut program = b"}q\0".to_vec();
        for level in 0..4u8 {
            program.extend([b'}', b'q', level + 1, b'(']);
            (0..200u8).for_each(|i| program.extend([b'X', 2, 0, 0, 0, b'a' + i % 26, b'a' + i / 26, b'h', level]));
            program.push(b'u');
        }
        assert!(refused(&program).contains("more tensors than any model"));
    }
}
