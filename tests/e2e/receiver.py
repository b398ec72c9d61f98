#!/usr/bin/env python3
"""A webhook that keeps what it accepts: it appends every event to a file, a line each, and answers 200. Bodies with
"reject":true get 400.

usage: receiver.py PORT FILE [TOKENS]

While there is a file `slow` beside FILE, each answer comes 50 ms after its events were taken.

TOKENS is a file that gets each request's Authorization, a line each.

SIGTERM ends it between two answers: what is in the file was answered, and nothing else.
"""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

answering = threading.Lock()


class Webhook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_taken = b'"reject":true' not in body
        status, answer = (b"200 OK", b'{"text":"Success","code":0}') if is_taken else (b"400 Bad Request", b"{}")
        with answering:
            if is_taken:
                os.write(events, body)
            if os.path.exists(slow):
                time.sleep(0.05)
            if tokens is not None:
                os.write(tokens, self.headers["Authorization"].encode() + b"\n")
            self.wfile.write(
                b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (status, len(answer), answer)
            )


def end(_signal, _frame):
    answering.acquire()
    os._exit(0)


def appending(path):
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


port, path = sys.argv[1:3]
slow = os.path.join(os.path.dirname(path), "slow")
events = appending(path)
tokens = appending(sys.argv[3]) if len(sys.argv) > 3 else None
server = ThreadingHTTPServer(("127.0.0.1", int(port)), Webhook)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
server.serve_forever()
