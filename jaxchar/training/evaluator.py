"""Evaluations while a run is trained: on held-out text, and what is said of them."""

from jaxchar.config import Config
from jaxchar.data.dataset import Dataset
from jaxchar.model.loss import Means
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.scoring.validation import make_validation
from jaxchar.training.evaluations import Evaluations
from jaxchar.training.step import Program, TrainState, evaluation_params


class Evaluator:
    """Evaluates the states of one run."""

    def __init__(
        self, config: Config, dataset: Dataset, program: Program, display: GuardedDisplay, so_far: Evaluations
    ) -> None:
        """Prepare; nothing is compiled before the first evaluation.

        Args:
            config: all settings.
            dataset: the text.
            program: the run's functions.
            display: where evaluations are shown.
            so_far: the evaluations until now, to which each one is added.
        """
        self._validate = make_validation(config, program.graphdef, dataset.splits["validation"], program.mesh)
        self._best_writes = config.keep_checkpoints > 0
        self._steps_per_epoch = program.batches.steps_per_epoch
        self._display = display
        self._evaluations = so_far
        self._told_by_heart = False

    @property
    def has_text(self) -> bool:
        """Whether there is held-out text."""
        return self._validate is not None

    def validate(self, state: TrainState) -> Means:
        """Return what the weights that are kept make of the held-out text."""
        assert self._validate is not None
        return self._validate(evaluation_params(state))

    def take_down(self, val: Means | None, figures: TrainState, position: str) -> None:
        """Keep and show an evaluation, and say where the training text is being learned by heart.

        Args:
            val: of the held-out text, if there is one.
            figures: the state that was evaluated.
            position: of the run, in words.
        """
        train = Means.of(figures.epoch_totals)
        is_best = val is not None and self._evaluations.add(int(figures.step), val)
        self._display.evaluation(position, train, val, is_best)
        if not self._told_by_heart and self._evaluations.show_learning_by_heart(train):
            self._told_by_heart = True
            self._display.notice(self._evaluations.by_heart(self._steps_per_epoch, self._best_writes))
