"""The repository itself: one list of versions, floors that hold, small files, a light import."""

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from repository import ROOT, repository_files

from book.lock import environment, pins

#: Imports go down or stay level; a new module gets its floor here. A package has one floor, and
#: within a package there are no floors, only no circles.
FLOORS = {
    1: "errors paths resources runtime files ranks versions stopping threads callbacks settings"
    " status_line progress trackers",
    2: "model model_config documents rotary kv_cache id_checks chunked_loss products grammar"
    " stories places parallel quantization",
    3: "corpora batches packing muon optim checkpoint",
    4: "tokenizers chat resizing tuning train_config train_state run_log mirror",
    5: "shards sampling evaluation runs",
    6: "task trainer hub finetuning footprint devices budget serving writing qlora beats",
    7: "presets course",
    8: "__init__ cli __main__",
}
FLOOR_OF = {module: floor for floor, modules in FLOORS.items() for module in modules.split()}
#: The course, in the same way: what all chapters use, then the chapters. A chapter may use one
#: that a reader has read before.
COURSE = {
    1: "command answers picture source svg",
    2: "loaded records jobs checking plotting squares drawing tables purse",
    3: "recorded recipes sweep",
    4: "digits bigram",
    5: "self_attention",
    6: "multi_head",
    7: "learned_last scaling tokens",
    8: "speedrun",
    9: "pretraining",
    10: "stories",
    11: "finetuning",
    12: "beats",
}
COURSE_FLOOR_OF = {module: floor for floor, modules in COURSE.items() for module in modules.split()}


