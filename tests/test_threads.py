"""Threads wait briefly and are as many as there is time for, unless somebody has said otherwise."""

import ast
import os
import sys
from pathlib import Path

import pytest

import gptlib
from gptlib import threads


@pytest.fixture(autouse=True)
def unlimited(monkeypatch):
    """Eight cores, and nobody who shares them out."""
    monkeypatch.setattr(threads, "_cores", lambda: 8)
    monkeypatch.setattr(threads, "cpu_quota", lambda: None)


def test_nothing_that_the_user_set_is_touched():
    spins = {"GOMP_SPINCOUNT": str(threads.SPINS)}
    assert threads.settings({}) == threads.settings({"OMP_NUM_THREADS": "2"}) == spins
    for name in threads.WAITING:
        assert threads.settings({name: "anything"}) == {}


@pytest.mark.parametrize(("quota", "number"), [(2.0, "2"), (1.5, "1"), (0.25, "1"), (8.0, None)])
def test_a_container_gets_as_many_threads_as_it_has_time(monkeypatch, quota, number):
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    assert threads.settings({}).get("OMP_NUM_THREADS") == number
    for name in threads.COUNTING:
        assert "OMP_NUM_THREADS" not in threads.settings({name: "8"})


def test_prepare_comes_before_torch_or_not_at_all(monkeypatch):
    for name in threads.WAITING:
        monkeypatch.delenv(name, raising=False)
    threads.prepare()  # torch is loaded here
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.setenv("GOMP_SPINCOUNT", "gone after the test")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delitem(sys.modules, "torch")
    threads.prepare()
    assert os.environ["GOMP_SPINCOUNT"] == str(threads.SPINS)


def test_the_package_prepares_before_it_imports_anything_that_needs_torch():
    _, first, call, *_ = ast.parse(Path(gptlib.__file__).read_text("utf8")).body
    assert ast.unparse([first, call]) == "from gptlib import threads\nthreads.prepare()"
    tree = ast.parse(Path(threads.__file__).read_text("utf8"))
    names = [n.names[0].name for n in tree.body if isinstance(n, ast.Import)]
    names += [n.module for n in tree.body if isinstance(n, ast.ImportFrom)]
    assert set(names) == {"__future__", "collections.abc", "os", "pathlib", "sys"}


# What the kernel shows: folder: file: text, the groups of this process, and the cores they grant.
GROUPS = {
    "version 2, at the root": (
        {"": {"cpu.max": "150000 100000"}}, "0::/", 1.5),
    "version 2, no limit": ({"": {"cpu.max": "max 100000"}}, "0::/", None),
    "version 2, the outer group is the tighter one": (
        {"slice": {"cpu.max": "100000 100000"}, "slice/run": {"cpu.max": "400000 100000"}},
        "0::/slice/run", 1.0),
    "version 1": (
        {"cpu/job": {"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"}},
        "7:memory:/other\n4:cpu:/job", 3.0),
    "version 1, two controllers in one": (
        {"cpu,cpuacct": {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"}},
        "4:cpu,cpuacct:/", 0.5),
    "version 1, no limit": (
        {"cpu": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}}, "4:cpu:/", None),
    "no groups": ({}, None, None),
    "nonsense": ({"": {"cpu.max": "a b c"}}, "0::/", None),
}  # fmt: skip


@pytest.mark.parametrize("case", GROUPS)
def test_quotas_of_both_versions_of_control_groups(tmp_path, monkeypatch, case):
    monkeypatch.undo()
    folders, groups, expected = GROUPS[case]
    for folder, files in folders.items():
        place = tmp_path / "sys/fs/cgroup" / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (place / name).write_text(text + "\n")
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups + "\n")
    assert threads.cpu_quota(tmp_path) == expected
