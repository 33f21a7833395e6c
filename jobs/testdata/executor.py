"""An executor as trainers are written: it reads its job, asks the bridge for the
model with the standard library alone, and lists what it got."""
import hashlib
import http.client
import json
import os
import socket
import stat
import sys


class Bridge(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("hypha")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


def call(method, route, body=None):
    bridge = Bridge(os.environ["SOCKET_PATH"])
    headers = {"Content-Type": "application/json", "Accept": "*/*"} if body is not None else {}
    bridge.request(method, route, json.dumps(body) if body is not None else None, headers)
    response = bridge.getresponse()
    data = response.read()
    bridge.close()
    if response.status >= 400:
        raise SystemExit(f"{method} {route}: {response.status} {data.decode()}")
    return json.loads(data)


job = json.loads(sys.argv[1])
assert job == json.loads(os.environ["JOB_JSON"]), "arguments and environment differ"
assert job == json.load(open(os.environ["JOB_FILE"])), "file and environment differ"
assert os.getcwd() == os.path.realpath(os.environ["WORK_DIR"]), "not in the work directory"
config = job["executor"]["config"]

# Bare reference, as it stands in the job; the answer's path is relative.
fetched = call("POST", "/resources/fetch", config["model"]["artifact"])
for item in fetched:
    path = os.path.join(os.environ["WORK_DIR"], item["path"])
    with open(path, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    assert item["checksum"] == "sha256:" + digest, item
    assert item["size"] == os.stat(path).st_size, item
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600, item

# The RFC's envelope, into another directory.
again = call("POST", "/resources/fetch", {"fetch": config["model"]["artifact"], "out_dir": "again"})
assert [i["checksum"] for i in again] == [i["checksum"] for i in fetched]
assert all(i["metadata"]["cached"] for i in again), again

assert "/resources/fetch" in call("GET", "/openapi.json")["paths"]
assert call("GET", "/job")["id"] == job["job_id"]
print(json.dumps(sorted(os.listdir(os.path.join(os.environ["WORK_DIR"], "artifacts")))))
