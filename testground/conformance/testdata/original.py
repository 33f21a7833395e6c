"""Executors in the manner of the original's: what they send and how they read the
answers is what its own clients do (httpx over a Unix socket), written with the
standard library. They know nothing of this node but the socket.

    original.py stream|single SOCKET_PATH WORK_DIR JOB_JSON
"""

import json
import os
import shutil
import socket
import sys

HEADERS = {
    "Host": "hypha", "Accept": "*/*", "Accept-Encoding": "gzip, deflate", "Connection": "keep-alive", "User-Agent": "python-httpx/0.28.1",
}


class Answer:
    """Status, headers and the lines of a chunked or plain body."""

    def __init__(self, connection):
        self.file = connection.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        for line in iter(self.file.readline, b"\r\n"):
            name, _, value = line.decode().partition(":")
            self.headers[name.strip().lower()] = value.strip()

    def body(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return b"".join(self.chunks())
        return self.file.read(int(self.headers.get("content-length", 0)))

    def chunks(self):
        while True:
            size = int(self.file.readline().split(b";")[0], 16)
            data = self.file.read(size)
            self.file.readline()
            if not size:
                return
            yield data

    def lines(self):
        rest = b""
        for chunk in self.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode() for line in lines)

    def raise_for_status(self):
        if self.status >= 400:
            raise SystemExit(f"{self.status}: {self.body().decode()}")
        return self


class Client:
    """One kept connection for calls; a stream has one of its own. They are never closed."""

    def __init__(self, path):
        self.path, self.kept = path, None

    def connect(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(30)  # for the connect only
        connection.connect(self.path)
        connection.settimeout(None)
        return connection

    def post(self, url, value, connection=None, **headers):
        if connection is None:
            connection = self.kept = self.kept or self.connect()
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        fields = dict(HEADERS, **headers)
        fields.update({"Content-Length": str(len(body)), "Content-Type": "application/json"})
        head = f"POST {url} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n"
        connection.sendall(head.encode() + body)
        return Answer(connection).raise_for_status()


def fetch_model(client, work_dir, config):
    client.post("/resources/fetch", config["model"]["artifact"]).body()
    model = os.path.join(work_dir, "artifacts")
    assert sorted(os.listdir(model)) == ["config.json", "model.safetensors"], os.listdir(model)
    with open(os.path.join(model, "config.json")) as f:
        json.load(f)


def write(work_dir, number):
    name = f"{number}_local_gradients.pt"
    with open(os.path.join(work_dir, name), "wb") as f:
        f.write(b"g" * (1000 * (number + 1)))
    return name


def stream(client, work_dir, job):
    """Subscribe once, and read one event a round, after having sent."""
    config = job["executor"]["config"]
    fetch_model(client, work_dir, config)
    request = {"resource": config["results"], "path": "incoming"}
    answer = client.post("/resources/receive", request, client.connect(), Accept="text/event-stream")
    events = (json.loads(line.partition(":")[2]) for line in answer.lines() if line.partition(":")[0] == "data")
    for number in range(3):
        name = write(work_dir, number)
        status = client.post("/status/send", {"status": {"batch_size": 8}}).body()
        assert json.loads(status)["type"] in ("Ok", "Continue", "Done"), status
        send(client, {"resource": config["updates"], "path": name})
        latest = next(events)
        path = os.path.join(work_dir, latest["path"])
        assert os.path.getsize(path) == latest["size"] == 1000 * (number + 1), latest
        os.remove(path)
        print("round", number, latest["from_peer"])


def single(client, work_dir, job):
    """Report a state, and ask for one file at a time."""
    config = job["executor"]["config"]
    fetch_model(client, work_dir, config)
    for number in range(3):
        report = {"job_id": job["job_id"], "status": {"executor": "train", "details": {"state": "idle"}}}
        action = json.loads(client.post("/action/update", report).body())["next"]["action"]
        assert set(action["timeout"]) == {"secs_since_epoch", "nanos_since_epoch"}, action
        name = write(work_dir, number)
        send(client, {"resource": config["updates"], "path": name, "timeout_ms": None, "remove_file": True})
        assert not os.path.exists(os.path.join(work_dir, name))
        while True:
            answer = client.post("/resources/receive", {"resource": config["results"], "path": "received", "timeout": action["timeout"]})
            if answer.status != 204:
                break
            action["timeout"]["secs_since_epoch"] += 2
        latest = json.loads(answer.body())
        path = os.path.join(work_dir, latest["path"])
        assert os.path.getsize(path) == latest["size"] == 1000 * (number + 1), latest
        shutil.rmtree(os.path.join(work_dir, "received"))
        print("round", number, latest["from_peer"])


def send(client, request):
    client.post("/resources/send", request).body()


if __name__ == "__main__":
    {"stream": stream, "single": single}[sys.argv[1]](Client(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
    print("done")
