"""Token shards: text of any size as files of token ids, written once and read as needed.

`prepare` comes from `gptlib.shards.write` when it is first asked for: a training only reads.
"""

from typing import TYPE_CHECKING

from gptlib.shards.read import ShardedTokens, open_shards

if TYPE_CHECKING:
    from gptlib.shards.write import prepare

__all__ = ["ShardedTokens", "open_shards", "prepare"]


def __getattr__(name: str) -> object:
    if name == "prepare":
        from gptlib.shards.write import prepare

        return prepare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
