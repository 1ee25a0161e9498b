"""nginx and Caddy with the files of deploy/, each in front of a server.

Of an example, only what its reader has to change is changed here: addresses, names, and where certificate and snippet are.
A change that changes nothing is a failure, so that the examples and this file cannot drift apart.
"""

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import trustme
from place import ROOT, eventually
from running import Running

DEPLOY = ROOT / "deploy"


class Proxy(Running):
    """One of them, with a certificate that `authority` vouches for."""

    def __init__(self, folder, server, below=False):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.server = server
        self.below = below
        self.prefix = "/scumble" if below else ""
        self._certify()
        # nobody holds a port for a program that cannot be handed one: another may take it meanwhile
        for attempt in range(5):
            self.port, self.plain_port = free_ports(2)
            if self._start(attempt):
                return
        raise AssertionError(f"{self.program} does not start:\n{self.log}")

    @property
    def url(self):
        """Where callers find the server."""
        return f"https://localhost:{self.port}{self.prefix}"

    def context(self):
        """Trusts its certificate and nothing else."""
        return ssl.create_default_context(cafile=self.authority)

    def _certify(self):
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        self.authority = self.folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(self.folder / "fullchain.pem"), append=True)
        certificate.private_key_pem.write_to_path(str(self.folder / "privkey.pem"))

    def _start(self, attempt):
        with open(self.folder / f"log-{attempt}.txt", "wb") as log:
            environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder)}
            words = self._words()
            self._process = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def answers():
            if self._process.poll() is not None:
                return "ended"
            try:
                answer = httpx.get(f"{self.url}/health", verify=self.context(), timeout=5)
            except httpx.TransportError:
                return None
            return "answers" if answer.status_code == 200 else None

        return eventually(f"{self.program} answers", answers, 30) == "answers"

    def _example(self, name, changes):
        text = (DEPLOY / name).read_text()
        for before, after in changes.items():
            assert before in text, f"{name} has no {before!r}"
            text = text.replace(before, str(after))
        return text


class Nginx(Proxy):
    program = "nginx"

    def _words(self):
        snippet = self.folder / "scumble-proxy.conf"
        shutil.copy(DEPLOY / "nginx/scumble-proxy.conf", snippet)
        changes = {
            "/etc/nginx/snippets/scumble-proxy.conf": snippet,
            "/etc/ssl/scumble/": f"{self.folder}/",
            "server 127.0.0.1:8787;": f"server {self.server.address};",
            "    listen [::]:443 ssl http2;\n": "",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
        }
        if self.below:
            name = "nginx/scumble-below-a-path.conf"
            changes["www.example.com"] = "localhost"
        else:
            name = "nginx/scumble.conf"
            changes["images.example.com"] = "localhost"
            changes["    listen [::]:80;\n"] = ""
            changes["listen 80;"] = f"listen 127.0.0.1:{self.plain_port};"
        (self.folder / "scumble.conf").write_text(self._example(name, changes))
        # what Debian's own nginx.conf has around conf.d, in a folder of its own
        kinds = "client_body proxy fastcgi uwsgi scgi"
        folders = "".join(f"    {kind}_temp_path {self.folder}/{kind};\n" for kind in kinds.split())
        main = self.folder / "nginx.conf"
        main.write_text(
            "daemon off;\nuser root;\nworker_processes 1;\nerror_log stderr info;\n"
            f"pid {self.folder}/nginx.pid;\nevents {{ worker_connections 768; }}\n"
            "http {\n    sendfile on;\n    tcp_nopush on;\n    gzip on;\n    access_log off;\n"
            f"{folders}    include {self.folder}/scumble.conf;\n}}\n"
        )
        return ["nginx", "-p", str(self.folder), "-e", "stderr", "-c", str(main)]


class Caddy(Proxy):
    program = "caddy"

    def _words(self):
        changes = {"/etc/ssl/scumble/": f"{self.folder}/", "127.0.0.1:8787": self.server.address}
        name = "caddy/Caddyfile"
        if self.below:
            name = "caddy/Caddyfile.below-a-path"
            changes["\nwww.example.com {"] = f"\nlocalhost:{self.port} {{"
        else:
            changes["\nimages.example.com {"] = f"\nlocalhost:{self.port} {{"
        (self.folder / "example").write_text(self._example(name, changes))
        # no ports but those named here, no place outside of the folder
        main = self.folder / "Caddyfile"
        main.write_text(
            "{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n"
            f"\tstorage file_system {self.folder}/storage\n\tservers {{\n\t\tprotocols h1 h2\n\t}}\n}}\n"
            f"import {self.folder}/example\n"
        )
        return ["caddy", "run", "--adapter", "caddyfile", "--config", str(main)]


def free_ports(count):
    """Ports that nobody listened on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
