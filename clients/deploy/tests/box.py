"""What an engine for containers does with the image, as far as a program notices: the command is process 1, of the image's user
and without privileges, in a network of its own. There is no engine where these tests run."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import dockerfile
from place import BINARY, ROOT, eventually

NEEDED = ["unshare", "nsenter", "setpriv", "ip"]


class Image:
    """What the Dockerfile says."""

    def __init__(self, path=ROOT / "Dockerfile"):
        self.steps = dockerfile.parse_file(str(path))

    def of(self, command):
        """Every step of a kind, in the last stage those that count last."""
        return [step for step in self.steps if step.cmd == command]

    @property
    def environment(self):
        pairs = [value for step in self.of("ENV") for value in step.value]
        return dict(zip(pairs[::2], pairs[1::2]))

    @property
    def words(self):
        """ENTRYPOINT and CMD."""
        return [*self.of("ENTRYPOINT")[-1].value], [*self.of("CMD")[-1].value]

    @property
    def health(self):
        kind, *words = self.of("HEALTHCHECK")[-1].value
        assert kind == "CMD"
        return words

    @property
    def user(self):
        return self.of("USER")[-1].value[0]


def why_not():
    """Why there are no boxes here, if so."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return f"{', '.join(missing)} missing"
    tried = subprocess.run(["unshare", "--net", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else None


class Box:
    """The image's command, or another one, in a box; `folder` holds what would be its volumes."""

    def __init__(self, folder, words=None, environment=None, network=True):
        self.image = Image()
        self.folder = Path(folder)
        # its user is another than ours
        self.folder.chmod(0o711)
        self.program = self.folder / "bin" / "scumble"
        if not self.program.exists():
            self.program.parent.mkdir(mode=0o755)
            shutil.copy(BINARY, self.program)
        uid, gid = self.image.user.split(":")
        for volume in self.image.of("VOLUME")[-1].value:
            path = Path(self.place(volume))
            if not path.exists():
                path.mkdir(mode=0o700)
                os.chown(path, int(uid), int(gid))
        entry, command = self.image.words
        assert entry == ["scumble"]
        self._as_user = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]
        self._as_user += ["--inh-caps=-all", "--bounding-set=-all"]
        variables = {name: self.place(value) for name, value in self.image.environment.items()}
        variables |= {"PATH": f"{self.program.parent}:/usr/bin:/bin", "HOME": self.place("/data")} | (environment or {})
        pairs = [f"{name}={value}" for name, value in variables.items()]
        inner = [*self._as_user, "env", "-i", *pairs, *entry, *(words or command)]
        outer = ["unshare", *(["--net"] if network else []), "--pid", "--fork", "--kill-child", "--mount-proc"]
        script = "ip link set lo up && exec \"$@\"" if network else "exec \"$@\""
        self._number = len(list(self.folder.glob("out-*.txt")))
        with open(self._file("out"), "wb") as out, open(self._file("err"), "wb") as err:
            self.process = subprocess.Popen([*outer, "sh", "-c", script, "box", *inner], stdout=out, stderr=err)

    def place(self, text):
        """A path of the image, here."""
        for volume in self.image.of("VOLUME")[-1].value:
            if text == volume or text.startswith(f"{volume}/"):
                return f"{self.folder}{text}"
        return text

    @property
    def out(self):
        return self._file("out").read_text()

    @property
    def err(self):
        return self._file("err").read_text()

    @property
    def first(self):
        """Process 1, by its number outside."""

        def child():
            if self.process.poll() is not None:
                raise AssertionError(f"it has ended:\n{self.err}")
            numbers = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            # after all that is done for it before
            return [int(number) for number in numbers if name(number) == "scumble"]

        return eventually("there is a process 1", child)[0]

    def inside(self, *words):
        """Runs something in the box as its user, as `docker exec` and Kubernetes's hooks do."""
        enter = ["nsenter", f"--target={self.first}", "--net", "--pid", "--mount", "--"]
        return subprocess.run([*enter, *self._as_user, *words], capture_output=True, text=True, timeout=120)

    def signal(self, number=signal.SIGTERM):
        os.kill(self.first, number)

    def ended(self, patience_s=60):
        return self.process.wait(patience_s)

    def close(self):
        if self.process.poll() is None:
            # takes process 1 with it
            self.process.kill()
        self.process.wait()

    def _file(self, name):
        return self.folder / f"{name}-{self._number}.txt"


def name(number):
    try:
        return Path(f"/proc/{number}/comm").read_text().strip()
    except FileNotFoundError:
        return None
