"""The data plane's front: the gateway application on uvicorn."""
