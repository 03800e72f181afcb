"""A run as a GGUF file, which llama.cpp and what is built on it run.

One job: `write_gguf`: one file with the weights, the shape, and the tokenizer with its merges.
llama.cpp has GPT-2's architecture, whose linear layers always have biases: a model without goes out
with zeros.

Weights are float32, or their matrices are in blocks of 32 with a scale each
(`gptlib.quantization.blocks`), as llama.cpp's own quantizer has them: positions, norms and biases
stay float32, and in a file of four bits the token table and the head have eight. There llama.cpp
takes Q6_K, of 6.6 bits, where a row is a multiple of 256, and Q8_0 where it is none; here it is
Q8_0 always.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from gptlib.errors import ConfigError, TokenizerError
from gptlib.hub.subject import Subject
from gptlib.hub.tokenizer_file import as_characters, merges
from gptlib.hub.weights import gpt2_settings, gpt2_weights
from gptlib.quantization import BLOCK
from gptlib.quantization.blocks import FORMATS
from gptlib.tokenizers import BPETokenizer

MODEL = "model.gguf"
PARTS = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
TABLES = {
    "transformer.wte.weight": "token_embd.weight",
    "transformer.wpe.weight": "position_embd.weight",
    "transformer.ln_f.weight": "output_norm.weight",
    "transformer.ln_f.bias": "output_norm.bias",
    "lm_head.weight": "output.weight",
}
TRANSPOSED = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")
_BOTH_ENDS = ("token_embd.weight", "output.weight")
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
const prompt = model.tokenize({prompt}, true); // true: <|…|> is one token, as in training
console.log(await completion.generateCompletion(prompt, {{maxTokens: 100}}));
```

`gptlib import model.gguf --out RUN` reads it back."""


def write_gguf(subject: Subject, folder: Path, quant: str | None = None) -> None:
    """Fill a folder with `model.gguf`.

    Args:
        quant: "q8_0" or "q4_0" for matrices of so many bits, in blocks of 32 weights; a matrix
            whose rows do not divide into blocks stays float32. None leaves all float32.

    Raises:
        ConfigError: the model has a part that llama.cpp's GPT-2 does not have, or no matrix that
            divides into blocks, or a weight that is no finite number; or the package `gguf` is not
            installed.
        TokenizerError: the tokenizer is not a `BPETokenizer`.
    """
    gguf = gguf_package("writing")
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
    kind = f"MOSTLY_{quant.upper()}" if quant else "ALL_F32"
    writer.add_file_type(gguf.LlamaFileType[kind])
    if quant:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
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
    writer.add_bos_token_id(end if subject.begin_id is None else subject.begin_id)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)
    _add_tensors(writer, _tensors(subject), quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    prompt = '"' + subject.prompt.replace('"', '\\"') + '"'
    subject.write_readme(folder, _HOW.format(prompt=prompt).splitlines())


def gguf_package(what: str) -> Any:
    """The package `gguf`; `what` is what it is needed for.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise ConfigError(f"{what} GGUF needs gguf ({error}); pip install gguf") from error
    return gguf


def _add_tensors(writer: Any, tensors: dict[str, Tensor], quant: str | None) -> None:
    gguf = gguf_package("writing")
    forms = {name: _form(name, weight, quant) for name, weight in tensors.items()}
    if quant and not any(forms.values()):
        raise ConfigError(
            f"no matrix of the model has rows of a multiple of {BLOCK} weights, which the blocks "
            f"of {quant} need; export it without --quant"
        )
    for name, weight in tensors.items():
        weight, form = weight.detach().cpu().contiguous(), forms[name]
        if form is None:
            writer.add_tensor(name, weight.numpy())
            continue
        raw = FORMATS[form].quantize(weight).numpy()
        writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType[form.upper()])


def _form(name: str, weight: Tensor, quant: str | None) -> str | None:
    """The blocks in which a tensor is written, or None for float32."""
    whole = weight.dim() < 2 or weight.size(1) % BLOCK or name == "position_embd.weight"
    if quant is None or whole:
        return None
    return "q8_0" if name in _BOTH_ENDS else quant


def _tensors(subject: Subject) -> dict[str, Tensor]:
    """The weights by llama.cpp's names, each matrix (out, in) as a `GPT` has it."""
    found = {}
    for name, weight in gpt2_weights(subject.model).items():
        if name == "lm_head.weight" and subject.model.config.tied_head:
            continue  # llama.cpp takes the token table
        if name in TABLES:
            found[TABLES[name]] = weight
            continue
        _, _, layer, part = name.split(".", 3)
        part, _, kind = part.rpartition(".")
        theirs = f"{PARTS[part]}.{kind}"
        found[f"blk.{layer}.{theirs}"] = weight.t() if theirs in TRANSPOSED else weight
    return found
