"""The benches in small: each runs, compares like with like, and writes what it says. No times."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch

import gptlib
from gptlib import GPT, GPTConfig

sys.path.append(str(Path(__file__).parent.parent / "bench"))
sys.path.append(str(Path(__file__).parent.parent / "bench" / "gpu"))

import budget
import export
import first_character
import generate
import growth
import hellaswag
import import_time
import loading
import plain_loop
import pretraining
import profile_step
import quantize
import serve
import threads
import train_step

BENCH = Path(__file__).parent.parent / "bench"
TINY = train_step.Size(GPTConfig(32, 65, 2, 2, 32), batch_size=2, T=16, rounds=1)
STAND_IN = """
from dataclasses import dataclass
import torch, gptlib

@dataclass
class GPTConfig:
    block_size: int; vocab_size: int; n_layer: int; n_head: int; n_embd: int
    dropout: float; bias: bool

class GPT(gptlib.GPT):
    def __init__(self, config):
        super().__init__(gptlib.GPTConfig(**vars(config)))
        print("number of parameters: many")

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        print("using fused AdamW: False")
        return torch.optim.AdamW(self.parameters(), learning_rate, betas)

    def generate(self, idx, max_new_tokens, top_k):
        return gptlib.generate(self, idx, max_new_tokens, temperature=0)
"""


@pytest.fixture
def nanogpt(tmp_path) -> str:
    """A folder with a model.py that has nanoGPT's names."""
    (tmp_path / "model.py").write_text(STAND_IN)
    return str(tmp_path)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs a bench's `main` and returns what it wrote."""

    def go(bench, *options: str) -> dict:
        command = [bench.__name__, "--threads", "1", "--out", str(tmp_path), *options]
        monkeypatch.setattr(sys, "argv", command)
        if hasattr(bench, "peak_memory_mb"):  # a fresh process each would take seconds
            monkeypatch.setattr(bench, "peak_memory_mb", lambda make, *args: 1.0)
        bench.main()
        about = json.loads((tmp_path / f"{bench.__name__}.json").read_text())
        assert {"hardware", "versions", "rows"} <= about.keys()
        return about

    return go


def test_a_training_step_is_compared_in_both_precisions(run, monkeypatch, nanogpt):
    monkeypatch.setattr(train_step, "SIZES", {"tiny": TINY})
    about = run(train_step, "--nanogpt", nanogpt)
    seen = [(row["contender"], row["dtype"]) for row in about["rows"]]
    assert seen == TINY.contenders() and ("plain", "float32") in seen
    assert {row["batch"] for row in about["rows"]} == {"2 x 16"}
    assert about["plain"].startswith("nanoGPT") and "transformers" in about["versions"]
    assert run(train_step)["plain"].startswith("gptlib")


def test_contenders_begin_at_the_same_loss():
    first = {c: train_step.make_step(*c, TINY, 1)() for c in TINY.contenders()}
    for (name, dtype), loss in first.items():
        if name != "transformers":  # it leaves the last position out
            exact = first["gptlib", "float32"]
            assert loss == pytest.approx(exact, abs=1e-4 if dtype == "float32" else 0.02)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_generation_is_compared_token_for_token(run, monkeypatch, nanogpt):
    size = generate.Size(GPTConfig(32, 65, 2, 2, 32), new_tokens=4, rounds=1, batch_size=2)
    monkeypatch.setattr(generate, "SIZES", {"tiny": size})
    rows = run(generate, "--nanogpt", nanogpt)["rows"]
    names = [row["contender"] for row in rows]
    assert names == ["gptlib", "MKL", "uncached", "transformers", "nanoGPT"]

    monkeypatch.setattr(gptlib, "generate", lambda model, ids, n, temperature: ids)
    with pytest.raises(SystemExit, match="nanoGPT wrote other tokens"):
        run(generate, "--nanogpt", nanogpt)


