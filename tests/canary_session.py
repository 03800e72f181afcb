"""What somebody fine-tunes in a day, and what goes wrong in it: `test_canary.py` runs this file in
a home folder of its own, and looks for what that environment must not lose.

    python canary_session.py FOLDER URL    in FOLDER, with the server at URL
"""

import contextlib
import json
import os
import sys
import traceback
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

NAME = "CANARY_SECRET"  # of the secret that Colab keeps
TEXT = "The fox sat. The hen ran. A cold harbor at night had a bell.\n" * 40
SHAPE = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "32"]
FAST = ["--threads", "1", "--steps", "3", "--batch-size", "4", "--eval-every", "3"]


class Secrets(types.ModuleType):
    """Colab's, as a notebook sees it."""

    def get(self, name: str) -> str:
        if name != NAME:
            raise KeyError(name)
        return Path(os.environ["COLAB_SECRETS"]).read_text()


def broken(*args: object, **options: object) -> None:
    raise RuntimeError("a fault of ours")


@contextlib.contextmanager
def fault(owner: object, name: str):
    """A fault that nobody foresaw, in this function."""
    before = getattr(owner, name)
    setattr(owner, name, broken)
    try:
        yield
    finally:
        setattr(owner, name, before)


def told(work) -> object:
    """What a call returns; of one that fails, the traceback with all that the variables held."""
    try:
        return work()
    except Exception as error:
        found = traceback.TracebackException.from_exception(error, capture_locals=True)
        print("".join(found.format()), file=sys.stderr, flush=True)
        return type(error).__name__


def prepare() -> None:
    """The files of the session, in this folder."""
    Path("fox.txt").write_text(TEXT)
    things = ["fox", "hen", "harbor", "bell"]
    pairs = [(f"Write a {a} and a {b}.", f"The {a} had a {b}.") for a in things for b in things]
    lines = [json.dumps({"prompt": a, "completion": b}) for a, b in pairs]
    Path("pairs.jsonl").write_text("\n".join(lines))
    Path("bad.jsonl").write_text("\n".join([*lines, '{"prompt": "x"']))
    messages = [
        {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]}
        for a, b in [("the cold", "an hour"), ("the hour", "a cold hall")]
    ]
    Path("messages.jsonl").write_text("\n".join(map(json.dumps, messages)))


def small_llama() -> None:
    """A base in a folder `llama`, made of files beside it."""
    from small_llama import small_base

    Path("made").mkdir()
    small_base(Path("made")).rename("llama")


def session(url: str) -> dict[str, object]:
    """Do it all, and return what each step ended with."""
    from gptlib import trainer
    from gptlib.cli import main
    from gptlib.hub import export
    from gptlib.qlora import training
    from gptlib.writing.ledger import Ledger

    ended: dict[str, object] = {}

    def call(name: str, *words: str) -> None:
        print(f"--- {name}", flush=True)
        ended[name] = told(lambda: main(list(words)))

    def tuned(at: str) -> list[str]:
        return ["finetune", f"{at}base", "--data", f"{at}pairs.jsonl", *FAST]

    def trained(at: str) -> list[str]:
        return ["train", "--corpus", f"{at}fox.txt", "--tokenizer", "bpe-280", *SHAPE, *FAST]

    lora = ["--method", "lora"]
    write = ["data", "write", "--template", "A {tone} harbor.", "--field", "tone=cold,warm",
             "--n", "3", "--model", "m", "--base-url", url, "--blocks", "asked.txt",
             "--workers", "1", "--out"]  # fmt: skip

    call("train", *trained(""), "--out", "base")
    call("full", *tuned(""), "--out", "full", "--rehearse", "fox.txt")
    call("lora", *tuned(""), "--out", "lora", *lora, "--merge", "merged")
    call("plain", "finetune", "base", "--data", "fox.txt", *FAST, *lora, "--out", "plain")
    call("chat", "sample", "lora", "--chat", "Write a fox.", "--max-new-tokens", "5")
    call("hf", "export", "full", "exported/hf", "--to", "hf")
    call("gguf", "export", "full", "exported/gguf", "--to", "gguf")
    call("write", *write, "asked.jsonl", "--yes")
    call("Colab", *write, "colab.jsonl", "--yes", "--key", NAME)

    four_bits = ["qlora", "llama", "--data", "messages.jsonl", "--threads", "1", "--rank", "2",
                 "--val", "messages.jsonl", "--steps", "1", "--out"]  # fmt: skip
    call("QLoRA", *four_bits, "scenes", "--merge", "base")

    # The same with whole paths, as a shell makes them of those with a tilde.
    at = f"{os.getcwd()}/"
    call("train at home", *trained(at), "--out", f"{at}home/base", "--write-config", "home.toml")
    call("train at home", *trained(at), "--out", f"{at}home/base")
    call("init at home", "train", "--corpus", f"{at}fox.txt", *FAST, "--init-from",
         f"{at}home/base", "--out", f"{at}home/on")  # fmt: skip
    call("lora at home", *tuned(at), *lora, "--out", f"{at}home/lora", "--rehearse",
         f"{at}fox.txt", "--val", f"{at}pairs.jsonl", "--stop-after", "2")  # fmt: skip
    call("resumed at home", *tuned(at), "--out", f"{at}home/lora", "--resume")
    call("hf at home", "export", f"{at}home/lora", f"{at}exported/home", "--to", "hf")

    call("nobody confirms", *write, "more.jsonl")
    call("bad data", *tuned(""), "--data", "bad.jsonl", "--out", "x")
    call("no such run", "sample", "nowhere", "--chat", "x")
    call("it is there", "export", "full", "exported/hf", "--to", "hf")
    call("another run", *trained(""), "--out", "base", "--resume", "--lr", "1")
    call("not allowed", *write, "locked.jsonl", "--yes", "--model", "locked")
    with fault(trainer.RunLog, "step"):
        call("train fails", *trained(""), "--out", "failed")
        call("lora fails", *tuned(""), *lora, "--out", "failed-too")
    with fault(training, "_update"):
        call("QLoRA fails", *four_bits, "failed-scenes")
    call("no pair", *four_bits, "x", "--data", "bad.jsonl")
    call("no such base", "qlora", "nowhere/at-all", *four_bits[2:], "x")
    with fault(Ledger, "add"):
        call("write fails", *write, "lost.jsonl", "--yes")
    with fault(export.Subject, "of_run"):
        call("export fails", "export", "full", "exported/not", "--to", "hf")
    return ended


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    colab = types.ModuleType("google.colab")
    colab.__spec__ = ModuleSpec("google.colab", None)  # some packages look whether it is there
    sys.modules |= {"google.colab": colab, "google.colab.userdata": Secrets("userdata")}
    prepare()
    small_llama()
    Path("ended.json").write_text(json.dumps(session(sys.argv[2])))
