"""An HTTP proxy that notes what passes, and loses or makes up answers when it is told to."""

import dataclasses
import http.client
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER_S = 15
# Headers that belong to one connection alone.
OWN = {"connection", "content-length", "transfer-encoding", "keep-alive", "date", "server"}


@dataclasses.dataclass
class Noted:
    """A request, and what came of it."""

    method: str
    path: str
    form: list
    status: int
    body: str

    def fields(self, name):
        return [value for field, value in self.form if field == name]


class Between:
    """Stands on `port` before whatever listens on `target`. Use it in `with`."""

    def __init__(self, port, target):
        self.port, self.target = port, target
        self.noted = []
        # What becomes of the next requests: a function (handler, send) each; none: they pass.
        self.tricks = []
        self.over = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.server.daemon_threads = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def seen(self, method, ending):
        """The requests of this method whose path ends so, oldest first."""
        return [one for one in self.noted if one.method == method and one.path.endswith(ending)]

    def refuse(self, status, body):
        """The next request is answered with this and goes no further."""
        def trick(handler, send):
            handler.reply(status, {"Content-Type": "application/json", "Retry-After": "0"}, body)
            return status, body
        self.tricks.append(trick)

    def lose(self, answer=True, hang=False):
        """The next answer is lost; without `answer` the request is. The socket closes or hangs."""
        def trick(handler, send):
            status, _, body = send() if answer else (0, {}, b"")
            if hang:
                self.over.wait(ANSWER_S)
            handler.close_connection = True
            return status, body
        self.tricks.append(trick)

    def _handler(between):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                send = lambda: between._send(self, body)
                trick = between.tricks.pop(0) if between.tricks else None
                note = Noted(self.command, self.path.partition("?")[0], urllib.parse.parse_qsl(
                    body.decode() or self.path.partition("?")[2], keep_blank_values=True), 0, "")
                between.noted.append(note)
                if trick:
                    status, answer = trick(self, send)
                else:
                    status, headers, answer = send()
                    self.reply(status, headers, answer)
                note.status, note.body = status, answer.decode(errors="replace")

            do_POST = do_GET

            def reply(self, status, headers, body):
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in OWN:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler

    def _send(self, handler, body):
        """Status, headers and body of the target's answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=ANSWER_S)
        headers = {name: value for name, value in handler.headers.items()
                   if name.lower() not in OWN}
        connection.request(handler.command, handler.path, body or None, headers)
        answer = connection.getresponse()
        read = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), read
