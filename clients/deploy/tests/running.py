"""A program that a test has started."""

import subprocess


class Running:
    """It has a `folder` of its own, with what it said in `log-*.txt`, a file for each attempt to start it."""

    @property
    def log(self):
        return "".join(path.read_text() for path in sorted(self.folder.glob("log-*.txt")))

    def close(self):
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
