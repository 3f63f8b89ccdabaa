"""An index that cannot be written is an error of the operating system, not of its values."""

import subprocess
import sys

WRITES_WITH_A_LIMIT = """
import errno, resource, sys
from pathlib import Path
import anyio
from shipway.adapters.tantivy.keywords import TantivyFormat
from shipway.core.canonical import digest_bytes
from shipway.rag.model import Access, Chunk

def chunk(number):
    text = " ".join(f"w{number}x{other}" for other in range(50))
    access = Access("t", frozenset({"g"}))
    return Chunk(digest_bytes(b"c"), "a.md", digest_bytes(b"d"), number, "A", (), text, 0, len(text), access)

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    anyio.run(TantivyFormat().write, Path(sys.argv[1]), [chunk(number) for number in range(500)])
except OSError as error:
    sys.exit(0 if error.errno == errno.EFBIG and error.filename.endswith("keywords") else 2)
sys.exit(1)
"""


def test_a_file_system_without_room_raises_an_os_error_with_its_number_and_path(tmp_path):
    argv = [sys.executable, "-c", WRITES_WITH_A_LIMIT, str(tmp_path)]
    done = subprocess.run(argv, check=False, capture_output=True, timeout=50)
    assert done.returncode == 0, done.stderr.decode()