def test_the_plain_loop_is_the_last_row(run, monkeypatch, nanogpt):
    monkeypatch.setattr(plain_loop, "STEPS", 1)
    monkeypatch.setattr(plain_loop, "TOKENS", 2000)
    about = run(plain_loop, "--repeats", "1", "--nanogpt", nanogpt)
    assert about["plain"] == about["rows"][-1]["contender"] == "nanoGPT"
    assert about["rows"][-1]["speed_vs_plain"] == 1
    assert [row["batch"] for row in about["rows"]] == ["12 x 64", "24 x 64", "12 x 64", "12 x 64"]
    assert run(plain_loop, "--repeats", "1")["plain"] == "plain loop"


def test_random_windows_and_what_follows_them(tmp_path):
    np.arange(100, dtype=np.uint16).tofile(tmp_path / "train.bin")
    x, y = plain_loop.random_windows(tmp_path / "train.bin", 50, 8)
    assert x.shape == (50, 8) and x.dtype == torch.int64
    assert torch.equal(y, x + 1) and x.min() >= 0 and y.max() <= 99


def test_a_plain_step_learns():
    torch.manual_seed(0)
    batch = torch.randint(65, (2, 2, 16))
    step = plain_loop.plain_step(GPT(TINY.config), lambda: tuple(batch))
    losses = [step() for _ in range(20)]
    assert losses[-1] < losses[0]


def test_growth_along_every_axis(run, monkeypatch):
    sizes = [replace(TINY, T=T) for T in (8, 16)]
    monkeypatch.setattr(growth, "AXES", {"T": sizes})
    about = run(growth, "--repeats", "1")
    assert [row["T"] for row in about["rows"]] == [8, 16]
    flops = 16 * 2 * GPT(TINY.config).flops_per_token(16)
    assert about["rows"][1]["gflop_per_step"] == pytest.approx(flops / 1e9)
    assert 1 < about["exponents"]["T"]["gflop_per_step"] < 2
    assert growth.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_hellaswag_agrees_before_it_is_timed(run, monkeypatch, tmp_path):
    """A stand-in answers for lm-eval: with our own scores, and then with others."""
    from gptlib.evaluation import read_items
    from gptlib.tokenizers import BPETokenizer

    tokenizer = BPETokenizer.train("the fox sat. the hen ran. " * 9, 270)
    model = GPT(GPTConfig(64, tokenizer.vocab_size, 1, 2, 16)).eval()
    full = {"activity_label": "Foxes", "ctx_a": "the fox [title] sat.", "ctx_b": "the hen",
            "ctx": "the fox [title] sat.", "endings": ["a", "b b", "[step] c", "s"]}  # fmt: skip
    place = tmp_path / "official.jsonl"
    place.write_text("".join(json.dumps(full | {"label": i % 4}) + "\n" for i in range(9)))
    monkeypatch.setattr(hellaswag, "load_run", lambda *names: (model, tokenizer, {"step": 1}))

    def answers(lm, path, form):
        found = hellaswag.hellaswag(lm, tokenizer, read_items(path, form=form))
        return [
            {"filtered_resps": [(p, False) for p in item.logprobs], **item.to_dict()}
            for item in found.items
        ]

    class StandIn(GPT):
        def loglikelihood(self, asked, disable_tqdm):
            assert len(asked) == 4 * 3 and disable_tqdm

    other = StandIn(model.config)
    monkeypatch.setattr(hellaswag, "lm_eval_answers", answers)
    monkeypatch.setattr(hellaswag, "requests", lambda items: [e for i in items for e in i.endings])
    monkeypatch.setattr(hellaswag, "version", lambda name: "0")

    def same(model, tokenizer, batch_size):
        other.load_state_dict(model.state_dict())
        return other

    monkeypatch.setattr(hellaswag, "random_model", lambda tokenizer: model)
    monkeypatch.setattr(hellaswag, "lm_eval_model", same)
    words = ["--items", str(place), "--official", str(place), "--run", "x", "--limit", "3"]
    about = run(hellaswag, *words, "--timed", "3", "--repeats", "1")
    seen = [(row["model"], row["contender"]) for row in about["rows"]]
    assert seen == [(m, c) for m in ("random", "trained") for c in ("gptlib", "lm-eval")]
    assert all(row["same_acc_norm"] == row["items"] == 3 for row in about["rows"])
    assert about["tags"]["items"] == about["tags"]["with_tags"] == 9
    assert about["tags"]["plain"]["acc"]["gained"] == 0 and about["trained_steps"] == 1

    monkeypatch.setattr(hellaswag, "lm_eval_model", lambda *args: StandIn(model.config).eval())
    with pytest.raises(SystemExit, match="gptlib and lm-eval differ"):
        run(hellaswag, *words)


