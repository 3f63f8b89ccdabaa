"""A client process of the tests: asks COUNT times, each time over a connection of its own; prints what it was told.

`python -m tests.integration.gateway.limit_client PORT COUNT`
"""

import asyncio
import json
import sys
from collections import Counter

BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}).encode()


async def asked(port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer swk_invoke\r\n"
        b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
    )
    head = await reader.readuntil(b"\r\n")
    await reader.read()
    writer.close()
    return int(head.split(b" ")[1])


async def main(port: int, count: int) -> None:
    told: Counter[int] = Counter()

    async def one(times: int) -> None:
        for _ in range(times):
            told[await asked(port)] += 1

    await asyncio.gather(*(one(count // 4) for _ in range(4)))
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
