"""Python runs this at its start where this folder is on PYTHONPATH: once torch is imported, its
rounding is that of machine number GPTLIB_ROUNDING_NOISE."""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType


class _AfterTorch(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_disturb(module: ModuleType) -> None:
            load(module)
            from rounding import install

            install(int(os.environ["GPTLIB_ROUNDING_NOISE"]))

        spec.loader.exec_module = load_and_disturb
        return spec


if os.environ.get("GPTLIB_ROUNDING_NOISE"):
    sys.meta_path.insert(0, _AfterTorch())
