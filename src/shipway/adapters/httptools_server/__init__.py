"""The gateway's own HTTP/1.1 server: httptools parses, asyncio protocols move the bytes."""
