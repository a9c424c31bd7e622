"""A terminal for a program under test: keys go in, what it shows comes out."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import programs

PIECES = re.compile(r"\x1b\[([0-9;?]*)([a-zA-Z])|\x1b[()][A-Z0-9]|\x1b[=>]|[^\x1b]")
PATIENCE_S = 20


class Terminal:
    """Runs `voice-bot` with a terminal of its own. Use it in `with`."""

    def __init__(self, *arguments, size=(24, 80), env=None):
        self.ours, theirs = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(theirs)
        self.theirs, self.raw = theirs, ""
        self.program = subprocess.Popen(
            [programs.binary(), *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, env={"TERM": "xterm-256color", **(env or {})})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait()
        os.close(self.ours)
        os.close(self.theirs)

    def resize(self, rows, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys):
        os.write(self.ours, keys.encode())

    def read(self, seconds=0.1):
        """What has been written since it was asked last, as it was written."""
        said = b""
        while select.select([self.ours], [], [], seconds)[0]:
            said += os.read(self.ours, 65536)
            seconds = 0.05
        self.raw += said.decode(errors="replace")

    def screen(self):
        """What stands on the screen now, of what voice-bot uses: text put at places, and a wipe."""
        cells, row, column = {}, 1, 1
        for piece in PIECES.finditer(self.raw):
            numbers, order = piece[1], piece[2]
            if order == "H":
                row, column = (int(number) for number in (numbers or "1;1").split(";"))
            elif order == "J":
                cells = {}
            elif order is None and not piece[0].startswith("\x1b"):
                cells[row, column], column = piece[0], column + 1
        rows, columns = (max((cell[way] for cell in cells), default=0) for way in (0, 1))
        lines = ["".join(cells.get((row, column), " ") for column in range(1, columns + 1))
                 for row in range(1, rows + 1)]
        return "\n".join(line.rstrip() for line in lines)

    def shows(self, text):
        """Waits until `text` stands on the screen."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.read()
            screen = self.screen()
            if text in screen:
                return screen
            assert time.monotonic() < deadline, f"{text!r} is not shown:\n{screen}"

    def ends(self):
        """Waits for the program's end: its exit status."""
        deadline = time.monotonic() + PATIENCE_S
        while self.program.poll() is None:
            self.read()
            assert time.monotonic() < deadline, "the program does not end"
        self.read()
        return self.program.returncode

    def given_back(self):
        """Whether the terminal is as it was before, cursor and first screen included."""
        as_before = termios.tcgetattr(self.theirs) == self.before
        shown = self.raw.rfind("\x1b[?25h") > self.raw.rfind("\x1b[?25l")
        return as_before and shown and self.raw.rfind("\x1b[?1049l") > self.raw.rfind("\x1b[?1049h")
