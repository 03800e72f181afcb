"""Which gptlib this is.

One job: `package_version`, for what keeps it beside its results.
"""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    try:
        return version("gptlib")
    except PackageNotFoundError:  # run from a checkout
        return "not installed"
