"""How Shipway is started and called: command line, control API, data plane, and the one composition root."""
