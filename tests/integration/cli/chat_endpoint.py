"""An OpenAI-compatible endpoint on loopback for evaluations: it counts what it is asked."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Endpoint(ThreadingHTTPServer):
    """Answers chat completions with the question and counts.

    `status`, `answer` and, of all that was sent, `answer_body` decide what comes back.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = Counter()
        self.status = lambda question: 200
        self.answer = lambda question: f"It is {question}."
        self.answer_body = lambda body: self.answer(body["messages"][-1]["content"])
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.asked[question] += 1
        status = self.server.status(question)
        choice = {"message": {"content": self.server.answer_body(body)}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 50}
        data = json.dumps({"choices": [choice], "usage": usage} if status == 200 else {"error": {"message": "no"}})
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data.encode())

    def log_message(self, *_):
        return
