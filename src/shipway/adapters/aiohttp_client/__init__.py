"""aiohttp as the gateway's engine client."""