def test_loaders_beside_the_step_that_they_feed(run, monkeypatch):
    monkeypatch.setattr(loading, "SIZES", {"0.8M": TINY, "10.7M": TINY})
    monkeypatch.setattr(loading, "READS", 2)
    monkeypatch.setattr(loading, "SHARD_BYTES", 5000)
    monkeypatch.setattr(loading, "load_corpus", lambda name: gptlib.load_corpus(name, 20_000))
    about = run(loading, "--repeats", "1")
    assert about["shards"] > 1 and len(about["rows"]) == 10
    assert about["rows"][4]["contender"] == loading.STEP
    assert about["rows"][4]["share_of_step"] == 1


def test_import_times_come_from_fresh_processes(run, monkeypatch):
    tree = "import time:  7 |  300000 |   torch\nimport time:  7 |  400000 | gptlib\n"

    def process(program: str, *options: str) -> CompletedProcess:
        printed = "" if "sys.modules" in program else "1.5 0.5"
        return CompletedProcess(program, 0, printed, tree)

    monkeypatch.setattr(import_time, "run", process)
    about = run(import_time, "--repeats", "1")
    assert about["gptlib_part_beyond_torch"] == pytest.approx(0.25)
    assert about["rows"][0] == {"import": "gptlib", "seconds": 2.0, "beyond_torch": 0.5}
    monkeypatch.setattr(import_time, "heavy_modules", lambda: ["matplotlib"])
    with pytest.raises(SystemExit, match="also imports matplotlib"):
        run(import_time)


def test_every_kind_of_operation_is_found(run, monkeypatch):
    monkeypatch.setattr(profile_step, "SIZES", {"0.8M": TINY, "10.7M": TINY})
    rows = run(profile_step, "--steps", "1")["rows"]
    for dtype in ("float32", "bfloat16"):
        ms = {r["kind"]: r["ms"] for r in rows if (r["model"], r["dtype"]) == ("0.8M", dtype)}
        assert {*profile_step.KINDS, "other operations", "Python between them"} == ms.keys()
    shares = [row["share"] for row in rows if row["model"] == "10.7M"]
    assert sum(shares) == pytest.approx(2)  # one for each precision


def test_ways_of_waiting_take_turns_in_every_company(run, monkeypatch):
    asked = []

    class Worker:
        def __init__(self, n, environment):
            self.name = f"{n} {environment}"

        def seconds(self, steps):
            asked.append(self.name)
            return 0.2 if self.name.startswith("1 ") else 0.1

        def stop(self):
            asked.append("stopped")

    company = {"nobody": None, "somebody": "pass"}
    monkeypatch.setattr(threads, "Worker", Worker)
    monkeypatch.setattr(threads, "COMPANY", company)
    monkeypatch.setattr(threads, "SETTLE", 0.0)
    about = run(threads, "--threads", "2", "--rounds", "3")
    names = list(threads.contenders(2))
    assert [(r["company"], r["waiting"]) for r in about["rows"]] == [
        (with_whom, name) for with_whom in company for name in names
    ]
    assert {r["vs_one_thread"] for r in about["rows"]} == {1.0, 0.5}
    assert len(asked) == len(names) * (1 + 3 * 2 + 1) and asked[-1] == "stopped"


def test_a_worker_makes_steps_when_it_is_asked(monkeypatch):
    monkeypatch.setattr(threads, "WORKER", "for line in iter(input, ''): print(int(line) / 4)")
    worker = threads.Worker(1, {})
    assert worker.seconds(2) == 0.5 and worker.seconds(3) == 0.75
    worker.stop()
    assert worker.process.poll() is not None


