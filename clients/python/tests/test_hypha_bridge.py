"""Tests of hypha_bridge against a bridge of our own: python -m unittest discover -s tests"""

import json
import os
import socketserver
import sys
import tarfile
import tempfile
import threading
import unittest
import zipfile
from http.server import BaseHTTPRequestHandler

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import hypha_bridge  # noqa: E402
from hypha_bridge import ActionSession, BridgeError, BridgeUnreachable, Session, cids, huggingface, peers, uri  # noqa: E402

PATIENCE = 60  # seconds: met by a hang only
ITEM = {"path": "incoming/0-g", "size": 1, "from_peer": "12D3KooW", "sequence": 0}


class Bridge(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers what a test tells it to: answers[route] is called with the handler
    and the body. Requests are kept in seen."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path):
        self.answers, self.seen = {}, []
        super().__init__(path, Handler)

    def handle_error(self, request, client_address):
        pass  # a client that went away


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def address_string(self):
        return "unix"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        self.server.answers[self.path](self, body)

    do_GET = do_DELETE = do_POST

    def reply(self, value, status=200, kind="application/json", **headers):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def begin(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def chunk(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def end(self):
        self.wfile.write(b"0\r\n\r\n")

    def cut(self):
        """End the connection in the middle of a chunk."""
        self.wfile.write(b"40\r\ndata: {")
        self.wfile.flush()
        self.close_connection = True


def event(sequence, **more):
    return "id: %d\ndata: %s\n\n" % (sequence, json.dumps(dict(ITEM, sequence=sequence, **more)))


class Case(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(dir="/tmp", prefix="hb")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.socket_path = os.path.join(self.directory, "s")
        self.serve()
        self.session = Session(self.socket_path)
        self.addCleanup(self.session.close)

    def serve(self):
        self.bridge = Bridge(self.socket_path)
        thread = threading.Thread(target=self.bridge.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def stop(bridge=self.bridge):
            bridge.shutdown()
            thread.join(PATIENCE)
            bridge.server_close()

        self.addCleanup(stop)

    def answer(self, route, *args, **kwargs):
        self.bridge.answers[route] = lambda handler, body: handler.reply(*args, **kwargs)

    def sent(self, at=-1):
        method, path, headers, body = self.bridge.seen[at]
        return json.loads(body)

    def refused(self, code, call, *args, **kwargs):
        with self.assertRaises(BridgeError) as caught:
            call(*args, **kwargs)
        self.assertEqual(caught.exception.code, code)
        return caught.exception


class Calls(Case):
    def test_bodies(self):
        """What each method sends."""
        reference = huggingface("a/b", "x", "y/z", revision="main")
        self.assertEqual(reference, {"type": "HuggingFace", "repository": "a/b", "revision": "main", "filenames": ["x", "y/z"]})
        to = peers("12D3KooW")
        for route, answer, call, body in [
            ("/resources/fetch", [], lambda s: s.fetch(reference), {"fetch": reference}),
            ("/resources/fetch", [], lambda s: s.fetch("hf://a/b/x", "in"), {"fetch": "hf://a/b/x", "out_dir": "in"}),
            ("/resources/send", [], lambda s: s.send_resource(to, "o/f"), {"send": to, "path": "o/f"}),
            ("/resources/send", [], lambda s: s.send_resource(to, "f", True, 1.5, channel="c", name="n"),
             {"send": to, "path": "f", "remove_file": True, "timeout_ms": 1500, "channel": "c", "name": "n"}),
            ("/resources/send", {"transfer_id": "t"}, lambda s: s.send_later(to, "f"), {"send": to, "path": "f", "wait": False}),
            ("/resources/prefetch", {"transfer_id": "t"}, lambda s: s.prefetch(uri("https://h/f")),
             {"prefetch": {"type": "uri", "value": "https://h/f"}}),
            ("/resources/put", {}, lambda s: s.put("out", pin=True), {"path": "out", "pin": True, "announce": False}),
            ("/resources/receive", ITEM, lambda s: s.receive_one(cids("b")), {"receive": cids("b"), "timeout": None}),
            ("/resources/receive", ITEM, lambda s: s.receive_one(path="in", timeout=2), {"receive": peers(), "path": "in", "timeout_ms": 2000}),
            ("/resources/receive", ITEM, lambda s: s.receive_one(timeout={"secs_since_epoch": 1, "nanos_since_epoch": 2}),
             {"receive": peers(), "timeout": {"secs_since_epoch": 1, "nanos_since_epoch": 2}}),
            ("/status/send", {"type": "Ok"}, lambda s: s.send_status("updated"), "updated"),
            ("/action/update", {}, lambda s: s.send_action({"job_id": "j"}), {"job_id": "j"}),
            ("/job/progress", {}, lambda s: s.send_progress({"step": 1}), {"step": 1}),
        ]:  # fmt: skip
            with self.subTest(route=route, body=body):
                self.answer(route, answer)
                got = call(self.session)
                self.assertEqual(got, answer["transfer_id"] if "transfer_id" in answer else answer)
                self.assertEqual(self.sent(), body)
                self.assertEqual(self.bridge.seen[-1][2]["Content-Type"], "application/json")

    def test_json_passes_verbatim(self):
        raw = b'{"n": 9007199254740993.0, "x":1e-07}'
        self.answer("/status/send", {"type": "Ok"})
        self.session.send_status(raw)
        self.assertEqual(self.bridge.seen[-1][3], raw)
        with self.assertRaises(ValueError):  # no JSON has it
            self.session.send_status({"loss": float("nan")})

    def test_key(self):
        self.answer("/resources/send", [])
        self.session.send_resource(peers("p"), "f", key="round-7")
        self.assertEqual(self.bridge.seen[-1][2]["Idempotency-Key"], "round-7")

    def test_gets(self):
        for route, call in [("/job", self.session.job), ("/stats", self.session.stats), ("/openapi.json", self.session.openapi),
                            ("/transfers", self.session.transfers), ("/transfers/a-1", lambda: self.session.transfer("a-1"))]:  # fmt: skip
            self.answer(route, {"route": route, "transfers": []})
            self.assertIn(call(), ({"route": route, "transfers": []}, []))
        self.bridge.answers["/transfers/a-1"] = lambda handler, body: (handler.send_response(204), handler.end_headers())
        self.assertIsNone(self.session.cancel("a-1"))
        self.assertEqual(self.bridge.seen[-1][0], "DELETE")
        self.assertRaises(ValueError, self.session.cancel, "../job")

    def test_paths(self):
        self.answer("/job", {"id": "j", "work_dir": "/w"})
        self.assertEqual(self.session.path({"path": "artifacts/a/b"}), "/w/artifacts/a/b")
        self.assertEqual(self.session.path("out"), "/w/out")
        self.assertEqual(len(self.bridge.seen), 1)

    def test_nothing_received(self):
        self.bridge.answers["/resources/receive"] = lambda handler, body: (handler.send_response(204), handler.end_headers())
        self.assertIsNone(self.session.receive_one(timeout=0.1))

    def test_the_later_session(self):
        """receive gives one file; what is sent is removed."""
        session = ActionSession(self.socket_path)
        self.answer("/resources/receive", ITEM)
        self.assertEqual(session.receive(peers("p"), "in", None), ITEM)
        self.assertEqual(self.sent(), {"receive": peers("p"), "path": "in", "timeout": None})
        self.answer("/resources/send", [])
        session.send_resource(peers("p"), "f")
        self.assertTrue(self.sent()["remove_file"])

    def test_module_fetch_and_environment(self):
        self.answer("/resources/fetch", [])
        self.assertEqual(hypha_bridge.fetch(self.socket_path, "hf://a/b"), [])
        os.environ["SOCKET_PATH"] = self.socket_path
        self.addCleanup(os.environ.pop, "SOCKET_PATH")
        self.assertEqual(Session().socket_path, self.socket_path)

    def test_threads(self):
        self.answer("/job", {"work_dir": "/w"})
        errors = []

        def work():
            try:
                for _ in range(10):
                    self.session.job()
            except Exception as err:
                errors.append(err)

        threads = [threading.Thread(target=work) for _ in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(PATIENCE)
        self.assertEqual(errors, [])
        self.assertEqual(len(self.bridge.seen), 160)

    def test_long_path(self):
        deep = os.path.join(self.directory, "d" * 100)
        os.mkdir(deep)
        os.rename(self.socket_path, os.path.join(deep, "bridge.sock"))
        self.answer("/job", {"id": "far"})
        self.assertEqual(Session(os.path.join(deep, "bridge.sock")).job(), {"id": "far"})


class Errors(Case):
    def test_refusal(self):
        done = [dict(ITEM, path="artifacts/a")]
        self.answer("/resources/fetch", {"error": "busy", "detail": "too many", "hint": "wait", "path": "artifacts/b", "completed": done},
                    429, Retry_After="3")  # fmt: skip
        err = self.refused("busy", self.session.fetch, "hf://a/b")
        self.assertEqual((err.status, err.detail, err.hint, err.path, err.completed, err.retry_after),
                         (429, "too many", "wait", "artifacts/b", done, 3.0))  # fmt: skip
        self.assertEqual(str(err), "too many (busy); hint: wait")
        self.answer("/resources/send", {"error": "delivery_failed", "detail": "x", "results": [{"peer_id": "p", "status": "failed"}]}, 502)
        err = self.refused("delivery_failed", self.session.send_resource, peers("p"), "f")
        self.assertEqual(err.results[0]["status"], "failed")

    def test_refusals_of_others(self):
        """The original answers text, or nothing."""
        self.answer("/resources/fetch", b"Failed to parse", 400, "text/plain")
        self.assertEqual(self.refused("bad_request", self.session.fetch, "x").detail, "Failed to parse")
        self.answer("/resources/fetch", b"", 404, "text/plain")
        self.assertEqual(self.refused("not_found", self.session.fetch, "x").detail, "HTTP 404")
        self.answer("/resources/fetch", b"<html>", 200, "text/html")
        self.refused("bad_answer", self.session.fetch, "x")

    def test_unreachable(self):
        for name in ("missing", "d" * 200):
            err = self.refused("unreachable", Session(os.path.join(self.directory, name)).job)
            self.assertIsInstance(err, BridgeUnreachable)
            self.assertEqual(err.status, 0)
        self.assertFalse(Session(os.path.join(self.directory, "missing")).healthy())

    def test_connection_breaks(self):
        def half(handler, body):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
            handler.close_connection = True

        self.bridge.answers["/resources/fetch"] = half
        self.refused("unreachable", self.session.fetch, "x")
        self.bridge.answers["/resources/fetch"] = lambda handler, body: setattr(handler, "close_connection", True)
        self.refused("unreachable", self.session.fetch, "x")

    def test_timeout(self):
        release = threading.Event()
        self.addCleanup(release.set)
        self.bridge.answers["/resources/fetch"] = lambda handler, body: release.wait(PATIENCE)
        self.refused("timeout", self.session.fetch, "x", timeout=0.05)

    def test_answer_before_the_body_is_read(self):
        """A body that is refused for its size."""

        def refuse(handler):
            handler.reply({"error": "too_large", "detail": "more than 1 MiB"}, 413)
            handler.close_connection = True

        self.bridge.RequestHandlerClass = type("Early", (Handler,), {"do_POST": refuse})
        self.refused("too_large", self.session.send_status, b"x" * (8 << 20))


class Streams(Case):
    def stream(self, *parts, then=None):
        """Answer receive with parts; then ends the answer: "end", "cut", or an event to wait for."""

        def answer(handler, body):
            handler.begin()
            for part in parts:
                handler.chunk(part)
            if then == "end":
                handler.end()
            elif then == "cut":
                handler.cut()
            else:
                then.wait(PATIENCE)

        self.bridge.answers["/resources/receive"] = answer

    def test_items_until_the_end(self):
        first = event(0)
        self.stream(": keepalive\n\n", first[:10], first[10:], event(1) + ": keepalive\n\n" + event(2, name="é\u2028"), then="end")
        with self.session.receive(peers("p"), "in") as items:
            got = [item["sequence"] for item in items]
            self.assertEqual((got, items.last_event_id), ([0, 1, 2], "2"))
            self.assertEqual(list(items), [])
        self.assertEqual(self.sent(), {"receive": peers("p"), "path": "in"})
        self.assertEqual(self.bridge.seen[-1][2]["Accept"], "text/event-stream")
        self.assertEqual(list(self.session._streams), [])

    def test_without_ids_and_names(self):
        """As the original sends them; CR LF and events of other names do not matter."""
        line = json.dumps(ITEM)
        self.stream(f"event: later\ndata: {{}}\n\ndata: {line}\r\n\r\ndata:{line}\n\n", then="end")
        self.assertEqual(list(self.session.receive()), [ITEM, ITEM])

    def test_goes_on_behind_the_last_event(self):
        """When the connection breaks, between events or inside of one."""

        def answer(handler, body):
            last = handler.headers.get("Last-Event-ID")
            handler.begin()
            if last is None:
                handler.chunk(event(0))
                handler.cut()
            elif last == "0":
                handler.chunk(event(1))
                handler.chunk("id: 2\ndata: {")
                handler.close_connection = True
            elif last == "1":
                handler.chunk(event(2))
                handler.end()

        self.bridge.answers["/resources/receive"] = answer
        self.assertEqual([i["sequence"] for i in self.session.receive()], [0, 1, 2])
        self.assertEqual(len(self.bridge.seen), 3)

    def test_outlives_a_restart(self):
        """Refused connections and 503 are tried again."""
        self.stream(event(0), then="cut")
        items = self.session.receive()
        self.assertEqual(next(items)["sequence"], 0)
        self.doCleanups_of_bridge()
        replies = iter([503, 200])

        def answer(handler, body):
            if next(replies) == 503:
                handler.reply({"error": "shutting_down", "detail": "x"}, 503)
                return
            handler.begin()
            handler.chunk(event(1))
            handler.end()

        def later():
            self.serve_again(answer)

        timer = threading.Timer(0.05, later)
        timer.start()
        self.assertEqual([i["sequence"] for i in items], [1])
        timer.join(PATIENCE)

    def doCleanups_of_bridge(self):
        self.bridge.shutdown()
        self.bridge.server_close()
        os.unlink(self.socket_path)

    def serve_again(self, answer):
        bridge = Bridge(self.socket_path + ".new")
        bridge.answers["/resources/receive"] = answer
        thread = threading.Thread(target=bridge.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(bridge.server_close)
        self.addCleanup(thread.join, PATIENCE)
        self.addCleanup(bridge.shutdown)
        os.rename(self.socket_path + ".new", self.socket_path)

    def test_gives_up(self):
        self.stream(event(0), then="cut")
        items = self.session.receive(reconnect=0)
        next(items)
        self.refused("unreachable", next, items)
        self.assertEqual(list(items), [])

    def test_refused_at_once_and_later(self):
        self.answer("/resources/receive", {"error": "invalid_request", "detail": "x"}, 422)
        self.refused("invalid_request", self.session.receive)
        answers = iter([None, {"error": "not_found", "detail": "the job is gone"}])

        def answer(handler, body):
            refusal = next(answers)
            if refusal:
                handler.reply(refusal, 404)
            else:
                handler.begin()
                handler.cut()

        self.bridge.answers["/resources/receive"] = answer
        self.refused("not_found", next, self.session.receive())

    def test_close_from_another_thread(self):
        release = threading.Event()
        self.addCleanup(release.set)
        self.stream(event(0), then=release)
        items = self.session.receive()
        got = []
        thread = threading.Thread(target=lambda: got.append(list(items)))
        thread.start()
        self.session.close()
        thread.join(PATIENCE)
        self.assertEqual(len(got), 1)
        self.assertEqual(list(items), [])

    def test_an_abandoned_stream_is_closed(self):
        ended = threading.Event()

        def answer(handler, body):
            handler.begin()
            handler.rfile.read(1)  # until the client hangs up
            ended.set()

        self.bridge.answers["/resources/receive"] = answer
        items = self.session.receive()
        del items
        self.assertTrue(ended.wait(PATIENCE))

    def test_quiet(self):
        """A limit is looked at with each keep-alive; the subscription goes on."""
        release = threading.Event()

        def answer(handler, body):
            handler.begin()
            handler.chunk(": keepalive\n\n")
            release.wait(PATIENCE)
            handler.chunk(event(0))
            handler.end()

        self.bridge.answers["/resources/receive"] = answer
        items = self.session.receive(timeout=0)
        self.refused("timeout", next, items)
        release.set()
        self.assertEqual([i["sequence"] for i in items], [0])

    def test_progress(self):
        def answer(handler, body):
            handler.begin()
            handler.chunk('event: progress\ndata: {"done":1,"total":2}\n\n: keepalive\n\n')
            handler.chunk('event: %s\ndata: {"error":"origin_error","detail":"x","completed":[]}\n\n' % outcome)
            handler.end()

        self.bridge.answers["/resources/fetch"] = self.bridge.answers["/resources/send"] = answer
        for outcome in ("result", "error", "other"):
            seen = []
            if outcome == "result":
                self.assertEqual(self.session.fetch("x", progress=seen.append)["error"], "origin_error")
            elif outcome == "error":
                self.refused("origin_error", self.session.send_resource, peers("p"), "f", progress=seen.append)
            else:
                self.refused("unreachable", self.session.fetch, "x", progress=seen.append)
            self.assertEqual(seen, [{"done": 1, "total": 2}])
            self.assertTrue(self.sent()["progress"])
        self.answer("/resources/fetch", [])  # a bridge that does not know it
        self.assertEqual(self.session.fetch("x", progress=seen.append), [])

    def test_progress_of_what_comes(self):
        seen = []
        self.stream('event: progress\ndata: {"done":1}\n\n' + event(0), 'event: error\ndata: {"error":"no_space","detail":"x"}\n\n', then="end")
        items = self.session.receive(progress=seen.append)
        self.assertEqual((next(items)["sequence"], seen), (0, [{"done": 1}]))
        self.refused("no_space", next, items)


class Packaging(unittest.TestCase):
    def test_wheel_and_source_archive(self):
        """What pip calls gives archives that hold the module and its records."""
        import build_backend

        with tempfile.TemporaryDirectory() as directory:
            wheel = build_backend.build_wheel(directory)
            self.assertEqual(wheel, f"hypha_bridge-{hypha_bridge.__version__}-py3-none-any.whl")
            with zipfile.ZipFile(os.path.join(directory, wheel)) as archive:
                self.assertIsNone(archive.testzip())
                info = f"hypha_bridge-{hypha_bridge.__version__}.dist-info/"
                names = ["hypha_bridge/__init__.py", "hypha_bridge/py.typed", info + "METADATA", info + "WHEEL", info + "RECORD"]
                self.assertEqual(archive.namelist(), names)
                record = archive.read(info + "RECORD").decode()
                self.assertEqual([line.split(",")[0] for line in record.splitlines()], names)
                self.assertIn("Requires-Python: >=3.9", archive.read(info + "METADATA").decode())
            with open(os.path.join(directory, wheel), "rb") as first:
                before = first.read()
            build_backend.build_wheel(directory)
            with open(os.path.join(directory, wheel), "rb") as second:
                self.assertEqual(before, second.read())
            source = build_backend.build_sdist(directory)
            with tarfile.open(os.path.join(directory, source)) as archive:
                self.assertIn(f"hypha_bridge-{hypha_bridge.__version__}/build_backend.py", archive.getnames())
            self.assertIn("-py3-none-any.whl", build_backend.build_editable(directory))


if __name__ == "__main__":
    unittest.main()
