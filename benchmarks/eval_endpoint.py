"""An OpenAI-compatible endpoint that answers every chat after 10 ms: what the runners of the benchmark ask.

    python benchmarks/eval_endpoint.py [DELAY_MS]

prints its port and serves until its standard input closes. The answer repeats the last message, so that every case has
one of its own.
"""

import asyncio
import re
import sys
import threading

import orjson

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"


class Endpoint(asyncio.Protocol):
    """One connection; requests on it are answered in order."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._data = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._data += data
        while (end := self._data.find(_HEAD_END)) >= 0:
            found = _LENGTH.search(self._data, 0, end + 2)
            size = end + len(_HEAD_END) + (int(found[1]) if found else 0)
            if len(self._data) < size:
                return
            body = bytes(self._data[end + len(_HEAD_END) : size])
            del self._data[:size]
            asyncio.get_running_loop().call_later(self._delay_s, self._answer, body)

    def _answer(self, body: bytes) -> None:
        if self._transport.is_closing():
            return
        asked = orjson.loads(body)["messages"][-1]["content"] if body else ""
        text = asked if isinstance(asked, str) else asked[0]["text"]
        reply = orjson.dumps(
            {
                "id": "chatcmpl-bench",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": "bench-model",
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": f"It is {text}."}, "finish_reason": "stop"}
                ],
                "usage": {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28},
            }
        )
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(reply)}\r\n\r\n"
        self._transport.write(head.encode() + reply)


async def serve(delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Endpoint(delay_s), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    closed = asyncio.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=wait, daemon=True).start()
    await closed.wait()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1] if len(sys.argv) > 1 else "10") / 1000))
