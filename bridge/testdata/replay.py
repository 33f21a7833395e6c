#!/usr/bin/env python3
"""Replays golden transcripts against a job's bridge; README.md has the format.

usage: replay.py SOCKET WORK_DIR FILE... [NAME=VALUE...]
"""

import json
import os
import re
import socket
import sys

TIMEOUT = 120  # seconds without a byte: a lost answer, not a slow one

KINDS = {
    "int": lambda v: type(v) is int and v >= 0,
    "text": lambda v: isinstance(v, str) and v != "",
    "cid": lambda v: isinstance(v, str) and re.fullmatch(r"baf[a-z2-7]{56,}|Qm[1-9A-HJ-NP-Za-km-z]{44}", v),
    "sha256": lambda v: isinstance(v, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", v),
    "time": lambda v: isinstance(v, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", v),
    "any": lambda v: True,
}


class Mismatch(Exception):
    """An answer is not what it should be."""


class Skip(Exception):
    """A variable is missing."""


class Answer:
    """The answer to one request, read as far as it is looked at."""

    def __init__(self, path, request):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(path)
        self.socket.sendall(request)
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split(b" ", 2)[1])
        self.header = {}
        while (line := self.file.readline().rstrip(b"\r\n")) != b"":
            name, _, value = line.decode().partition(":")
            self.header[name.strip().lower()] = value.strip()
        self.chunked = self.header.get("transfer-encoding", "").lower() == "chunked"
        self.left = 0  # bytes of the chunk
        self.text = b""  # of the body, not looked at yet

    def close(self):
        """Goes away."""
        self.file.close()
        self.socket.close()

    def part(self):
        """Returns some bytes of a body without a length, b"" at its end."""
        if not self.chunked:
            return self.file.read1()
        if self.left == 0:
            self.left = int(self.file.readline().split(b";")[0], 16)
            if self.left == 0:
                return b""
        data = self.file.read1(self.left)
        self.left -= len(data)
        if self.left == 0:
            self.file.readline()
        return data

    def body(self):
        """Returns the whole body."""
        if self.status == 204:
            return b""
        if "content-length" in self.header:
            return self.file.read(int(self.header["content-length"]))
        while data := self.part():
            self.text += data
        return self.text

    def event(self):
        """Returns the next event of a stream as a dict of its fields."""
        while True:
            block, found, rest = self.text.partition(b"\n\n")
            if not found:
                data = self.part()
                if not data:
                    raise Mismatch("the stream ended")
                self.text += data
                continue
            self.text = rest
            fields = {}
            for line in block.decode().split("\n"):
                name, _, value = line.partition(":")
                if name != "":  # else a comment
                    fields[name] = value.removeprefix(" ")
            if fields:
                return fields


class Side:
    """One bridge that is talked to."""

    def __init__(self, path, work_dir):
        self.path = path
        self.work_dir = work_dir
        self.answer = None

    def close(self):
        """Ends the conversation."""
        if self.answer is not None:
            self.answer.close()
            self.answer = None


class Replay:
    """One transcript that is being replayed."""

    def __init__(self, path, work_dir, variables):
        self.variables = dict(variables)
        self.job = self.side = Side(path, work_dir)
        self.peer = None

    def fill(self, text):
        """Puts variables into a text."""
        def value(m):
            if m[1] not in self.variables:
                raise Skip("needs " + m[1])
            return self.variables[m[1]]
        return re.sub(r"\{\{([A-Z_]+)\}\}", value, text)

    def run(self, lines):
        """Replays the lines of a transcript."""
        try:
            number = 0
            while number < len(lines):
                end = number + 1
                mark = lines[number][:1]
                if mark in (">", "<"):
                    while end < len(lines) and lines[end][:1] == mark:
                        end += 1
                block = [line[2:] for line in lines[number:end]]
                try:
                    if mark == ">":
                        self.send(block)
                    elif mark == "<":
                        self.expect(block)
                    else:
                        self.directive(lines[number])
                except Mismatch as err:
                    raise Mismatch(f"line {number + 1}: {err}") from None
                except (OSError, ValueError, LookupError) as err:
                    raise Mismatch(f"line {number + 1}: {type(err).__name__}: {err}") from err
                number = end
        finally:
            self.job.close()
            if self.peer is not None:
                self.peer.close()

    def directive(self, line):
        """Does what a line that is neither of a request nor of an answer says."""
        word, _, rest = line.partition(" ")
        if word in ("", "#", "more"):
            return
        if word == "need":
            missing = [name for name in rest.split() if name not in self.variables]
            if missing:
                raise Skip("needs " + ", ".join(missing))
        elif word == "at":
            if rest == "peer" and self.peer is None:
                self.peer = Side(self.fill("{{PEER_SOCKET}}"), self.fill("{{PEER_WORK_DIR}}"))
            self.side = {"job": self.job, "peer": self.peer}[rest]
        elif word in ("file", "check", "gone"):
            name, _, text = rest.partition(" ")
            self.files(word, os.path.join(self.side.work_dir, name), text)
        else:
            raise ValueError(f"no such line: {line!r}")

    def files(self, word, path, text):
        """Writes a file or looks at one."""
        if word == "file":
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(path, "w", encoding="utf-8") as out:
                out.write(text)
        elif word == "gone":
            if os.path.lexists(path):
                raise Mismatch(f"{path} is there")
        else:
            with open(path, encoding="utf-8") as file:
                if (got := file.read()) != text:
                    raise Mismatch(f"{path} has {got!r}, not {text!r}")

    def send(self, block):
        """Sends a request and reads the head of its answer."""
        split = block.index("") if "" in block else len(block)
        head, body = block[:split], "\n".join(block[split + 1:])
        data = self.fill(body).encode()
        if data:
            head.append(f"Content-Length: {len(data)}")
        self.side.close()
        self.side.answer = Answer(self.side.path, ("\r\n".join(map(self.fill, head)) + "\r\n\r\n").encode() + data)

    def expect(self, block):
        """Holds an answer, or more of a stream, against what is expected."""
        answer = self.side.answer
        if answer is None:
            raise Mismatch("there is no answer to look at")
        body = block
        if block[0].isdigit():
            split = block.index("") if "" in block else len(block)
            self.head(answer, block[:split])
            body = block[split + 1:]
        if answer.header.get("content-type", "").startswith("text/event-stream"):
            for fields in events(body):
                self.event(fields, answer.event())
            return
        data = answer.body().decode()
        if not any(body):
            if data:
                raise Mismatch(f"a body: {data}")
            return
        self.match("", json.loads("\n".join(body)), json.loads(data))

    def head(self, answer, head):
        """Compares status and header."""
        if answer.status != int(head[0]):
            raise Mismatch(f"status {answer.status}, not {head[0]}: {answer.body()!r}")
        for line in head[1:]:
            name, _, value = line.partition(":")
            if (got := answer.header.get(name.lower())) != value.strip():
                raise Mismatch(f"{name} is {got!r}, not {value.strip()!r}")

    def event(self, want, got):
        """Compares one event."""
        if set(want) != set(got):
            raise Mismatch(f"the event {got} has not the fields {sorted(want)}")
        for name, value in want.items():
            if name == "data":
                self.match("", json.loads(value), json.loads(got[name]))
            else:
                self.match(name, value, int(got[name]) if name == "id" and value.startswith("{{") else got[name])

    def match(self, where, want, got):
        """Compares a value with what is expected."""
        if isinstance(want, dict):
            if not isinstance(got, dict) or not set(want) - {"..."} <= set(got) or "..." not in want and set(got) != set(want):
                raise Mismatch(f"{where or 'the body'} is {json.dumps(got)}, which has not the keys {sorted(want)}")
            for key in want:
                if key != "...":
                    self.match(f"{where}.{key}", want[key], got[key])
        elif isinstance(want, list):
            if not isinstance(got, list) or len(got) != len(want):
                raise Mismatch(f"{where or 'the body'} is {json.dumps(got)}, no list of {len(want)}")
            for i, value in enumerate(want):
                self.match(f"{where}[{i}]", value, got[i])
        elif isinstance(want, str):
            self.match_text(where, want, got)
        elif want != got or type(want) is not type(got):
            raise Mismatch(f"{where or 'the body'} is {json.dumps(got)}, not {json.dumps(want)}")

    def match_text(self, where, want, got):
        """Compares a value with a text, which may stand for any of a kind."""
        whole = re.fullmatch(r"\{\{(?:([A-Z_]+):)?([a-z0-9]+)\}\}", want)
        if whole:
            name, kind = whole[1], whole[2]
            ok = self.is_path(got) if kind == "path" else KINDS[kind](got)
            if not ok:
                raise Mismatch(f"{where} is {json.dumps(got)}, no {kind}")
            if name:
                self.variables[name] = str(got)
            return
        alone = re.fullmatch(r"\{\{[A-Z_]+\}\}", want)
        if self.fill(want) != (str(got) if alone else got):
            raise Mismatch(f"{where} is {json.dumps(got)}, not {json.dumps(self.fill(want))}")

    def is_path(self, name):
        """Tells whether name is that of a file of the work directory."""
        if not isinstance(name, str) or name.startswith("/") or ".." in name.split("/"):
            return False
        path = os.path.join(self.side.work_dir, name)
        return os.path.isfile(path) and not os.path.islink(path)


def events(lines):
    """Yields the expected events: each ends with its data."""
    fields = {}
    for line in lines:
        if not line:
            continue
        name, _, value = line.partition(":")
        fields[name] = value.strip()
        if name == "data":
            yield fields
            fields = {}


def main(args):
    """Replays what the command line names."""
    variables = dict(a.split("=", 1) for a in args if re.match(r"[A-Z_]+=", a))
    names = [a for a in args if not re.match(r"[A-Z_]+=", a)]
    if len(names) < 3:
        sys.exit(__doc__.strip())
    failed = 0
    for name in names[2:]:
        with open(name, encoding="utf-8") as file:
            lines = file.read().split("\n")
        try:
            Replay(names[0], names[1], variables).run(lines)
            print(f"ok   {name}")
        except Skip as err:
            print(f"skip {name}: {err}")
        except Mismatch as err:
            print(f"FAIL {name}: {err}")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
