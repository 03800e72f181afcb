"""A run for other programs.

One job: `export_run`, which turns a run folder into a new folder of one of `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gptlib.errors import ConfigError
from gptlib.hub.gguf_file import write_gguf
from gptlib.hub.new_folder import new_folder
from gptlib.hub.onnx_file import write_onnx
from gptlib.hub.subject import Subject
from gptlib.hub.transformers_folder import write_transformers
from gptlib.paths import user_path
from gptlib.quantization.blocks import FORMATS as QUANTS

#: What can be written, and what fills a folder with it.
FORMATS: dict[str, Callable[[Subject, Path], None]] = {
    "hf": write_transformers, "onnx": write_onnx, "gguf": write_gguf,
}  # fmt: skip


def export_run(
    run: str | Path,
    to: str,
    folder: str | Path,
    which: str = "best",
    quant: str | None = None,
) -> Path:
    """Write a run's model and its tokenizer for another program.

    A vocabulary that was padded goes out without the padding: no other program can then draw an id
    that no token stands for.

    Args:
        run: a run folder, or the name of a model that ships with gptlib.
        to: "hf" (transformers), "onnx" (onnxruntime) or "gguf" (llama.cpp).
        folder: a new folder; it appears whole or not at all.
        which: "best" or "latest".
        quant: for "gguf", "q8_0" or "q4_0": matrices of 8 or of 4 bits; None is float32.

    Returns:
        the folder.

    Raises:
        ConfigError: no such format, or none that has such a quantization; the model has a part that
            the format cannot express; a package is missing. TokenizerError: the same of the
            tokenizer. CheckpointError: what `load_run` refuses. DataError: the folder is there
            already, or cannot be written.
    """
    if to not in FORMATS:
        raise ConfigError(f"{to!r} is no format; use one of {', '.join(FORMATS)}")
    if quant is not None and (to != "gguf" or quant not in QUANTS):
        raise ConfigError(
            f"quant is {quant!r} for {to}; weights are quantized for gguf alone, by one of "
            f"{', '.join(QUANTS)}"
        )
    subject = Subject.of_run(run, which)
    with new_folder(folder) as temporary:
        if quant:
            write_gguf(subject, temporary, quant)
        else:
            FORMATS[to](subject, temporary)
    return user_path(folder)
