"""An OpenAI-compatible server on loopback that behaves as a test says, and counts what it is asked."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace


def message(content, finish="stop", **more):
    """A completion with one choice; `more` goes beside its content, such as reasoning_content."""
    usage = {"prompt_tokens": 200, "completion_tokens": 7, "total_tokens": 207}
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": usage, "choices": [choice]}


def refusal(status, told="scripted", wait=None, **more):
    """An HTTP error with the server's words; wait: seconds of Retry-After."""
    return SimpleNamespace(status=status, body={"error": {"message": told, **more}}, wait=wait)


class Server(ThreadingHTTPServer):
    """Plays `script` call by call, then `habit(request)`; keeps the requests, their times and headers.

    An act is an answer's text, a dict (a completion), an int or `refusal` (an HTTP error), bytes (a raw body),
    "drop" or "hang". A GET is answered by the act `listing`; the headers of each are kept in `gets`.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.calls, self.times, self.headers_seen, self.gets = [], [], [], [], []
        self.listing = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "me"}]}
        self.habit = lambda request: "a reply"
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.release = threading.Event()

    @property
    def asked(self):
        """The last turn of every request, in order."""
        return [call["messages"][-1]["content"] for call in self.calls]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server, request = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.calls.append(request)
        server.times.append(time.monotonic())
        server.headers_seen.append({k.lower(): v for k, v in self.headers.items()})
        self.play(server.script.pop(0) if server.script else server.habit(request))

    def do_GET(self):
        self.server.gets.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.play(self.server.listing)

    def play(self, act):
        server = self.server
        if act == "drop":
            self.connection.close()
        elif act == "hang":
            server.release.wait(10)
            with contextlib.suppress(OSError):  # nobody waits any more
                self.reply(200, message("too late"))
        elif isinstance(act, int):
            self.reply(act, refusal(act).body, "0.01" if act == 429 else None)
        elif isinstance(act, SimpleNamespace):
            self.reply(act.status, act.body, act.wait)
        else:
            self.reply(200, message(act) if isinstance(act, str) else act)

    def reply(self, status, body, wait=None):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if content.startswith(b"<") else "application/json")
        self.send_header("Content-Length", str(len(content)))
        if wait:
            self.send_header("Retry-After", wait)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def running():
    """A server in a thread of its own; its client waits hundredths of a second between tries."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.release.set()
        server.shutdown()
