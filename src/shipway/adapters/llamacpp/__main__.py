"""`python -m shipway.adapters.llamacpp --model FILE --port N`: the embedded engine without a project."""

import argparse
import sys
from pathlib import Path

from shipway.adapters.llamacpp.server import run_engine
from shipway.core.errors import ShipwayError


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m shipway.adapters.llamacpp", description="Serve a GGUF model.")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alias", help="the model's name in the API; by default the file's")
    parser.add_argument("--ctx", type=int, default=2048, help="tokens of prompt and answer together")
    parser.add_argument("--threads", type=int, help="by default the cores less one")
    given = parser.parse_args()
    try:
        alias = given.alias or given.model.stem
        run_engine(given.model, given.host, given.port, alias=alias, ctx=given.ctx, threads=given.threads)
    except ShipwayError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
