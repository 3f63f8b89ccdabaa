"""The data plane's front: the gateway on its own server."""
