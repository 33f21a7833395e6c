"""Safetensors files with the standard library: enough for the examples, F32 only.

    python3 tensors.py new FILE COUNT      a tensor "w" of COUNT numbers
    python3 tensors.py show FILE           names, shapes, the first numbers
"""

import array
import json
import os
import struct
import sys

MAX_HEADER = 100 << 20  # bytes, as the format's own reader has it


def read(path):
    """Return {name: array of floats}. Content is checked before it is used: it
    comes from others."""
    size = os.path.getsize(path)
    with open(path, "rb") as f:
        prefix = f.read(8)
        if len(prefix) < 8:
            raise ValueError(f"{path} is no safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        if length > min(MAX_HEADER, size - 8):
            raise ValueError(f"{path}: a header of {length} bytes in a file of {size}")
        header = json.loads(f.read(length))
        base, tensors = 8 + length, {}
        for name, info in header.items():
            if name == "__metadata__":
                continue
            begin, end = info["data_offsets"]
            if info["dtype"] != "F32" or not 0 <= begin <= end <= size - base or (end - begin) % 4:
                raise ValueError(f"{path}: tensor {name!r} can't be: {info}")
            f.seek(base + begin)
            values = array.array("f")
            values.frombytes(f.read(end - begin))
            if sys.byteorder == "big":
                values.byteswap()
            tensors[name] = values
    return tensors


def write(path, tensors):
    """Write {name: floats}; the file appears whole or not at all."""
    header, data, offset = {}, [], 0
    for name, values in tensors.items():
        values = array.array("f", values)
        if sys.byteorder == "big":
            values.byteswap()
        end = offset + 4 * len(values)
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [offset, end]}
        data.append(values.tobytes())
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".new", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))
    os.replace(path + ".new", path)


def config():
    """The configuration of an executor: its argument, as JSON, else that of its job."""
    if len(sys.argv) > 1:
        return json.loads(sys.argv[1])
    with open(os.environ["JOB_FILE"]) as f:
        return json.load(f)["config"]


def main(command, path, count="0"):
    if command == "new":
        write(path, {"w": [float(i % 7) for i in range(int(count))]})
        return
    for name, values in read(path).items():
        print(name, len(values), *(f"{v:.6f}" for v in values[:4]))


if __name__ == "__main__":
    main(*sys.argv[1:])
