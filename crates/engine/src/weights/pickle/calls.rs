//! The three names that a program may use, and what it may do with them.

use safetensors::Dtype;

use super::machine::{Global, Machine, Outcome, Storage, Value, View, empty};
use super::shown;

/// Dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

impl<'a> Machine<'a> {
    pub(super) fn global(&mut self, instruction: u8) -> Outcome<()> {
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
    pub(super) fn storage(&mut self) -> Outcome<()> {
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

    pub(super) fn reduce(&mut self) -> Outcome<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Global(callee)) = (arguments, callee) else {
            return Err("its pickle calls something that is not a function".into());
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
    pub(super) fn build(&mut self) -> Outcome<()> {
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
        let Value::Tuple(place) = value else { return Err("its pickle has a shape that is not a tuple".into()) };
        let size = |item: &Value<'a>| match item {
            Value::Number(size) => usize::try_from(*size).map_err(|_| "its pickle has a negative size".to_owned()),
            _ => Err("its pickle has a size that is not a number".into()),
        };
        self.tuples[place].iter().map(size).collect()
    }
}
