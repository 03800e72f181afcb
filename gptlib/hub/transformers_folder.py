"""A run as the folder of a model that Hugging Face's `transformers` opens.

One job: `write_transformers`: the weights as safetensors, the config, how it is to generate, and
the run's own tokenizer. `transformers` itself is not needed to write it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import safetensors
import safetensors.torch

from gptlib.files import as_any_file
from gptlib.hub.subject import Subject, write_json
from gptlib.hub.weights import gpt2_settings, gpt2_weights

WEIGHTS, CONFIG = "model.safetensors", "config.json"

_HOW = """\
Run it in this folder (`pip install torch transformers`):

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".")
ids = tokenizer({prompt!r}, return_tensors="pt")
out = model.generate(**ids, max_new_tokens=100, do_sample=True, temperature=0.8)
print(tokenizer.decode(out[0]))
```"""


def write_transformers(subject: Subject, folder: Path) -> None:
    """Fill a folder that `AutoModelForCausalLM` and `AutoTokenizer` open.

    Raises:
        ConfigError: the model has a part that GPT-2 does not have.
        TokenizerError: the tokenizer cannot be written for others.
    """
    settings = gpt2_settings(subject.model)
    weights = gpt2_weights(subject.model)
    if subject.model.config.tied_head:
        del weights["lm_head.weight"]  # the token table's own; a file has a tensor once
    write = partial(safetensors.torch.save_file, weights, metadata={"format": "pt"})
    try:
        as_any_file(folder / WEIGHTS, write)
    except safetensors.SafetensorError as error:  # how it tells of a full disk
        raise OSError(str(error)) from error
    ends = {"bos_token_id": subject.begin_id, "eos_token_id": subject.end_id}
    write_json(
        folder / CONFIG,
        {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "dtype": "float32",
         **settings, **ends},
    )  # fmt: skip
    write_json(folder / "generation_config.json", ends)
    subject.write_tokenizer(folder)
    subject.write_readme(folder, _HOW.format(prompt=subject.prompt).splitlines())
