"""How long it takes to prepare so many tokens, before a night is given to it.

One job: `hours_to_prepare`, from two rates that a short run measures.
"""

from __future__ import annotations

from gptlib.errors import ConfigError


def hours_to_prepare(
    tokens: float, cores: int, per_core: float, reader: float, download: float = 0.0
) -> float:
    """Hours that `prepare` needs, where nothing breaks off.

    All cores encode, but one thread alone reads, and a download goes on beside them, so the slowest
    of the three decides.

    Args:
        tokens: how many. per_core: tokens a second of processor time, reading included, as
            `bench/prepare.py` measures it.
        reader: tokens a second that one thread reads, parses, splits and hashes.
        download: tokens a second that the line brings; 0 where the text is at hand. FineWeb-Edu has
            2.85 bytes of parquet a token: 28.5 GB for 10 billion.

    Raises:
        ConfigError: a rate or a number that is not above 0.
    """
    if not (tokens > 0 and cores >= 1 and per_core > 0 and reader > 0 and download >= 0):
        raise ConfigError(
            f"tokens, cores and rates are {tokens}, {cores}, {per_core}, {reader} and {download}; "
            "they must be above 0 (a download of 0 says that there is none)"
        )
    rates = [cores * per_core, reader, *([download] if download else [])]
    return tokens / min(rates) / 3600
