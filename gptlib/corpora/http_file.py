"""One file from one address, by HTTP, or the reason why not.

One job: `receive`. A transfer that breaks off goes on where it stopped, at the same address or at
the next one, if the server can send the rest of a file; what the pieces make together must have the
expected size and sha256, or it counts for nothing. Whether the pieces outlive the process is for
the caller to say, who owns the path.
"""

from __future__ import annotations

import time
from pathlib import Path

from gptlib import files
from gptlib.progress import progress

TIMEOUT = 30  # seconds without a byte before a server is given up
SLOWEST = 10_000  # bytes a second, over the whole file, before a server is given up
TRIES = 5  # transfers from one address, as long as each brings the file further
BLOCK = 1 << 18  # bytes that are read at a time, at most
PART = ".part"  # after the name of a file that is on its way

clock = time.monotonic


class Refused(Exception):
    """An address gave something that is not the file."""


class _BrokeOff(Exception):
    """A transfer ended before the end; what came so far may be the beginning of the file."""


def receive(url: str, path: Path, size: int, sha256: str) -> None:
    """Bring the file at `url` to `path`, going on from the bytes that `path` has already.

    Args:
        size: in bytes; 0 where only the hash is known, and the server's word is taken.

    Raises:
        Refused: not the file, or too slow. Any error of requests or urllib3: see `reason`. What
            `path` holds then is the beginning of a transfer that broke off, or nothing.
    """
    import requests
    import urllib3

    if _size(path) and files.sha256(path) == sha256:  # killed before it was put in its place
        return
    for left in reversed(range(TRIES)):
        had = _size(path)
        try:
            _transfer(url, path, had, size)
            _check(path, size, sha256)
            return
        except Refused:
            path.unlink(missing_ok=True)
            if not (had and left):
                raise
            # The beginning came from elsewhere and may be to blame: once more, from the start.
        except (_BrokeOff, requests.RequestException, urllib3.exceptions.HTTPError):
            if not left or _size(path) <= had:
                raise


def _transfer(url: str, path: Path, had: int, size: int) -> None:
    """Add to `path` what the server sends, or replace it if the server begins at the beginning."""
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={had}-"} if had else {})
    began = clock()
    with requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
        if had and response.status_code == 416:
            raise Refused("has no more of the file than was here")
        response.raise_for_status()
        rest = response.status_code == 206
        if rest and not response.headers.get("Content-Range", "").startswith(f"bytes {had}-"):
            raise Refused("sent another part of the file than it was asked for")
        done = had if rest else 0
        if not (size or response.headers.get("Content-Length")):
            raise Refused("does not say how many bytes the file has")
        size = size or done + int(response.headers["Content-Length"])
        deadline = began + TIMEOUT + size / SLOWEST
        what = f"downloading {path.name.removesuffix(PART)}"
        shown = progress(what, size, "B", done=done, in_notebooks=False)
        with path.open("ab" if rest else "wb") as file, shown as bar:
            while block := response.raw.read1(BLOCK):  # whatever has come, however little
                file.write(block)
                bar.at(file.tell())
                if file.tell() > size:
                    raise Refused(f"sent more than the file's {size:,} bytes")
                if clock() > deadline:
                    raise Refused(
                        f"is too slow: {file.tell():,} of {size:,} bytes in "
                        f"{TIMEOUT + size / SLOWEST:.0f} s"
                    )
        if response.raw.length_remaining:
            raise _BrokeOff


def _check(path: Path, size: int, sha256: str) -> None:
    """Tell a web page, a short file and another file from the one that is wanted."""
    with path.open("rb") as file:
        opening = file.read(256).lstrip().lower()
    if opening.startswith((b"<!doctype html", b"<html")):
        raise Refused("sent a web page instead of the file")
    if size and _size(path) != size:
        raise Refused(f"sent {_size(path):,} bytes instead of {size:,}")
    if (found := files.sha256(path)) != sha256:
        raise Refused(f"sent a file whose sha256 begins {found[:8]} instead of {sha256[:8]}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def reason(error: Exception) -> str:
    """Return a few words for why an address failed, without the library's nested report."""
    import requests.exceptions as http
    import urllib3.exceptions as http3

    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, http.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, http.TooManyRedirects):
        return "redirects in a circle"
    if isinstance(error, http.Timeout | http3.TimeoutError):
        return f"gave no answer within {TIMEOUT} s"
    if isinstance(error, _BrokeOff | http3.ProtocolError):
        return "broke off before the end"
    if isinstance(error, http.ConnectionError):
        return "no connection"
    return f"{type(error).__name__}: {error}"