def test_the_first_character_is_read_as_it_comes(run, monkeypatch):
    tale = "import sys; sys.stdout.write('A fox'); sys.stdout.flush(); print(' sat.')"
    monkeypatch.setattr(first_character, "COMMAND", ("-c", tale))
    monkeypatch.setattr(first_character, "torch_seconds", lambda threads: 0.0)
    about = run(first_character, "--repeats", "2")
    (row,) = about["rows"]
    assert row["characters"] == 2 * len("A fox sat.") and row["characters_per_s"] > 0
    assert row["beyond_torch"] == row["first_character_s"] > 0 and about["threads"] == 1
    monkeypatch.setattr(first_character, "COMMAND", ("-c", "raise SystemExit(2)"))
    with pytest.raises(SystemExit, match="ended with 2 and wrote 0 B"):
        run(first_character, "--repeats", "1")


def test_what_was_counted_is_compared_with_processes_and_steps(run, monkeypatch):
    tiny = budget.Case(TINY.config, 2, 2)
    monkeypatch.setattr(budget, "CASES", {"tiny": tiny})
    monkeypatch.setattr(budget, "TIMED", {"tiny": tiny})
    monkeypatch.setattr(budget, "peak_mb", lambda name, dtype, environment: 400.0)
    about = run(budget)
    assert [row["dtype"] for row in about["rows"]] == ["float32", "bfloat16"]
    assert all(row["off"] == row["counted_mb"] / 400 - 1 for row in about["rows"])
    assert all(row["foreseen_s"] > 0 and row["gflops"] > 0 for row in about["times"])
    assert "timing._measure(budget.make_step" in budget.CHILD


@pytest.mark.parametrize("name", ["gpt2-124m", "gpt2-124m-modern"])
def test_the_first_steps_of_pretraining_go_on_where_they_were(name, tmp_path, monkeypatch):
    texts = tmp_path / "texts"
    texts.mkdir()
    story = {"text": "The fox sat. The hen ran here, and the fox there.\n" * 3}
    (texts / "a.jsonl").write_text("".join(json.dumps(story) + "\n" for _ in range(60)))
    monkeypatch.setenv("GPTLIB_SHARDS", str(texts))
    out = tmp_path / "out" / "pretraining.json"
    out.parent.mkdir()
    words = ["pretraining", "--device", "cpu", "--tiny", "--preset", name, "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*words, "--steps", "1"])
    pretraining.main()
    monkeypatch.setattr(sys, "argv", [*words, "--steps", "3"])
    pretraining.main()
    found = json.loads(out.read_text())["result"]
    assert found["preset"] == name and found["steps"] == 3 and found["text"] == "texts"
    assert found["tokens_per_s"] > 0 and found["tokens_per_s_not_compiled"] > 0
    assert found["mfu"] is None and found["peak_gb"] is None and found["peak_gb_counted"] > 0
    log = [json.loads(line) for line in (out.with_suffix("") / "log.jsonl").open()]
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3]
    assert found["val"]["0"] > found["val"]["3"] > 0


def test_the_parts_for_a_gpu_are_all_there():
    script = (BENCH / "gpu.sh").read_text()
    assert {p.name for p in (BENCH / "gpu").glob("*.py")} == set(
        re.findall(r"bench/gpu/(\w+\.py)", script)
    )


def test_logits_of_other_programs_are_compared_as_far_as_they_show_them():
    ours = [torch.tensor([1.0, 3.0, 2.0])]
    assert export.largest_difference({"logits": [torch.tensor([1.0, 3.5, 2.0])]}, ours) == 0.5
    shown = ours[0].softmax(0) * 1.3  # of the likeliest tokens alone, so they add up to one
    pairs = [[1, shown[1].item()], [2, shown[2].item()]]
    assert export.largest_difference({"probabilities": [pairs]}, ours) < 1e-6
    pairs[1][1] *= 2
    assert export.largest_difference({"probabilities": [pairs]}, ours) == pytest.approx(0.693, 0.01)


def test_a_program_that_reads_a_run_in_the_same_way_is_told_from_one_that_does_not(monkeypatch):
    monkeypatch.setattr(export, "NEW", 9)
    model, tokenizer, _ = gptlib.load_run("tales")

    def read(folder, texts, prompts):
        ids = [tokenizer.encode(prompt) for prompt in prompts]
        new = [gptlib.generate(model, i, export.NEW, temperature=0)[0, len(i) :] for i in ids]
        logits = [model(torch.tensor([i]))[0][0, -1].detach() for i in ids]
        texts = [tokenizer.encode(text)[:5] for text in texts]
        return {"version": "0", "ids": texts, "written": [n.tolist() for n in new],
                "logits": logits}  # fmt: skip

    row = export.compare("itself", model, tokenizer, read, "hf", "tales")
    assert row["tokens"] == "27 of 27" and row["logits"] == 0
    assert row["ids"].startswith("0 of ")
    assert export.compare("llama.cpp", model, tokenizer, read, "gguf", "tales") is None


