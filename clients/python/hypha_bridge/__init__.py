"""The socket of a hypha-node job, for executors: fetch models and data into the
work directory, send files to peers, receive theirs, report to the controller.

One file, the standard library alone, Python 3.9 and newer. Copy it, or
``pip install ./clients/python``.

    from hypha_bridge import Session, huggingface, peers

    with Session() as bridge:                            # $SOCKET_PATH
        for file in bridge.fetch(huggingface("openai-community/gpt2", "model.safetensors")):
            print(bridge.path(file), file["checksum"])
        with bridge.receive(peers()) as updates:         # open before others send
            bridge.send_resource(peers("12D3KooW…"), "output/gradients.safetensors")
            for update in updates:
                print(update["from_peer"], bridge.path(update))
                break

The methods have the names and the order of arguments of the Session that
hypha's own executors bring along, so that an executor changes one import:
:class:`Session` is the one whose ``receive`` gives a stream,
:class:`ActionSession` the later one whose ``receive`` gives one file.

Threads and processes: a session holds no connection, each call makes one of its
own. Any number of threads may call one session at the same time, and it may be
used on both sides of a fork (data loaders do that). A stream belongs to the
thread that iterates over it; ``close`` may be called from any other.

Errors: whatever the bridge refuses is a :class:`BridgeError` with the stable
``code`` of docs/api.md. A socket that does not answer is the same with the code
``unreachable`` (:class:`BridgeUnreachable`). Nothing is retried, but a stream
that loses its connection: it connects again and goes on behind the last event.
"""

from __future__ import annotations

import http.client
import json
import os
import socket as _socket
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Callable, TypedDict, Union

__all__ = [
    "ActionSession", "BridgeError", "BridgeUnreachable", "Delivered", "Events", "Fetched", "Metadata", "Published",
    "Received", "Reference", "Session", "cids", "fetch", "huggingface", "peers", "system_time", "uri",
]  # fmt: skip
__version__ = "0.1.0"

#: What to fetch or whom to talk to: an object as in docs/api.md, or a URI.
Reference = Union[str, Mapping[str, Any]]
#: A point in time as serde writes it: {"secs_since_epoch": S, "nanos_since_epoch": N}.
SystemTime = Mapping[str, int]


#: Where a fetched file came from. Each key may be absent.
Metadata = TypedDict(
    "Metadata",
    {
        "source": str,  # "huggingface", "http", "cid", …
        "timestamp": str,  # RFC 3339, UTC
        "revision": str,  # resolved commit
        "etag": str,
        "cached": bool,  # nothing was transferred
        "from": str,  # "origin", "peer", "cache", "store"
        "transport": str,  # of the origin's bytes, if not HTTP alone: "xet", "http+xet"
    },
    total=False,
)


class Fetched(TypedDict):
    """One file that fetch brought."""

    path: str  # relative to the work directory
    size: int  # bytes
    checksum: str  # "sha256:" and 64 hex digits
    cid: str
    metadata: Metadata


class Delivered(TypedDict, total=False):
    """What became of a file for one peer."""

    peer_id: str
    sent_bytes: int  # the file's size, however little had to move
    status: str  # "delivered" or "failed"
    cid: str
    checksum: str
    transfer_id: str
    error: str  # stable code, when it failed
    detail: str


class Received(TypedDict, total=False):
    """One file that a peer sent."""

    path: str  # relative to the work directory
    size: int  # bytes
    from_peer: str  # authenticated
    sequence: int  # counts the job's inbox from 0
    checksum: str
    cid: str
    name: str  # as the sender named it: outside input


class Published(TypedDict, total=False):
    """What put stored."""

    cid: str
    size: int  # bytes of content
    checksum: str  # of a file; a directory has none


Progress = Callable[[dict[str, Any]], None]


