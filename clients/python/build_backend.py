"""Builds the wheel and the source archive of hypha_bridge with the standard
library alone (PEP 517, PEP 660), so that ``pip install ./clients/python`` needs
no network: pip would fetch any build tool that is named as a requirement."""

import base64
import hashlib
import io
import os
import re
import tarfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODULE = "hypha_bridge"
FILES = [MODULE + "/__init__.py", MODULE + "/py.typed"]
SOURCES = FILES + ["pyproject.toml", "build_backend.py", "README.md", "tests/test_hypha_bridge.py"]
WHEEL = "Wheel-Version: 1.0\nGenerator: hypha-bridge\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes from the same sources


def _read(name):
    with open(os.path.join(HERE, name), "rb") as f:
        return f.read()


def _field(name):
    """One string of [project]: tomllib came with Python 3.11 only."""
    found = re.search(rf'(?m)^{re.escape(name)} = "([^"]*)"', _read("pyproject.toml").decode())
    if not found:
        raise RuntimeError(f"pyproject.toml has no {name}")
    return found.group(1)


def _metadata():
    lines = [
        "Metadata-Version: 2.1",
        "Name: " + _field("name"),
        "Version: " + _field("version"),
        "Summary: " + _field("description"),
        "Requires-Python: " + _field("requires-python"),
        "License: Apache-2.0",
        "Description-Content-Type: text/markdown",
        "",
        _read("README.md").decode(),
    ]
    return "\n".join(lines).encode()


def _stem():
    return "{}-{}".format(MODULE, _field("version"))


def _wheel(directory, files):
    """Writes a wheel that holds files (name -> bytes) and returns its name."""
    info = _stem() + ".dist-info/"
    files = dict(files)
    files[info + "METADATA"] = _metadata()
    files[info + "WHEEL"] = WHEEL.encode()
    record = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += "%s,sha256=%s,%d\n" % (name, digest, len(data))
    files[info + "RECORD"] = (record + info + "RECORD,,\n").encode()
    wheel = _stem() + "-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return _wheel(wheel_directory, {name: _read(name) for name in FILES})


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _wheel(wheel_directory, {f"_{MODULE}.pth": (HERE + "\n").encode()})


def build_sdist(sdist_directory, config_settings=None):
    name = _stem() + ".tar.gz"
    with tarfile.open(os.path.join(sdist_directory, name), "w:gz") as archive:
        files = {source: _read(source) for source in SOURCES}
        files["PKG-INFO"] = _metadata()
        for source, data in files.items():
            entry = tarfile.TarInfo(_stem() + "/" + source)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return name
