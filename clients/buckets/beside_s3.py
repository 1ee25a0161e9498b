"""Runs a command beside an S3 server that others wrote: SCUMBLE_TEST_S3 names a bucket there.

    python clients/buckets/beside_s3.py cargo test --release --workspace --test s3 real
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "shared"), str(HERE / "tests")]
from bucket import S3  # noqa: E402


def main(words):
    with tempfile.TemporaryDirectory() as folder:
        s3 = S3(Path(folder))
        try:
            bucket = s3.bucket()
            named = {"SCUMBLE_TEST_S3": f"http://key:secret@127.0.0.1:{s3.forwarder.port}/{bucket.name}"}
            ended = subprocess.run(words, env={**os.environ, **named}, check=False).returncode
            if ended == 0 and s3.forwarder.taken == 0:
                print("the command went well and never asked the bucket", file=sys.stderr)
                return 1
            return ended
        finally:
            s3.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