class BridgeError(Exception):
    """A refusal of the bridge."""

    def __init__(self, code: str, detail: str, *, status: int = 0, hint: str = "", body: Any = None,
                 retry_after: float | None = None) -> None:  # fmt: skip
        super().__init__(code, detail)
        fields = body if isinstance(body, dict) else {}
        self.code = code  #: stable, lower case: "not_found", "busy", "delivery_failed", …
        self.detail = detail  #: for people
        self.hint = hint  #: the next step, or ""
        self.status = status  #: of HTTP; 0 when there was no answer
        self.retry_after = retry_after  #: seconds, or None
        self.path: str = fields.get("path") or ""  #: the file that failed, or ""
        self.completed: list[Fetched] = fields.get("completed") or []  #: what a failed fetch finished
        self.results: list[Delivered] = fields.get("results") or []  #: of a failed send, one a peer
        self.body = body  #: the whole answer

    def __str__(self) -> str:
        text = f"{self.detail} ({self.code})"
        return text + ("; hint: " + self.hint if self.hint else "")


class BridgeUnreachable(BridgeError):
    """Nobody answers on the socket, or the connection broke."""


def huggingface(repository: str, *filenames: str, revision: str | None = None, repo_type: str | None = None,
                token: str | None = None, **more: Any) -> dict[str, Any]:  # fmt: skip
    """Files of a Hugging Face repository; none named: all of them."""
    ref: dict[str, Any] = {"type": "HuggingFace", "repository": repository, "revision": revision}
    ref.update(more, repo_type=repo_type, token=token, filenames=list(filenames) or None)
    return {k: v for k, v in ref.items() if v is not None}


def uri(value: str, **more: Any) -> dict[str, Any]:
    """A URL; more: filename, checksum, headers."""
    return {"type": "uri", "value": value, **more}


def cids(*values: str) -> dict[str, Any]:
    """Content by CID, from whoever has it."""
    return {"type": "cids", "values": list(values)}


def peers(*ids: str, strategy: str = "All") -> dict[str, Any]:
    """Peers of the job; to receive, none means any of them."""
    return {"type": "peers", "peers": list(ids), "strategy": {"type": strategy}}


