"""`python -m shipway.adapters.echo --port N`: the echo engine without a project."""

import argparse

from shipway.adapters.echo.app import run_echo


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m shipway.adapters.echo", description="Serve the echo engine.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-delay-ms", type=float, default=0.0)
    given = parser.parse_args()
    run_echo(given.host, given.port, token_delay_ms=given.token_delay_ms)


if __name__ == "__main__":
    main()
