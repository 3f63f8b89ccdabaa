"""A model endpoint for other people's tools: fixed answers and a judge whose replies are known, from a thread."""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWERS = {
    "how long": "You can return it within 30 days.",
    "who pays": "You pay for the way back.",
    "refund": "The refund comes after 5 days.",
}
WRONG = "I like trains."
"""What is answered to everything else."""
HANG_S = 60.0


def answer(model: str, text: str) -> str:
    """Return what a model says: `judge` as a judge, `echo` what it was told, others from the table."""
    if model == "judge":
        return judged(text)
    if model == "echo":
        return text
    found = (said for words, said in ANSWERS.items() if words in text.lower())
    return next(found, WRONG)


def judged(prompt: str) -> str:
    """Return a reply in the form that a judge's prompt asks for; what talks of trains is never right."""
    good = WRONG not in prompt
    if "GRADE:" in prompt:
        return f"GRADE: {'C' if good else 'I'}"
    for word, reply in _replies(good=good).items():
        if re.search(word, prompt):
            return json.dumps(reply)
    return json.dumps({"pass": good, "score": float(good), "reason": "known"})


def _replies(*, good: bool) -> dict[str, Any]:
    verdict = "yes" if good else "no"
    said = "It can be returned." if good else WRONG
    classified = {"statement": said, "reason": "known", "attributed": int(good)}
    statement = {"statement": said, "reason": "known", "verdict": int(good)}
    return {
        r"\"classifications\"": {"classifications": [classified]},
        r"\"noncommittal\"": {"question": "How long can I return it?", "noncommittal": int(not good)},
        r"breakdown of statements|\"NLIStatementOutput|natural language inference|StatementFaithfulness": {
            "statements": [statement]
        },
        r"['\"]verdicts['\"]": {"verdicts": [{"verdict": verdict, "reason": "known"}]},
        r"['\"]statements['\"]": {"statements": [said]},
        r"['\"]truths['\"]": {"truths": [said]},
        r"['\"]claims['\"]": {"claims": [said]},
        r"['\"]reason['\"]": {"reason": "known"},
    }


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that were stopped while they waited."""

    def handle_error(self, *_: Any) -> None:
        return


class Endpoint:
    """A server on loopback that counts what it is asked; `hits` are the models asked for."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.hits: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.left = threading.Event()
        handler = _handler(self, delay_s)
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        """Answer nobody any more; who hangs is let go."""
        self.left.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(endpoint: Endpoint, delay_s: float) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            endpoint.bodies.append(body)
            model = str(body.get("model"))
            endpoint.hits.append(model)
            if model == "hang":
                endpoint.left.wait(HANG_S)
            if delay_s:
                time.sleep(delay_s)
            if model in {"down", "hang"} or (model == "half" and "pays" in json.dumps(body)):
                self._send(500, {"error": {"message": "the engine is down", "type": "server_error"}})
            elif self.path.endswith("/v1/completions"):
                self._send(200, _echoed(model, body))
            elif self.path.endswith("/embeddings"):
                texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
                data = [{"object": "embedding", "index": at, "embedding": [1.0, 0.0]} for at in range(len(texts))]
                self._send(200, {"object": "list", "model": model, "data": data, "usage": _usage()})
            else:
                self._send(200, _completion(model, _text(body["messages"])))

        def do_GET(self) -> None:
            self._send(200, {"object": "list", "data": [{"id": "answers", "object": "model"}]})

        def log_message(self, *_: Any) -> None:
            return

        def _send(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def _text(messages: list[dict[str, Any]]) -> str:
    contents = [message["content"] for message in messages]
    parts = [item if isinstance(item, str) else " ".join(part.get("text", "") for part in item) for item in contents]
    return "\n".join(parts)


def _completion(model: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer(model, text)}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _usage(),
    }


def _echoed(model: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return a completion with log-likelihoods: words are tokens, and those of a known answer are likely."""
    prompt = body["prompt"]
    said = " and" if model == "silent" or not body.get("echo") else prompt + " and"
    words = list(re.finditer(r"\s*\S+", said))
    known = {word for text in ANSWERS.values() for word in text.split()}
    likely = [-0.25 if found[0].strip() in known else -4.0 for found in words]
    logprobs = {
        "tokens": [found[0] for found in words],
        "token_logprobs": [None, *likely[1:]],
        "text_offset": [found.start() for found in words],
        "top_logprobs": [None, *({found[0]: -0.25} for found in words[1:])],
    }
    choice = {"index": 0, "text": said, "logprobs": logprobs, "finish_reason": "length"}
    return {"id": "cmpl-1", "object": "text_completion", "model": model, "choices": [choice], "usage": _usage()}


def _usage() -> dict[str, int]:
    return {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