def system_time(seconds_from_now: float) -> dict[str, int]:
    """A point in time in the form that actions carry."""
    at = time.time_ns() + int(seconds_from_now * 1e9)
    return {"secs_since_epoch": at // 10**9, "nanos_since_epoch": at % 10**9}


def fetch(socket_path: str, resource: Reference) -> list[Fetched]:
    """Fetch without a session."""
    with Session(socket_path) as session:
        return session.fetch(resource)


class Session:
    """A job's bridge. It connects when it is first used.

    socket_path       path of the socket; None: $SOCKET_PATH
    connect_timeout   seconds until a socket that does not accept is an error

    Where a method takes a timeout it is in seconds, and None waits as long as
    the work takes.
    """

    def __init__(self, socket_path: str | None = None, *, connect_timeout: float = 10.0) -> None:
        if socket_path is None:
            socket_path = os.environ["SOCKET_PATH"]
        self.socket_path = os.fspath(socket_path)
        self.connect_timeout = connect_timeout
        self._work_dir: str | None = None
        self._lock = threading.Lock()
        self._streams: weakref.WeakSet[Events] = weakref.WeakSet()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the streams of this session. Other calls finish, and new ones may be made."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.close()

    # --- resources

    def fetch(self, resource: Reference, out_dir: str | None = None, *, progress: Progress | None = None,
              timeout: float | None = None) -> list[Fetched]:  # fmt: skip
        """Bring the files of a reference into the work directory and return them.

        They are there, complete and verified, in out_dir ("artifacts"). progress
        is called with {"done", "total", …} while the bytes come. Of a fetch that
        fails in the middle, BridgeError.completed lists what is there.
        """
        result: list[Fetched] = self._watched("/resources/fetch", _body(fetch=resource, out_dir=out_dir), progress, timeout)
        return result

    def prefetch(self, resource: Reference, out_dir: str | None = None) -> str:
        """Begin to bring a reference into the node's store, so that a later
        fetch is quick; returns the id of the transfer."""
        return str(self._call("POST", "/resources/prefetch", _body(prefetch=resource, out_dir=out_dir))["transfer_id"])

    def send_resource(self, resource: Reference, path: str, remove_file: bool = False, timeout: float | None = None, *,
                      channel: str | None = None, name: str | None = None, key: str | None = None,
                      progress: Progress | None = None) -> list[Delivered]:  # fmt: skip
        """Send a file of the work directory to peers and return when they have it.

        All peers of the reference get it (strategy All), the first that can be
        reached (One), or one by chance (Random). remove_file removes it when all
        have it. After timeout: BridgeError "timeout". A call that is made again
        with the same key delivers nothing twice. When a peer fails,
        BridgeError.results tells how it went with each.
        """
        body = _body(send=resource, path=path, remove_file=remove_file or None, timeout_ms=_ms(timeout), channel=channel, name=name)
        result: list[Delivered] = self._watched("/resources/send", body, progress, _later(timeout), _key(key))
        return result

    def send_later(self, resource: Reference, path: str, remove_file: bool = False, *, channel: str | None = None,
                   name: str | None = None, key: str | None = None) -> str:  # fmt: skip
        """Like send_resource, but return the id of the transfer when the file was read
        and the send is recorded: the node delivers it then, also after a crash."""
        body = _body(send=resource, path=path, remove_file=remove_file or None, channel=channel, name=name, wait=False)
        return str(self._call("POST", "/resources/send", body, headers=_key(key))["transfer_id"])

    def receive(self, resource: Reference | None = None, path: str | None = None, timeout: float | None = None, *,
                channel: str | None = None, since: int | None = None, progress: Progress | None = None,
                reconnect: float = 60.0) -> Events:  # fmt: skip
        """Subscribe to what peers send, and return an iterator of Received.

        The subscription is made when this returns; what comes while nobody
        subscribes waits in the job's inbox. resource names the peers whose files
        are wanted (None: all of the job), path the directory ("incoming").
        since=n begins with what came behind the item n, also what was received
        before. When nothing came for timeout seconds, that is BridgeError "timeout"
        at the next keep-alive of the bridge (5 s), and the subscription goes on.
        A connection that is lost is made again for reconnect seconds.
        The iterator ends when the job does.
        """
        body = _body(receive=resource or peers(), path=path, channel=channel, since=since, progress=True if progress else None)
        return Events(self, body, timeout, progress, reconnect)

    def receive_one(self, resource: Reference | None = None, path: str | None = None,
                    timeout: None | float | SystemTime = None, *, channel: str | None = None) -> Received | None:  # fmt: skip
        """Return the next file, or None when there was none in time or the job ends.

        timeout is in seconds, or a point in time as actions carry it.
        """
        body = _body(receive=resource or peers(), path=path, channel=channel)
        if timeout is None or isinstance(timeout, Mapping):
            body["timeout"] = timeout  # null: this is what asks for one file
        else:
            body["timeout_ms"] = _ms(timeout)
        item: Received | None = self._call("POST", "/resources/receive", body, headers={"Accept": "application/json"})
        return item

    def put(self, path: str, *, pin: bool = False, announce: bool = False) -> Published:
        """Store a file or directory of the work directory and return its CID.
        pin keeps it beyond the job, announce tells the network."""
        result: Published = self._call("POST", "/resources/put", {"path": path, "pin": pin, "announce": announce})
        return result

    # --- the controller

    def send_status(self, status: Any) -> Any:
        """Report a status and return the answer. Never repeated. bytes are JSON as it is."""
        return self._call("POST", "/status/send", status)

    def send_action(self, payload: Any) -> Any:
        """Report a state and return the next action. Never repeated. bytes are JSON as it is."""
        return self._call("POST", "/action/update", payload)

    def send_progress(self, payload: Any) -> Any:
        """Report progress. Never repeated. bytes are JSON as it is."""
        return self._call("POST", "/job/progress", payload)

    # --- the job

    def job(self) -> dict[str, Any]:
        """Describe the job: id, work_dir, limits, use."""
        job: dict[str, Any] = self._call("GET", "/job")
        return job

    @property
    def work_dir(self) -> str:
        """The work directory, asked for once."""
        if self._work_dir is None:
            self._work_dir = str(self.job()["work_dir"])
        return self._work_dir

    def path(self, item: str | Mapping[str, Any]) -> str:
        """The absolute path of a file in an answer, or of a relative path."""
        relative = item if isinstance(item, str) else item["path"]
        return os.path.join(self.work_dir, *str(relative).split("/"))

    def transfers(self) -> list[dict[str, Any]]:
        """What is and was under way."""
        answer = self._call("GET", "/transfers")
        found: list[dict[str, Any]] = answer["transfers"] if isinstance(answer, dict) else answer
        return found

    def transfer(self, transfer_id: str) -> dict[str, Any]:
        """One transfer: state, done, total, delivered."""
        answer: dict[str, Any] = self._call("GET", "/transfers/" + _segment(transfer_id))
        return answer

    def cancel(self, transfer_id: str) -> None:
        """End a transfer."""
        self._call("DELETE", "/transfers/" + _segment(transfer_id))

    def stats(self) -> dict[str, Any]:
        """Figures of the job."""
        answer: dict[str, Any] = self._call("GET", "/stats")
        return answer

    def openapi(self) -> dict[str, Any]:
        """The description of the API."""
        answer: dict[str, Any] = self._call("GET", "/openapi.json")
        return answer

    def healthy(self) -> bool:
        """Whether the job takes requests."""
        try:
            self._call("GET", "/healthz", timeout=self.connect_timeout)
        except BridgeError:
            return False
        return True

    # --- HTTP

    def _open(self, method: str, route: str, body: Any, headers: Mapping[str, str],
              timeout: float | None) -> tuple[_Connection, http.client.HTTPResponse]:  # fmt: skip
        """Make a request on a connection of its own; refusals are raised."""
        all_headers = {"Accept": "*/*", **headers}
        data = None
        if body is not None:
            raw = isinstance(body, (bytes, bytearray, memoryview))
            data = bytes(body) if raw else json.dumps(body, allow_nan=False).encode()
            all_headers["Content-Type"] = "application/json"
        conn = _Connection(self.socket_path)
        try:
            conn.open(self.connect_timeout, timeout)
            try:
                conn.request(method, route, data, all_headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # who refuses a body may answer before all of it was sent
            response = conn.getresponse()
            if response.status >= 400:
                raise _refusal(response)
        except BaseException as err:
            conn.end()
            raise _unreachable(err, self.socket_path, timeout) from err
        return conn, response

    def _call(self, method: str, route: str, body: Any = None, *, headers: Mapping[str, str] | None = None,
              timeout: float | None = None) -> Any:  # fmt: skip
        conn, response = self._open(method, route, body, headers or {}, timeout)
        try:
            return _decode(response, self.socket_path, timeout)
        finally:
            conn.end()

    def _watched(self, route: str, body: dict[str, Any], progress: Progress | None, timeout: float | None,
                 headers: Mapping[str, str] | None = None) -> Any:  # fmt: skip
        """A call that may be watched."""
        if progress is None:
            return self._call("POST", route, body, headers=headers, timeout=timeout)
        body = dict(body, progress=True)
        conn, response = self._open("POST", route, body, dict(headers or {}, Accept="text/event-stream"), timeout)
        try:
            if not _is_stream(response):
                return _decode(response, self.socket_path, timeout)
            for event in _events(response):
                if event.name == "progress":
                    progress(event.json())
                elif event.name == "error":
                    raise _problem(event.json(), response.status, None)
                elif event.name == "result":
                    return event.json()
        except (OSError, http.client.HTTPException) as err:
            raise _unreachable(err, self.socket_path, timeout) from err
        finally:
            conn.end()
        raise BridgeUnreachable("unreachable", f"the answer of {route} ended without a result")


class ActionSession(Session):
    """The session of the executors that speak POST /action/update: receive
    returns one file or None, and send_resource removes what it has sent."""

    def send_resource(self, resource: Reference, path: str, remove_file: bool = True, timeout: float | None = None,
                      **more: Any) -> list[Delivered]:  # fmt: skip
        return super().send_resource(resource, path, remove_file, timeout, **more)

    def receive(self, resource: Reference | None = None, path: str | None = None,  # type: ignore[override]
                timeout: None | float | SystemTime = None, **more: Any) -> Received | None:  # fmt: skip
        return self.receive_one(resource, path, timeout, **more)


class Events:
    """A subscription: an iterator of Received, and a context manager that ends it.

    last_event_id is the sequence of the item that was returned last, or None.
    Give it to receive(since=…) to go on behind it later. Closing gives what was
    not returned yet back to the job's inbox only if it was not sent yet: a reader
    that must not lose any goes on with since.
    """

    def __init__(self, session: Session, body: dict[str, Any], timeout: float | None, progress: Progress | None,
                 reconnect: float) -> None:  # fmt: skip
        self.last_event_id: str | None = None
        self._session, self._body, self._timeout = session, body, timeout
        self._progress, self._reconnect = progress, reconnect
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._conn: _Connection | None = None
        self._events: Iterator[_Event] = iter(())
        self._open()
        with session._lock:
            session._streams.add(self)

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Received:
        quiet_since = time.monotonic()
        while True:
            try:
                for event in self._events:
                    if self._closed.is_set():
                        break
                    if event.name == "keepalive":
                        self._check_quiet(quiet_since)
                    elif event.name == "progress" and self._progress is not None:
                        self._progress(event.json())
                    elif event.name == "error":
                        self.close()
                        raise _problem(event.json(), 200, None)
                    elif event.name == "message":
                        if event.id is not None:
                            self.last_event_id = event.id
                        item: Received = event.json()
                        return item
                self.close()  # the job has ended
                self._release()
                raise StopIteration
            except (OSError, http.client.HTTPException, BridgeUnreachable) as err:
                if self._closed.is_set():
                    self._release()
                    raise StopIteration from None
                self._again(err, quiet_since)

    def close(self) -> None:
        """End the subscription; also while another thread waits for the next item."""
        self._closed.set()
        with self._lock:
            if self._conn is not None:
                self._conn.hang_up()
        with self._session._lock:
            self._session._streams.discard(self)

    def _release(self) -> None:
        """Close what is still open; for the thread that reads."""
        with self._lock:
            if self._conn is not None:
                self._conn.end()
            self._conn, self._events = None, iter(())

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self._release()

    def _open(self) -> None:
        headers = {"Accept": "text/event-stream"}
        if self.last_event_id is not None:
            headers["Last-Event-ID"] = self.last_event_id
        conn, response = self._session._open("POST", "/resources/receive", self._body, headers, _SILENCE)
        with self._lock:
            if self._conn is not None:
                self._conn.end()
            self._conn = conn
            if self._closed.is_set():
                conn.hang_up()
        self._events = _events(response)

    def _check_quiet(self, since: float) -> None:
        if self._timeout is not None and time.monotonic() - since >= self._timeout:
            raise BridgeError("timeout", f"nothing came in {self._timeout:g} s")

    def _again(self, cause: Exception, quiet_since: float) -> None:
        """Connect again, or raise."""
        end, pause = time.monotonic() + self._reconnect, 0.02
        while True:
            self._check_quiet(quiet_since)
            if time.monotonic() >= end:
                self.close()
                raise _unreachable(cause, self._session.socket_path, self._timeout) from cause
            if self._closed.wait(pause):
                raise StopIteration
            pause = min(2 * pause, 1.0)
            try:
                self._open()
                return
            except BridgeError as err:  # refused for good, unless the node just restarts
                if not isinstance(err, BridgeUnreachable) and err.status != 503:
                    self.close()
                    raise


class _Event:
    __slots__ = ("name", "id", "data")

    def __init__(self, name: str, id: str | None, data: str) -> None:
        self.name, self.id, self.data = name, id, data

    def json(self) -> Any:
        return json.loads(self.data)


#: Seconds after which a stream without keep-alives, which come every 5 s, is dead.
_SILENCE = 60.0


def _events(response: http.client.HTTPResponse) -> Iterator[_Event]:
    """The events of a stream; a comment is an event "keepalive". It ends with the
    stream, and raises when that breaks."""
    name, ident = "", None
    data: list[str] = []
    for line in _lines(response):
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if not line:
            if data:
                yield _Event(name or "message", ident, "\n".join(data))
            name, ident, data = "", None, []
        elif not field:
            yield _Event("keepalive", None, value)
        elif field == "event":
            name = value
        elif field == "id":
            ident = value
        elif field == "data":
            data.append(value)


_MAX_LINE = 1 << 20  # bytes; an event is a file's name and digests


def _lines(response: http.client.HTTPResponse) -> Iterator[str]:
    buffer = b""
    while True:
        chunk = response.read1(65536)
        if not chunk:
            return
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        if len(buffer) > _MAX_LINE:
            raise http.client.LineTooLong("event")
        for line in lines:
            yield line.rstrip(b"\r").decode("utf-8", "replace")


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    raw: _socket.socket | None = None  # http.client forgets its own when the answer is the last

    def __init__(self, path: str) -> None:
        super().__init__("bridge")
        self._path = path

    def open(self, connect_timeout: float | None, timeout: float | None) -> None:
        """Connect; timeout is for each read and write after that."""
        self.raw = self.sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self.raw.settimeout(connect_timeout)
        _connect(self.raw, self._path)
        self.raw.settimeout(timeout)

    def hang_up(self) -> None:
        """Let a read of another thread return; that one sees the end."""
        if self.raw is not None:
            try:
                self.raw.shutdown(_socket.SHUT_RDWR)
            except OSError:
                pass  # the other end was first

    def end(self) -> None:
        """Close, in the thread that reads."""
        self.hang_up()
        self.close()
        if self.raw is not None:
            self.raw.close()


def _connect(sock: _socket.socket, path: str) -> None:
    """Connect, also where the path is longer than an address can hold."""
    try:
        sock.connect(path)
    except OSError:
        if len(os.fsencode(path)) < 100 or not os.path.isdir("/proc/self/fd"):
            raise
        fd = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{fd}/{os.path.basename(path)}")
        finally:
            os.close(fd)


def _body(**fields: Any) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None}


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, int(seconds * 1000))


