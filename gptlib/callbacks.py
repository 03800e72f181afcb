"""What a training tells those that listen: a display of progress, a tracker, your own code."""

from __future__ import annotations


class Callback:
    """Something that is told how a training goes. Each method does nothing unless overridden.

    `Trainer(callbacks=[...])` calls it, in the process that leads alone. What a method raises ends
    the training: the run goes on from its newest checkpoint when it is resumed.
    """

    def began(self, about: dict, step: int, steps: int) -> None:
        """The first update is due.

        Args:
            about: what a checkpoint's manifest tells of the run: "model", "train", "data", "note",
                "versions" and more. step: where training goes on from; 0 for a new run.
            steps: where its schedule ends.
        """

    def stepped(self, line: dict) -> None:
        """An update was made: a line of `log.jsonl` with step, loss, lr, grad_norm and tokens."""

    def validated(self, line: dict) -> None:
        """A validation was made.

        Args:
            line: step; val, in nats per token; loss, of the last step, or nan before the first;
                tokens_per_s, mfu and seconds_left, None where they are not known.
        """

    def ended(self, step: int, finished: bool) -> None:
        """Training ended at `step`; not finished where it was stopped or failed. Called always."""
