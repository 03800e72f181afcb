"""gptlib: the small GPT library of the book From Bigram to Storyteller.

The whole way in four lines:

    model = GPT(GPTConfig(64, tok.vocab_size, n_layer=4, n_head=4, n_embd=128))
    run = Trainer(model, train_ids, val_ids, TrainConfig(steps=500), "runs/first", tok).fit()
    model, tok, _ = load_run("runs/first")
    print(tok.decode(generate(model, tok.encode("The "), 200)[0].tolist()))
"""

from gptlib import threads

threads.prepare()  # before the first of these imports torch, which then has read the environment

from gptlib.corpora import Corpus, load_corpus
from gptlib.course.recorded import load_record
from gptlib.course.records import Record
from gptlib.errors import GptlibError
from gptlib.model import GPT, GPTConfig, naive_attention
from gptlib.resizing import resize_vocab
from gptlib.runs import Run, load_run
from gptlib.runtime import Runtime
from gptlib.sampling import Sampling, beam_search, generate, speculate, stream
from gptlib.tokenizers import BPETokenizer, CharTokenizer, load_tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer
from gptlib.versions import package_version

__version__ = package_version()

__all__ = [
    "GPT",
    "BPETokenizer",
    "CharTokenizer",
    "Corpus",
    "GPTConfig",
    "GptlibError",
    "Record",
    "Run",
    "Runtime",
    "Sampling",
    "TrainConfig",
    "Trainer",
    "beam_search",
    "generate",
    "load_corpus",
    "load_record",
    "load_run",
    "load_tokenizer",
    "naive_attention",
    "resize_vocab",
    "speculate",
    "stream",
]
