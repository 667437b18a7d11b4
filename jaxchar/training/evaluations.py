"""The evaluations of a run: the last one, the best one, and what they say of the training."""

import math
from typing import Any, NamedTuple

from jaxchar.checkpoint.metadata import Metadata
from jaxchar.model.loss import Means, bits_per_char

# A validation loss so many times the best one, and so far above the training loss (nats), tells that the
# training text is being learned by heart. Less than that comes and goes with the learning rate.
BY_HEART_WORSE, BY_HEART_GAP = 1.03, 0.3


class Evaluation(NamedTuple):
    """What the validation text gave at a step."""

    step: int
    val_loss: float  # nats per character
    val_accuracy: float


class Best(NamedTuple):
    """The evaluation with the lowest loss so far."""

    step: int | None = None  # None: no evaluation had a loss that is a number
    val_loss: float = math.inf  # nats per character
    evaluations_since: int = 0  # that were no better


class Evaluations:
    """The last evaluation and the best one; both are kept in checkpoints."""

    def __init__(self, last: dict[str, Any] | None = None, best: dict[str, Any] | None = None) -> None:
        """Begin with none, or with those of a checkpoint's metadata."""
        self.last = Evaluation(**last) if last else None
        self.best = Best(**best) if best else Best()

    @classmethod
    def of(cls, checkpoint: Metadata | None) -> "Evaluations":
        """Return those of the checkpoint that a run goes on from; none where it is new."""
        return cls() if checkpoint is None else cls(checkpoint.last, checkpoint.best)

    def add(self, step: int, means: Means) -> bool:
        """Take an evaluation down; return whether it is the best so far."""
        self.last = Evaluation(step, means.loss, means.accuracy)
        is_best = means.loss < self.best.val_loss
        if is_best:
            self.best = Best(step, means.loss)
        else:
            self.best = self.best._replace(evaluations_since=self.best.evaluations_since + 1)
        return is_best

    def last_metrics(self) -> dict[str, float]:
        """Return the figures of the last evaluation, by their names in ``metrics.jsonl``."""
        if self.last is None:
            return {}
        loss, accuracy = self.last.val_loss, self.last.val_accuracy
        return {"val_loss": loss, "val_accuracy": accuracy, "val_bits_per_char": bits_per_char(loss)}

    def last_to_json(self) -> dict[str, Any]:
        """Return the last evaluation as a checkpoint's metadata have it; nothing where there is none."""
        return {} if self.last is None else self.last._asdict()

    def best_to_json(self) -> dict[str, Any]:
        """Return the best evaluation as a checkpoint's metadata have it; nothing where there is none."""
        if self.best.step is not None:
            return self.best._asdict()
        since = self.best.evaluations_since
        return {"evaluations_since": since} if since else {}

    def gave_up(self, step: int, patience: int | None) -> bool:
        """Whether early stopping says, after an evaluation at this step, that it is enough."""
        evaluated_now = self.last is not None and self.last.step == step
        return bool(patience) and evaluated_now and self.best.evaluations_since >= (patience or 0)

    def show_learning_by_heart(self, train: Means) -> bool:
        """Whether what is learned no longer helps with any other text.

        Args:
            train: of the training text since the start of the epoch.
        """
        if self.last is None:
            return False
        loss = self.last.val_loss
        return loss > BY_HEART_WORSE * self.best.val_loss and train.loss < loss - BY_HEART_GAP

    def by_heart(self, steps_per_epoch: int, best_writes: bool) -> str:
        """Return what is said when :meth:`show_learning_by_heart` holds.

        Args:
            steps_per_epoch: of the training text.
            best_writes: whether the best checkpoint is the one that is sampled by default.
        """
        assert self.last is not None
        now, best = (step / steps_per_epoch for step in (self.last.step, self.best.step or 0))
        kept = "is kept, and is the one that writes" if best_writes else "is kept"
        return (
            f"The training text is being learned by heart: at pass {now:.1f} the validation loss is worse "
            f"than at pass {best:.1f}. The best model, of pass {best:.1f}, {kept}. More text, more dropout "
            "or a smaller model would help; more time does not."
        )
