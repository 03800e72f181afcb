"""Terminals for tests: one that is only remembered, a real one, and what a person sees there."""

import contextlib
import io
import os
import threading


class Screen:
    """What stands on a terminal after some text: carriage returns write over what was there."""

    def __init__(self, text: str, columns: int) -> None:
        self.rows, self.wrapped, column = [""], 0, 0
        for c in text:
            if c == "\n":
                self.rows.append("")
                column = 0
            elif c == "\r":
                column = 0
            else:
                if column == columns:
                    self.rows.append("")
                    self.wrapped, column = self.wrapped + 1, 0
                row = self.rows[-1].ljust(column)
                self.rows[-1] = row[:column] + c + row[column + 1 :]
                column += 1
        self.rows = [row.rstrip() for row in self.rows]


class FakeTerminal(io.StringIO):
    """Says that it is a terminal, and counts what is written to it."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return -1

    def say(self, line: str) -> None:
        self.write(line + "\n")

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


@contextlib.contextmanager
def real_terminal(columns: int):
    """A pty of a width: (the file descriptor to give to a process, a list that gets its output)."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    written: list[str] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # EIO: the last one who could write has gone
            while block := os.read(ours, 4096):
                written.append(block.decode())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield theirs, written
    finally:
        os.close(theirs)
        reader.join(10)
        os.close(ours)
