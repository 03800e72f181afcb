"""A folder that is there whole or not at all.

One job: `new_folder`, which lets a folder be filled beside its place and moves it there at the end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from gptlib.errors import DataError
from gptlib.files import way_out
from gptlib.paths import user_path


@contextmanager
def new_folder(place: str | Path) -> Generator[Path]:
    """Give a folder to fill; after the block it stands at `place`, after an error nowhere.

    Raises:
        DataError: something is there already, or it cannot be written.
    """
    place = user_path(place)
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        if os.path.lexists(place) and not (place.is_dir() and not any(place.iterdir())):
            raise DataError(
                f"{place} is there already, and nothing is written over it; give a new folder, or "
                "remove that one"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        if place.is_dir():
            place.rmdir()  # empty, which Windows does not replace
        os.replace(temporary, place)
    except OSError as error:
        raise DataError(f"cannot write {place} ({error.strerror or error}); {way_out(error)}"
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