def module_name(path) -> str:
    parts = path.relative_to(ROOT / "gptlib").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "__init__"


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(path) -> set[str]:
    """Return the modules of gptlib that a file imports, now or later, e.g. {"course.plotting"}."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if is_module(name) else node.module for name in inside]
        else:
            continue
        found |= {name.removeprefix("gptlib.") for name in names if name.startswith("gptlib.")}
        found |= {"__init__"} & {name.replace("gptlib", "__init__") for name in names}
    return found


def package_files() -> list:
    return sorted((ROOT / "gptlib").rglob("*.py"))


def test_imports_never_go_up_a_floor():
    wrong = []
    for path in package_files():
        module = module_name(path)
        floor = FLOOR_OF.get(module.partition(".")[0])
        assert floor is not None, f"gptlib/{module} has no floor in this test"
        for other in imports(path):
            if FLOOR_OF.get(other.partition(".")[0], 0) > floor:
                wrong.append(f"{module} (floor {floor}) imports {other}")
    assert not wrong, "\n".join(wrong)


def test_imports_never_go_up_a_floor_of_the_course():
    wrong = []
    for path in sorted((ROOT / "gptlib" / "course").rglob("*.py")):
        module = module_name(path).removeprefix("course").lstrip(".")
        floor = COURSE_FLOOR_OF.get(module.partition(".")[0]) if module else 11
        assert floor is not None, f"course/{module} has no floor in this test"
        for other in imports(path):
            part = other.removeprefix("course.").partition(".")[0]
            if other.startswith("course.") and COURSE_FLOOR_OF[part] > floor:
                wrong.append(f"course.{module} (floor {floor}) imports {other}")
    assert not wrong, "\n".join(wrong)


def test_imports_have_no_circles():
    """Not even those that a function imports when it is called."""
    graph = {module_name(path): imports(path) for path in package_files()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_one_function_flushes_to_the_disk():
    """Disks that do not know the call are answered there, and nowhere else."""
    for path in package_files():
        if path.name != "files.py":
            assert "os.fsync" not in path.read_text("utf8"), f"{path.name}: use files.flush"


def test_files_are_small():
    long = []
    for path in package_files():
        lines = len(path.read_text("utf8").splitlines())
        if lines > 400:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
    assert not long, "\n".join(long)


def test_half_of_the_files_are_read_in_a_sitting():
    lengths = [len(path.read_text("utf8").splitlines()) for path in package_files()]
    assert statistics.median(lengths) < 160


def test_importing_gptlib_is_light():
    program = (
        "import sys, torch; before = set(sys.modules); import gptlib;"
        "print(len(set(sys.modules) - before));"
        "print(*{'transformers', 'peft', 'datasets', 'matplotlib', 'gradio'}"
        " & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.splitlines()
    # `bench/import_time.py` has the seconds; a test counts what takes them.
    assert int(printed[0]) < 300, f"importing gptlib imports {printed[0]} modules beside torch's"
    assert not printed[1].strip(), f"importing gptlib also imports {printed[1]}"


def lock() -> dict[str, str]:
    lines = pins((ROOT / "requirements.lock").read_text("utf8"))
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


def test_environment_and_lock_are_equal():
    text = (ROOT / "requirements.lock").read_text("utf8")
    conda = (ROOT / "environment.yml").read_text("utf8")
    assert conda == environment(text), "run `make lock`"
    assert yaml.safe_load(conda)["dependencies"][-1]["pip"] == [*pins(text), "-e ."]


#: These two extras bring servers of their own, some forty packages, one of which wants an older
#: Pillow than the book's figures were made with. Nothing in the book is made with them.
TRACKERS = ("tensorboard", "trackio")


def test_the_lock_satisfies_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    extras = [v for k, v in project["optional-dependencies"].items() if k not in TRACKERS]
    for text in [*project["dependencies"], *(text for extra in extras for text in extra)]:
        need = Requirement(text)
        name = canonicalize_name(need.name)
        assert name in lock(), f"{need.name} is not in requirements.lock"
        assert need.specifier.contains(lock()[name]), f"the lock has {name} {lock()[name]}"


def test_the_lock_serves_every_machine():
    text = (ROOT / "requirements.lock").read_text("utf8")
    assert not re.search(
        r"nvidia|triton|cuda|\+cpu|\+cu\d|file:|^-|@|/", "\n".join(pins(text)), re.M
    )
    assert not {"gptlib", "pip"} & lock().keys()


def test_what_runs_here_is_what_the_lock_says():
    """The outputs in the book were made with the lock; another version may print otherwise."""
    from importlib.metadata import version

    for name in ("torch", "numpy", "matplotlib", "tiktoken", "jupyter-book", "myst-nb", "nbval"):
        assert Version(version(name)).public == lock()[name]


@pytest.mark.parametrize(
    "colab", ["torch 2.11", "numpy 2.1", "tiktoken 0.14", "platformdirs 4.5", "safetensors 0.8"]
)
def test_the_ranges_admit_what_colab_has(colab):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    name, version = colab.split()
    ranges = {
        Requirement(text).name: Requirement(text).specifier for text in project["dependencies"]
    }
    assert ranges[name].contains(version)


def test_no_file_names_the_machine_it_was_written_on():
    places = "|".join([f"/{top}/" for top in ("work", "root", "opt")] + [r"\.\./" + "shared"])
    private = re.compile(places + "|sub" + "agent")
    found = []
    for path in repository_files():
        if (
            path.suffix in (".png", ".bin", ".safetensors", ".pt")
            or path.name == "requirements.lock"
        ):
            continue
        for number, line in enumerate(path.read_text("utf8", errors="replace").splitlines(), 1):
            if private.search(line) and len(line) < 5000:
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


def test_ruff_is_content():
    for command in (["check", "."], ["format", "--check", "."]):
        ruff = subprocess.run(
            [sys.executable, "-m", "ruff", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ruff.returncode == 0, ruff.stdout[-3000:]


def test_pyrefly_is_content():
    found = subprocess.run(
        [sys.executable, "-m", "pyrefly", "check", "--python-interpreter-path", sys.executable,
         "--output-format", "min-text"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]


def test_ci_calls_the_test_command_and_nothing_else():
    lines = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines == ["set -e", 'cd "$(dirname "$0")/.."', "exec make test"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_readme_shows_the_book():
    picture = (
        ROOT / re.search(r"!\[[^\]]{20,}\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf8"))[1]
    )
    assert picture.stat().st_size < 300_000


def test_the_floors_in_contributing_are_those_of_the_tests():
    rows = re.findall(r"^\| (\d) \| (.+?) \|", (ROOT / "CONTRIBUTING.md").read_text("utf8"), re.M)
    told = {int(n): set(re.findall(r"`(\w+)/?`", modules)) for n, modules in rows}
    assert told == {
        floor: set(modules.split()) - {"__init__", "__main__"} for floor, modules in FLOORS.items()
    }


def test_links_inside_the_repository_lead_somewhere():
    missing = []
    for path in ROOT.glob("*.md"), ROOT.glob("bench/*.md"):
        for page in path:
            for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf8")):
                if not (page.parent / target).exists():
                    missing.append(f"{page.relative_to(ROOT)}: {target}")
    assert not missing, "\n".join(missing)
