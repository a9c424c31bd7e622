"""A PostgreSQL of its own for a test: from Debian's package, on loopback, gone with the test."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import programs

USER, PASSWORD = "voice", "s3cret"
START_S = 30


def binaries():
    """The folder of the newest version's programs; skips the test where there is none, unless
    `cargo xtask test` has installed it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        assert not os.environ.get("VOICE_BOT_POSTGRES"), "install Debian's package postgresql"
        pytest.skip("there is no PostgreSQL here")
    return found[-1].parent


@contextlib.contextmanager
def postgres():
    """Gives the address of a database, without the password."""
    programs_of_it, folder = binaries(), Path(tempfile.mkdtemp(prefix="postgres-"))
    # It does not run as root.
    identity = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    try:
        secret, data, port = folder / "password", folder / "data", programs.free_port()
        secret.write_text(PASSWORD)
        os.chmod(secret, 0o644)
        subprocess.run([programs_of_it / "initdb", "--no-sync", "--auth=scram-sha-256",
                        "--username", USER, "--pwfile", secret, "--locale=C.UTF-8", "-D", data],
                       check=True, cwd=folder, stdout=subprocess.DEVNULL, **identity)
        server = subprocess.Popen(
            [programs_of_it / "postgres", "-D", data, "-p", str(port), "-c",
             "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity)
        try:
            until = time.monotonic() + START_S
            while subprocess.run([programs_of_it / "pg_isready", "-q", "-h", "127.0.0.1",
                                  "-p", str(port)], check=False).returncode:
                assert server.poll() is None and time.monotonic() < until, "it does not start"
                time.sleep(0.05)
            with socket.create_connection(("127.0.0.1", port), 5):
                pass
            yield f"postgres://{USER}@127.0.0.1:{port}/postgres"
        finally:
            # SIGINT: fast shutdown, which ends its children too.
            server.send_signal(subprocess.signal.SIGINT)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
