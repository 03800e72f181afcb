"""`gptlib finetune`: from a trained run to one of one's own, resumed to the bit."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from gptlib import checkpoint
from gptlib.chat import prompt_ids, render
from gptlib.cli import main
from gptlib.errors import DataError
from gptlib.finetuning import ask
from gptlib.runs import load_run

TEXT = "The fox sat. The hen ran. A cold harbor at night had a bell.\n" * 60
OTHER = "The bell sat in a cold hen. Night ran.\n" * 60
SHAPE = ["--n-layer", "2", "--n-head", "2", "--n-embd", "16", "--block-size", "32"]
TINY = ["--threads", "1", "--progress", "none"]
FAST = [*TINY, "--steps", "4", "--batch-size", "4", "--eval-every", "2"]


def chat_line(question: str, answer: str) -> str:
    return json.dumps({"prompt": question, "completion": answer}) + "\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base run on a text that it knows again, conversations, and another text."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "fox.txt").write_text(TEXT)
    (folder / "other.txt").write_text(OTHER)
    words = ["fox", "hen", "harbor", "bell", "night"]
    pairs = [(f"Write a {a} and a {b}.", f"The {a} had a {b}.") for a in words for b in words]
    (folder / "pairs.jsonl").write_text("".join(chat_line(*pair) for pair in pairs))
    before = os.getcwd()
    os.chdir(folder)
    try:
        base = ["train", "--corpus", "fox.txt", "--tokenizer", "bpe-280", "--out", "base", *SHAPE,
                "--steps", "30", "--batch-size", "4", "--eval-every", "30", *TINY]  # fmt: skip
        assert main(base) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    copy = shutil.copytree(made, tmp_path / "made")
    monkeypatch.chdir(copy)
    return copy


def result(capsys, *argv) -> dict:
    capsys.readouterr()
    assert main(["finetune", *map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *argv) -> str:
    capsys.readouterr()
    assert main(["finetune", *map(str, argv)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def weights(run, which="best"):
    return load_run(run, which)[0].state_dict()


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_plain_text_does_what_init_from_does(folder, capsys):
    line = ["base", "--data", "other.txt", "--out", "tuned", *FAST]
    told = result(capsys, *line, "--lr", "3e-4", "--min-lr", "3e-5")
    same = ["train", "--corpus", "other.txt", "--init-from", "base", "--out", "trained", *FAST,
            "--lr", "3e-4", "--min-lr", "3e-5", "--warmup", "0", "--weight-decay", "0"]  # fmt: skip
    assert main(same) == 0
    assert equal(weights("tuned", "latest"), weights("trained", "latest"))
    assert (folder / "tuned/log.jsonl").read_text() == (folder / "trained/log.jsonl").read_text()
    assert told["new"]["after"] < told["new"]["before"]
    assert told["old"]["text"].endswith("fox.txt")
    assert told["old"]["after"]["bits_per_byte"] != told["old"]["before"]["bits_per_byte"]
    assert main(["eval", "tuned"]) == 0  # it knows its text


@pytest.mark.parametrize("method", ["full", "lora", "last"])
def test_conversations_with_each_method(folder, method, capsys):
    """The marks part, and what is frozen stays."""
    told = result(capsys, "base", "--data", "pairs.jsonl", "--out", "out", "--method", method,
                  "--epochs", "2", "--batch-size", "2", "--merge", "merged", *TINY)  # fmt: skip
    assert told["finished"] and told["new"]["after"] < told["new"]["before"]
    model, tokenizer, manifest = load_run("out")
    assert manifest["note"]["initial"]["added_tokens"] == [
        "<|chat|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
    ]  # fmt: skip
    before, after = weights("base"), model.state_dict()
    known = load_run("base")[1].vocab_size
    table = "transformer.wte.weight"
    rows = after[table][known : known + 5]
    assert len({tuple(row.tolist()) for row in rows[[0, 2, 3, 4]]}) == 4  # no system spoke
    frozen = {
        "full": [],
        "lora": [n for n in before if "c_attn.weight" not in n],
        "last": [n for n in before if ".h.1." not in n and "ln_f" not in n],
    }[method]
    for name in frozen:
        now = after[name][:known] if name in (table, "lm_head.weight") else after[name]
        assert torch.equal(now, before[name][: len(now)]), name
    moved = "transformer.h.1.attn.c_attn.weight"
    assert not torch.equal(after[moved], before[moved])
    assert equal(weights("merged"), after) and load_run("merged")[1] == tokenizer
    assert isinstance(ask(model, tokenizer, "Write a fox.", 5), str)
    assert main(["sample", "out", "--chat", "Write a fox.", "--max-new-tokens", "5"]) == 0


def test_lora_on_plain_text_leaves_an_adapter(folder, capsys):
    from gptlib.finetuning import load_lora, merge_lora

    result(capsys, "base", "--data", "other.txt", "--out", "out", "--method", "lora",
           "--rank", "2", "--targets", "c_attn,c_fc", *FAST)  # fmt: skip
    adapted = merge_lora(load_lora(load_run("base")[0], folder / "out" / "adapter"))
    for name, weight in weights("out").items():
        assert torch.allclose(adapted.state_dict()[name], weight, atol=1e-7), name
    size = (folder / "out/checkpoints/step_00000004/model.safetensors").stat().st_size
    assert size < (folder / "base/checkpoints/step_00000030/model.safetensors").stat().st_size / 2


def test_what_only_gets_worse_keeps_the_base(folder, capsys):
    told = result(capsys, "base", "--data", "fox.txt", "--out", "worse", *FAST, "--lr", "5",
                  "--min-lr", "5", "--grad-clip", "0")  # fmt: skip
    assert told["best_step"] == 0 and told["new"]["after"] == told["new"]["before"]
    assert told["old"]["after"] == told["old"]["before"]
    assert equal(weights("worse"), weights("base"))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_killed_and_resumed_it_is_the_same_run(folder, method, capsys):
    line = ["base", "--data", "pairs.jsonl", "--method", method, "--rehearse", "fox.txt",
            "--dropout", "0.1", *FAST, "--steps", "6", "--accumulate", "2", "--save-every", "2",
            "--save-minutes", "0"]  # fmt: skip
    program = (
        "import os, signal, sys\n"
        "from gptlib import trainer\n"
        "from gptlib.cli import main\n"
        "step = trainer.RunLog.step\n"
        "def die(log, line):\n"
        "    step(log, line)\n"
        "    if line['step'] == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "trainer.RunLog.step = die\n"
        "main(sys.argv[1:])"
    )
    words = [sys.executable, "-c", program, "finetune", *line, "--out", "killed"]
    done = subprocess.run(words, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert checkpoint.saved_steps(folder / "killed")[-1] == 2
    resumed = result(capsys, "--out", "killed", "--resume", *TINY)
    whole = result(capsys, *line, "--out", "whole")
    assert resumed == whole
    places = [folder / run / "checkpoints" / "step_00000006" for run in ("killed", "whole")]
    (one, state, _), (two, other, _) = (checkpoint.load(place) for place in places)
    assert equal(one, two)
    assert str(state["optimizers"]) == str(other["optimizers"])
    assert (folder / "killed/log.jsonl").read_bytes() == (folder / "whole/log.jsonl").read_bytes()


def test_a_run_is_resumed_from_another_folder(folder, monkeypatch, capsys):
    result(capsys, "base", "--data", "pairs.jsonl", "--out", "out", "--method", "lora", *FAST,
           "--stop-after", "2")  # fmt: skip
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert result(capsys, "--out", "../out", "--resume", *TINY)["finished"]


@pytest.mark.skipif(os.name == "nt", reason="HOME names the home folder on POSIX")
def test_a_run_that_noted_whole_paths_is_resumed(folder, monkeypatch, capsys):
    """As runs did before paths in the home folder were noted with a `~`."""
    tune = ["finetune", folder / "base", "--data", folder / "pairs.jsonl", "--out", "tuned", *FAST]
    train = ["train", "--corpus", folder / "fox.txt", "--init-from", folder / "base", "--out", "on"]
    commands = [[*map(str, line)] for line in (tune, [*train, *FAST])]
    monkeypatch.setenv("HOME", str(folder / "elsewhere"))
    for line in commands:
        assert main([*line, "--stop-after", "2"]) == 0
    assert str(folder) in (folder / "tuned/config.json").read_text()
    monkeypatch.setenv("HOME", str(folder))
    for line in commands:
        assert main([*line, "--resume"]) == 0
    capsys.readouterr()


def test_bad_lines_are_named_before_anything_is_made(folder, capsys):
    lines = (folder / "pairs.jsonl").read_text().splitlines(keepends=True)
    lines[3], lines[7] = '{"prompt": "x"\n', chat_line("Write.", "")
    (folder / "bad.jsonl").write_text("".join(lines))
    told = refused(capsys, "base", "--data", "bad.jsonl", "--out", "out", *FAST)
    assert "2 of 25 lines of bad.jsonl cannot be learned from: line 4: not JSON" in told
    assert "line 8: message 2 has an empty answer" in told
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--method", "lore"], "--method is 'lore' (did you mean lora?); use one of full, lora"),
        (["--rank", "4"], "--rank goes with --method lora"),
        (["--last-blocks", "1"], "--last-blocks goes with --method last"),
        (["--share", "0.2"], "--share goes with --rehearse"),
        (["--epochs", "2"], "--epochs goes with no --steps"),
        (["--method", "last", "--last-blocks", "3"], "n is 3; give 1 to 2"),
        (["--method", "lora", "--targets", "c_atn"], "did you mean c_attn?"),
        (["--rehearse", "fox.txt", "--share", "1.5"], "share is 1.5; give more than 0"),
        (["--rehearse", "fox.txt", "--batch-size", "1"], "a batch of 1 has no room"),
        (["--method", "lora", "--weight-decay", "0.1"], "--weight-decay is 0.1, and the rows of"),
        (["--val", "none.jsonl"], "none.jsonl cannot be read"),
        (["--merge", "base"], "--merge base is there already"),
        (["--rehearse", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_what_cannot_be_is_refused_first(folder, flags, says, capsys):
    told = refused(capsys, "base", "--data", "pairs.jsonl", "--out", "out", *FAST, *flags)
    assert says in told and not (folder / "out").exists()


def test_words_that_do_not_make_a_run(folder, capsys):
    assert "where to?" in refused(capsys, "base", "--data", "pairs.jsonl")
    assert "what is it to learn?" in refused(capsys, "base", "--out", "out")
    assert "holds no run to resume" in refused(capsys, "--out", "out", "--resume")
    assert "did not begin" in refused(capsys, "--out", "base", "--resume")
    told = refused(capsys, "tales", "--data", "pairs.jsonl", "--out", "out")
    assert "has room for none" in told and "train" in told  # a tokenizer of characters
    flags = ["--data", "other.txt", "--out", "out", "--no-pack"]
    assert "--pack goes with conversations" in refused(capsys, "base", *flags)


def test_a_resumed_run_keeps_its_settings(folder, capsys):
    result(capsys, "base", "--data", "pairs.jsonl", "--out", "out", *FAST, "--stop-after", "2")
    again = ["--out", "out", "--resume", *TINY]
    assert "method was 'full' and is now 'lora'" in refused(capsys, *again, "--method", "lora")
    assert "mask_prompt was True and is now False" in refused(capsys, *again, "--no-mask-prompt")
    assert "lr was" in refused(capsys, *again, "--lr", "1")
    with (folder / "pairs.jsonl").open("a") as file:
        file.write(chat_line("Write a crow.", "A crow."))
    assert "train was" in refused(capsys, *again)


def test_an_answer_is_sampled(folder, capsys):
    result(capsys, "base", "--data", "pairs.jsonl", "--out", "out", *FAST)
    ask = ["sample", "out", "--chat", "Write a fox.", "--max-new-tokens", "4", "--seed", "1"]
    assert main([*ask, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["chat"] == "Write a fox." and record["prompt"] == ""
    assert main(ask) == 0
    assert capsys.readouterr().out == record["text"] + "\n"
    for argv, says in [
        (["sample", "base", "--chat", "x"], "was trained on no conversations"),
        ([*ask, "--title", "x"], "--chat and --title ask for two things"),
        (["sample", "out", "--chat", "a<|end|>"], "has the mark <|end|>"),
        (["sample", "out", "--chat", " "], "has an empty content"),
    ]:
        assert main(argv) == 2
        assert says in capsys.readouterr().err


def test_an_export_carries_the_chat_template(folder, capsys):
    """transformers' `apply_chat_template` gives the ids that `gptlib.chat` gives."""
    transformers = pytest.importorskip("transformers")
    jinja2 = pytest.importorskip("jinja2")
    result(capsys, "base", "--data", "pairs.jsonl", "--out", "out", *FAST)
    assert main(["export", "out", "hf", "--to", "hf"]) == 0
    theirs, ours = transformers.AutoTokenizer.from_pretrained("hf"), load_run("out")[1]

    def ids(talk: list, ask: bool) -> list[int]:
        return theirs.apply_chat_template(talk, add_generation_prompt=ask, return_dict=False)

    def say(*texts: str, system: str = "") -> list:
        turns = [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]
        return [{"role": "system", "content": system}] * bool(system) + turns

    for talk in [
        say("Write a fox."), say("Write a fox.", "The fox sat.", "And a hen?", system="Be brief."),
        say(" \n a  b \n\n", "  c\n", "{{ d }} {% e %} <|f|> \\ ' \" 日本 🪿\t"),
        say("x", system="<b>&amp;</b>\r\n"),
    ]:  # fmt: skip
        assert ids(talk, True) == prompt_ids(ours, talk)
        answered = [*talk, {"role": "assistant", "content": " So.\n"}]
        assert ids(answered, False) == render(ours, answered)[0]
    for talk, why in [
        (say("a", "b"), "not the user's"), (say(" \n"), "has no text"),
        (say("a<|user|>b"), r"the mark <\|user\|>"), (say("a", "b<|end|>", "c"), "the mark"),
        ([*say("a"), *say("b")], "may not speak here"),
        ([{"role": "bot", "content": "a"}], "the bot may not speak"),
    ]:  # fmt: skip
        with pytest.raises(jinja2.TemplateError, match=why):
            ids(talk, True)
        with pytest.raises(DataError):
            prompt_ids(ours, talk)
    assert theirs.eos_token == "<|end|>" and theirs.bos_token == "<|chat|>"
    assert "apply_chat_template" in (folder / "hf/README.md").read_text("utf-8")
    assert "chat_template" not in _config_of_an_export("base")


def _config_of_an_export(run: str) -> str:
    assert main(["export", run, "plain", "--to", "hf"]) == 0
    with open("plain/tokenizer_config.json", encoding="utf-8") as file:
        return file.read()


def test_what_is_printed(folder, capsys):
    capsys.readouterr()
    line = ["base", "--data", "pairs.jsonl", "--out", "out", *FAST]
    assert main(["finetune", *line, "--stop-after", "2"]) == 0
    assert "stopped at step 2; go on with: gptlib finetune --out out --resume" in (
        capsys.readouterr().out
    )
    line = ["finetune", "--out", "out", "--resume", "--threads", "1", "--progress", "lines"]
    assert main(line) == 0
    out, err = capsys.readouterr()
    assert "new text: " in out and " at the best, step " in out
    assert "old text (fox.txt): " in out and " bits per byte before" in out
    assert "trains " in err and "parameters, in 4 steps of 4 rows" in err
