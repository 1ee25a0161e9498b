#!/usr/bin/env python3
"""Write what `torch.save` writes for a dictionary of tensors, with Python's own pickle and zip modules: `make_torch.py OUT`.

Stand-ins for torch's classes give the pickles the same instructions in the same order; so no torch is needed, and the
program that reads the file is tested with the program that makes such files. The two differ in their protocol: torch's own
is 2, and 4 is what a caller may choose. `torch_itself.bin` has the same contents and was written by torch 2.15.
"""
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path

torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
sys.modules.update({"torch": torch, "torch._utils": utils})


def global_name(thing, module, name):
    thing.__module__, thing.__name__, thing.__qualname__ = module.__name__, name, name
    setattr(module, name, thing)
    return thing


def rebuild(*arguments):
    raise NotImplementedError


rebuild = global_name(rebuild, utils, "_rebuild_tensor_v2")
STORAGES = {code: global_name(type(name, (), {}), torch, name)
            for code, name in (("f", "FloatStorage"), ("e", "HalfStorage"), ("b", "BFloat16Storage"))}


class Storage:
    def __init__(self, code, values):
        self.code, self.values, self.key = code, values, None

    def data(self):
        if self.code == "b":
            return b"".join(struct.pack("<f", value)[2:] for value in self.values)
        return struct.pack(f"<{len(self.values)}{self.code}", *self.values)


class Tensor:
    def __init__(self, storage, size, offset=0):
        self.storage, self.size, self.offset = storage, size, offset

    def __reduce_ex__(self, protocol):
        strides = []
        for size in reversed(self.size):
            strides.insert(0, strides[0] * last if strides else 1)
            last = size
        return rebuild, (self.storage, self.offset, self.size, tuple(strides), False, OrderedDict())


class Pickler(pickle.Pickler):
    def __init__(self, file, protocol):
        super().__init__(file, protocol)
        self.storages = []

    def persistent_id(self, thing):
        if not isinstance(thing, Storage):
            return None
        if thing.key is None:
            thing.key = str(len(self.storages))
            self.storages.append(thing)
        return "storage", STORAGES[thing.code], thing.key, "cpu", len(thing.values)


def contents():
    """Two dictionaries, as adapters have: one is a module's state, whose attributes are pickled too."""
    shared = Storage("f", [i / 2 for i in range(12)])
    state = OrderedDict([("latents", Tensor(Storage("e", [0.5, -1.0, 2.0]), (1, 3))),
                         ("norm.weight", Tensor(shared, (2, 3)))])
    state._metadata = OrderedDict([("", {"version": 1})])
    return {"image_proj": state,
            "ip_adapter": {"0.to_k_ip.weight": Tensor(Storage("b", [1.0, -3.5]), (2,)),
                           "0.to_v_ip.weight": Tensor(shared, (2, 2), offset=8)}}


def main():
    out = Path(sys.argv[1])
    for protocol in (2, 4):
        program = BytesIO()
        pickler = Pickler(program, protocol)
        pickler.dump(contents())
        with zipfile.ZipFile(out / f"torch_{protocol}.bin", "w", zipfile.ZIP_STORED) as archive:
            def write(name, data):
                archive.writestr(zipfile.ZipInfo(f"ip-adapter/{name}"), data)

            write("data.pkl", program.getvalue())
            write("byteorder", b"little")
            for storage in pickler.storages:
                write(f"data/{storage.key}", storage.data())
            write("version", b"3\n")


if __name__ == "__main__":
    main()
