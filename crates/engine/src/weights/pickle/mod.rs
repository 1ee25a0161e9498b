//! Pickles that describe tensors, read by an interpreter that can do nothing else.
//!
//! A pickle is a program for a stack machine, and Python's runs whatever the program names. This one knows the few
//! instructions that `torch.save` writes for a dictionary of tensors, and three names: `collections.OrderedDict`,
//! `torch._utils._rebuild_tensor_v2` and torch's storages of float32, float16 and bfloat16. None of them is called: what
//! they would make is written down. Everything else is an error that says what was asked for.
//!
//! Values are small and lie in lists that the program fills; it may take so many steps, so its lists are bounded. Nothing is
//! nested in memory, so nothing can be nested too deeply.

mod calls;
mod machine;

use std::collections::BTreeMap;

use safetensors::Dtype;

use super::archive::shown;
use machine::{Machine, Storage, Value, View};

/// Bytes of a program. Those of real files have some ten thousand.
const LONGEST: usize = 4 << 20;
/// Tensors and dictionaries, each counted as often as it is named.
const MOST_ENTRIES: usize = 1 << 14;
/// How deeply dictionaries may lie in each other.
const DEEPEST: usize = 4;
/// Bytes of a tensor's name with those of the dictionaries around it.
const LONGEST_NAME: usize = 512;

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
    let mut machine = Machine::new(program);
    let root = machine.run()?;
    let mut found = BTreeMap::new();
    machine.collect(root, "", 1, &mut 0, &mut found)?;
    Ok(found)
}

impl<'a> Machine<'a> {
    /// Writes down the tensors of a dictionary and of those within it.
    fn collect(
        &self,
        dictionary: usize,
        prefix: &str,
        depth: usize,
        seen: &mut usize,
        found: &mut BTreeMap<String, Pickled<'a>>,
    ) -> Result<(), String> {
        for (key, value) in &self.dictionaries[dictionary] {
            *seen += 1;
            let Value::Text(key) = key else { return Err("its pickle has an entry whose name is not a text".into()) };
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
                _ => return Err(format!("its pickle holds {}, which is not a tensor", shown(&name))),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::machine::MOST_STEPS;
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
        assert!(refused(b"K\x01K\x01R").contains("not a function"));
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
            (b"}X\x01\0\0\0aK\x01s", "\"a\", which is not a tensor"),
            (b"}K\x01}s", "name is not a text"),
            (b"", "never made"),
            (b"(", "no dictionary"),
            (b"}(K\x01u", "never made"),
            (b"NNNs", "not a dictionary"),
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
            (b"K\0N\x85K\x01\x85", "not a number"),
            (b"K\0NN", "not a tuple"),
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