def test_forms_of_one_model_are_measured_by_their_own_weights(run, monkeypatch, tmp_path):
    """A stand-in for llama.cpp reads the files with gptlib, and once writes something else."""
    pytest.importorskip("gguf")
    from test_export import saved

    from gptlib.hub import from_gguf
    from gptlib.stories import special_tokens
    from gptlib.tokenizers import BPETokenizer

    class StandIn:
        wrong_from = 999

        def __init__(self, folder, model, threads):
            self.model, tokenizer = from_gguf(model)
            self.end = tokenizer.special_tokens["<|end|>"]

        def write(self, ids, tokens, stop=False):
            new = gptlib.generate(self.model, ids, tokens, temperature=0)[0, len(ids) :].tolist()
            new = new[: new.index(self.end)] if stop and self.end in new else new
            return [i if n < self.wrong_from else i + 1 for n, i in enumerate(new)]

        def close(self):
            pass

    corpus = gptlib.load_corpus("stories", size=20_000)
    tokenizer = BPETokenizer.train(corpus.train, 400, special_tokens())
    saved(tmp_path / "mine", tokenizer, n_embd=32, block_size=80)
    monkeypatch.setattr(quantize, "Llama", StandIn)
    monkeypatch.setattr(quantize, "load_corpus", lambda name, size: corpus)
    monkeypatch.setattr(quantize, "ROUNDS", 1)
    words = ["--run", str(tmp_path / "mine"), "--samples", "2", "--llama", "somewhere"]
    rows = {row["form"]: row for row in run(quantize, *words)["rows"]}
    assert list(rows) == ["float32", "int8", *quantize.FILES]
    assert rows["GGUF q4_0"]["megabytes"] < rows["GGUF q8_0"]["megabytes"] / 1.1
    assert rows["int8"]["megabytes"] < rows["float32"]["megabytes"] / 2
    assert rows["GGUF float32"]["loss"] == pytest.approx(rows["float32"]["loss"], abs=1e-6)
    assert 0 < abs(rows["int8"]["more_loss"]) < abs(rows["GGUF q4_0"]["more_loss"]) < 0.1
    assert all(row["simulator"] == row["parse"] == 0 for row in rows.values())
    assert {row["alike"] for row in rows.values()} == {None, "16 of 16"}
    assert rows["int8"]["tokens_per_s"] > 0 and rows["float32"]["faster_by"] == 1

    monkeypatch.setattr(StandIn, "wrong_from", 5)
    monkeypatch.setattr(quantize, "quality", lambda *args: dict.fromkeys(quantize.QUALITY, 0.0))
    rows = run(quantize, *words)["rows"]
    assert rows[-1]["alike"] == "5 of 16" and rows[-1]["gap"] >= 0
    assert run(quantize, *words[:-2])["rows"][-1]["tokens_per_s"] is None


def test_the_large_model_has_a_token_for_each_of_gpt2s(monkeypatch):
    monkeypatch.setattr(quantize, "GPT", lambda config: GPT(replace(config, n_layer=1, n_embd=12)))
    subject = quantize.large()
    assert subject.model.config.vocab_size == subject.tokenizer.vocab_size == 50_257


def test_ten_readers_get_their_texts_and_one_who_leaves_gets_no_more(run):
    """Ten clients of one server on loopback, and a connection that is closed in a text's middle."""
    about = run(serve, "--readers", "10", "--tokens", "15", "--workers", "2")
    assert [(row["workers"], row["readers"]) for row in about["rows"]] == [(2, 1), (2, 10)]
    assert about["rows"][1]["tokens"] == 10 * 15
    assert json.loads(about["left"])["2 workers"]["after_leaving"] < serve.MANY
