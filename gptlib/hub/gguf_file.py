"""A run as a GGUF file, which llama.cpp and what is built on it run.

One job: `write_gguf`: one file with the weights in float32, the shape, and the tokenizer with its
merges. llama.cpp has GPT-2's architecture, whose linear layers always have biases: a model without
goes out with zeros.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from gptlib.errors import ConfigError, TokenizerError
from gptlib.hub.subject import Subject
from gptlib.hub.tokenizer_file import as_characters, merges
from gptlib.hub.weights import gpt2_settings, gpt2_weights
from gptlib.tokenizers import BPETokenizer

MODEL = "model.gguf"
_PARTS = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
_TABLES = {
    "transformer.wte.weight": "token_embd.weight",
    "transformer.wpe.weight": "position_embd.weight",
    "transformer.ln_f.weight": "output_norm.weight",
    "transformer.ln_f.bias": "output_norm.bias",
    "lm_head.weight": "output.weight",
}
_TRANSPOSED = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")
_NEVER = (
    b"\xff"  # a byte that is in no UTF-8 text, so no training text taught the model to write it
)

_HOW = """\
Run it in this folder with llama.cpp:

```
llama-cli -m model.gguf -no-cnv -n 100 --temp 0.8 -p {prompt}
```

or from JavaScript with node-llama-cpp (`npm install node-llama-cpp`):

```js
import {{getLlama, LlamaCompletion}} from "node-llama-cpp";

const llama = await getLlama();
const model = await llama.loadModel({{modelPath: "model.gguf"}});
const context = await model.createContext();
const completion = new LlamaCompletion({{contextSequence: context.getSequence()}});
console.log(await completion.generateCompletion({prompt}, {{maxTokens: 100}}));
```"""


def write_gguf(subject: Subject, folder: Path) -> None:
    """Fill a folder with `model.gguf`.

    Raises:
        ConfigError: the model has a part that llama.cpp's GPT-2 does not have, or the package
            `gguf` is not installed.
        TokenizerError: the tokenizer is not a `BPETokenizer`.
    """
    try:
        import gguf
    except ImportError as error:
        raise ConfigError(f"writing GGUF needs gguf ({error}); pip install gguf") from error
    c, tokenizer = subject.model.config, subject.tokenizer
    gpt2_settings(subject.model)
    if c.activation != "gelu_tanh":
        raise ConfigError(
            f"the model has activation={c.activation!r}, and llama.cpp's GPT-2 computes gelu_tanh; "
            "train one with that, or export it with --to hf or onnx"
        )
    if not isinstance(tokenizer, BPETokenizer):
        raise TokenizerError(
            f"the model reads characters ({tokenizer!r}), and llama.cpp drops one that it does not "
            "know without a word; train one with a BPETokenizer, or export it with --to hf or onnx"
        )
    writer = gguf.GGUFWriter(folder / MODEL, "gpt2")
    writer.add_name(subject.name)
    writer.add_context_length(c.block_size)
    writer.add_embedding_length(c.n_embd)
    writer.add_block_count(c.n_layer)
    writer.add_feed_forward_length(4 * c.n_embd)
    writer.add_head_count(c.n_head)
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    pieces, special = tokenizer.pieces, list(tokenizer.special_tokens)
    writer.add_token_list([as_characters(piece) for piece in pieces] + special)
    writer.add_token_types(
        [gguf.TokenType.NORMAL] * len(pieces) + [gguf.TokenType.CONTROL] * len(special)
    )
    writer.add_token_merges([f"{as_characters(a)} {as_characters(b)}" for a, b in merges(pieces)])
    # A file that names no end gets llama.cpp's own idea of one, the token 11, which is a comma.
    end = pieces.index(_NEVER) if subject.end_id is None else subject.end_id
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)
    for name, weight in _tensors(subject).items():
        writer.add_tensor(name, weight.detach().cpu().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    prompt = '"' + subject.prompt.replace('"', '\\"') + '"'
    subject.write_readme(folder, _HOW.format(prompt=prompt).splitlines())


def _tensors(subject: Subject) -> dict[str, Tensor]:
    """The weights by llama.cpp's names, each matrix (out, in) as a `GPT` has it."""
    found = {}
    for name, weight in gpt2_weights(subject.model).items():
        if name == "lm_head.weight" and subject.model.config.tied_head:
            continue  # llama.cpp takes the token table
        if name in _TABLES:
            found[_TABLES[name]] = weight
            continue
        _, _, layer, part = name.split(".", 3)
        part, _, kind = part.rpartition(".")
        theirs = f"{_PARTS[part]}.{kind}"
        found[f"blk.{layer}.{theirs}"] = weight.t() if theirs in _TRANSPOSED else weight
    return found
