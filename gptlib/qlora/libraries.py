"""The libraries that QLoRA stands on, brought in without a word.

One job: `qlora_libraries`, and `quiet`, in which they neither log nor draw bars. bitsandbytes says
at import which kernels it could not fetch from a hub that nobody asked it to visit, and peft warns
of a rounding that `gptlib.qlora.merging` measures. Errors still come through.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType

from gptlib.errors import ConfigError

_LOUD = ("bitsandbytes", "transformers", "peft")


@contextmanager
def quiet(bars: bool = False) -> Generator[None]:
    """Hear only errors of these libraries; `bars` leaves those that show how far a download is."""
    before = {name: logging.getLogger(name).level for name in _LOUD}
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
    drawing, shown = None, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not bars:
                from transformers.utils import logging as drawing

                shown = drawing.is_progress_bar_enabled()
                drawing.disable_progress_bar()
            yield
    finally:
        if drawing and shown:
            drawing.enable_progress_bar()
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def qlora_libraries() -> tuple[ModuleType, ModuleType, ModuleType]:
    """transformers, peft and bitsandbytes.

    Raises:
        ConfigError: one of them is not installed.
    """
    try:
        with quiet(bars=True):
            import bitsandbytes
            import peft
            import transformers
    except ImportError as error:
        raise ConfigError(
            f"QLoRA needs transformers, peft and bitsandbytes ({error}); "
            "pip install 'gptlib[qlora]'"
        ) from error
    return transformers, peft, bitsandbytes
