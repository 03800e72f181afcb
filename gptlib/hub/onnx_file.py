"""A run as an ONNX graph, which onnxruntime runs without Python's torch.

One job: `write_onnx`. The graph takes `input_ids` (B, T) int64, any batch and any T up to the
context, and gives `logits` (B, T, V). It keeps no keys and values between calls, so each new token
reads the whole text again. All that a `GPT` can be can be written, the newer parts as well.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.hub.subject import Subject, write_json
from gptlib.model import GPT

GRAPH = "model.onnx"
LARGE = 1_500_000_000  # bytes of weights; a graph is one protobuf message, at most 2 GiB

_HOW = """\
Run it in this folder (`pip install onnxruntime tokenizers`):

```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
session = onnxruntime.InferenceSession("model.onnx")
ids = tokenizer.encode({prompt!r}).ids
for _ in range(100):
    window = np.array([ids[-{context}:]], dtype=np.int64)  # (B, T)
    logits = session.run(["logits"], {{"input_ids": window}})[0]  # (B, T, V)
    ids.append(int(logits[0, -1].argmax()))
print(tokenizer.decode(ids, skip_special_tokens=False))
```

- `model.onnx` takes `input_ids` (B, T) int64 and gives `logits` (B, T, V) float32, for any B and
  any T up to {context}."""


class _Logits(torch.nn.Module):
    """A `GPT` that returns its logits alone."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model.logits(self.model.hidden(input_ids))


def write_onnx(subject: Subject, folder: Path) -> None:
    """Fill a folder with the graph and the tokenizer's files.

    Raises:
        ConfigError: `onnx` or `onnxscript` is not installed, or the context is a single token.
        TokenizerError: the tokenizer cannot be written for others.
    """
    _check_installed()
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    context = subject.model.config.block_size
    if context < 2:
        raise ConfigError("the model reads 1 token, and the graph's T has to vary; give one of 2")
    subject.write_tokenizer(folder)  # what can be refused comes before the half minute of tracing
    size = {"input_ids": {0: torch.export.Dim("batch"), 1: torch.export.Dim("time", max=context)}}
    example = torch.zeros(2, min(8, context), dtype=torch.int64)
    weights = 4 * subject.model.num_params()
    with _quiet():
        program = torch.onnx.export(
            _Logits(subject.model).eval(), (example,), dynamo=True, dynamic_shapes=size,
            input_names=["input_ids"], output_names=["logits"], verbose=False,
        )  # fmt: skip
        assert program is not None  # it is, with dynamo
        # Each node would say by which line of which file here it was made, with the whole path.
        ClearMetadataAndDocStringPass()(program.model)
        program.save(folder / GRAPH, external_data=weights > LARGE)
    config = {"vocab_size": subject.model.config.vocab_size, "context": context,
              "bos_token_id": subject.begin_id, "eos_token_id": subject.end_id}  # fmt: skip
    write_json(folder / "config.json", config)
    how = _HOW.format(prompt=subject.prompt, context=context)
    subject.write_readme(folder, how.splitlines())


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"writing ONNX needs onnx and onnxscript ({error}); pip install onnx onnxscript"
        ) from error


@contextmanager
def _quiet() -> Generator[None]:
    """Keep what torch's exporter tells its own developers out of the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