def _later(timeout: float | None) -> float | None:
    """The bridge ends a call by its own clock; this is for when it does not."""
    return None if timeout is None else timeout + 30.0


def _key(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": key}


def _segment(text: str) -> str:
    if not text or not all(c.isalnum() or c in "-_." for c in text):
        raise ValueError(f"no id of a transfer: {text!r}")
    return text


def _is_stream(response: http.client.HTTPResponse) -> bool:
    return (response.getheader("Content-Type") or "").startswith("text/event-stream")


def _decode(response: http.client.HTTPResponse, socket_path: str, timeout: float | None) -> Any:
    try:
        data = response.read()
    except (OSError, http.client.HTTPException) as err:
        raise _unreachable(err, socket_path, timeout) from err
    if not data:
        return None  # 204
    try:
        return json.loads(data)
    except ValueError as err:
        raise BridgeError("bad_answer", f"the answer is no JSON: {data[:200]!r}", status=response.status) from err


def _refusal(response: http.client.HTTPResponse) -> BridgeError:
    data = response.read(1 << 24)
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    try:
        retry_after: float | None = float(response.getheader("Retry-After") or "")
    except ValueError:
        retry_after = None
    if not isinstance(body, dict) or not body.get("error"):  # of another implementation
        code = http.client.responses.get(response.status, "error").lower().replace(" ", "_")
        text = data.decode("utf-8", "replace").strip() or f"HTTP {response.status}"
        return BridgeError(code, text[:2000], status=response.status, body=body, retry_after=retry_after)
    return _problem(body, response.status, retry_after)


def _problem(body: Any, status: int, retry_after: float | None) -> BridgeError:
    fields = body if isinstance(body, dict) else {}
    code, detail, hint = (str(fields.get(k) or "") for k in ("error", "detail", "hint"))
    return BridgeError(code or "error", detail, status=status, hint=hint, body=body, retry_after=retry_after)


def _unreachable(err: BaseException, socket_path: str, timeout: float | None) -> BaseException:
    """What an exception is for the caller."""
    if isinstance(err, _socket.timeout):
        limit = "" if timeout is None else f" in {timeout:g} s"
        return BridgeUnreachable("timeout", f"bridge {socket_path}: no answer{limit}")
    if isinstance(err, (OSError, http.client.HTTPException)):
        return BridgeUnreachable("unreachable", f"bridge {socket_path}: {err or type(err).__name__}")
    return err

