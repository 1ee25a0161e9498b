"""Tiny checkpoints, changed so that their attention has the widths of the published models: heads of 64 and 128."""

import json
import math
import shutil
import struct
from pathlib import Path

SIZES = {"F32": 4, "BF16": 2, "F16": 2}


def read(path):
    """A safetensors file as {name: (type, shape, bytes)}."""
    data = Path(path).read_bytes()
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: (it["dtype"], it["shape"], data[8 + length + it["data_offsets"][0]:8 + length + it["data_offsets"][1]])
            for name, it in header.items()}


def write(path, tensors):
    header, at = {}, 0
    for name, (kind, shape, data) in tensors.items():
        assert len(data) == math.prod(shape) * SIZES[kind], name
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(head)) + head + b"".join(data for _, _, data in tensors.values()))


def repeated(tensor, times):
    """A tensor side by side with itself, so many times along each dimension."""
    kind, shape, data = tensor
    for axis in reversed(range(len(shape))):
        run = math.prod(shape[axis:]) * SIZES[kind]
        data = b"".join(data[at:at + run] * times[axis] for at in range(0, len(data), run))
        shape = [n * (times[axis] if i == axis else 1) for i, n in enumerate(shape)]
    return kind, shape, data


def halved(tensor):
    """Numbers of float32 or bfloat16 divided by two: sums over inputs that are there twice stay as large as they were."""
    kind, shape, data = tensor
    if kind == "BF16":
        data = b"".join(b"\0\0" + data[at:at + 2] for at in range(0, len(data), 2))
    else:
        assert kind == "F32", kind
    count = len(data) // 4
    return "F32", shape, struct.pack(f"<{count}f", *(x / 2 for x in struct.unpack(f"<{count}f", data)))


def _one_file(folder):
    files = list(folder.glob("*.safetensors"))
    assert len(files) == 1
    return files[0]


def with_one_head(source, to):
    """A checkpoint of FLUX or SD3.5 with 4 heads of 16 as one with a head of 64: nothing but norms of heads has its width. Its T5,
    where it has the size of FLUX's, gets one too."""
    to = Path(to)
    shutil.copytree(source, to)
    config = to / "transformer/config.json"
    said = json.loads(config.read_text())
    assert (said["num_attention_heads"], said["attention_head_dim"]) == (4, 16)
    said |= {"num_attention_heads": 1, "attention_head_dim": 64}
    if "axes_dims_rope" in said:
        said["axes_dims_rope"] = [16, 24, 24]
    config.write_text(json.dumps(said))
    file = _one_file(config.parent)
    write(file, {name: repeated(tensor, [4]) if tensor[1] == [16] and ".norm_" in name else tensor
                 for name, tensor in read(file).items()})
    for config in to.glob("text_encoder*/config.json"):
        said = json.loads(config.read_text())
        if said.get("model_type") == "t5" and (said["num_heads"], said["d_kv"]) == (4, 8):
            config.write_text(json.dumps(said | {"num_heads": 1, "d_kv": 64}))
            file = _one_file(config.parent)
            write(file, {name: _of_t5(name, tensor) for name, tensor in read(file).items()})


def _of_t5(name, tensor):
    """T5's four heads of 8 as one of 64, which looks at distances as the first of them did."""
    kind, (rows, columns, *_), data = tensor if len(tensor[1]) == 2 else (tensor[0], (0, 0), tensor[2])
    if name.endswith("relative_attention_bias.weight"):
        size = SIZES[kind]
        return kind, [rows, 1], b"".join(data[at:at + size] for at in range(0, len(data), size * columns))
    if name.endswith(("SelfAttention.q.weight", "SelfAttention.k.weight", "SelfAttention.v.weight")):
        return repeated(tensor, [2, 1])
    if name.endswith("SelfAttention.o.weight"):
        return halved(repeated(tensor, [1, 2]))
    return tensor


def with_a_wide_head(source, to):
    """A checkpoint of FLUX as one of twice the width, with a head of 128: everything is there twice."""
    with_one_head(source, to)
    config = Path(to, "transformer/config.json")
    said = json.loads(config.read_text()) | {"attention_head_dim": 128, "axes_dims_rope": [32, 48, 48]}
    config.write_text(json.dumps(said))

    def twice(name, tensor):
        shape = tensor[1]
        times = [2 if n % 64 == 0 else 1 for n in shape]
        # what comes from outside and what goes there stays as wide as it is: latents, and waves of the time
        if name.startswith("proj_out."):
            times[0] = 1
        elif name == "x_embedder.weight" or name.endswith("embedder.linear_1.weight"):
            times[1] = 1
        wider = repeated(tensor, times)
        return halved(wider) if len(shape) == 2 and times[1] == 2 else wider

    file = _one_file(config.parent)
    write(file, {name: twice(name, tensor) for name, tensor in read(file).items()})
