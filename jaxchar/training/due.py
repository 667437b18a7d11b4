"""When something is due that is not a training step: a line of the log, an evaluation, samples, a save."""

from jaxchar.config import Config


class Due:
    """The steps at which each kind of work is due; each is due at the last step, too."""

    def __init__(self, config: Config, steps_per_epoch: int, total_steps: int) -> None:
        """Take the periods of a configuration; one that is not given is an epoch."""
        self.total_steps = total_steps
        self.periods = {
            "evaluating": config.eval_every or steps_per_epoch,
            "sampling": config.sample_every or steps_per_epoch,
            "saving": config.checkpoint_every or steps_per_epoch,
        }
        self._log_every, self._hold_until = config.log_every, config.hold_until
        self._samples = config.sample_length > 0

    def is_due(self, work: str, step: int) -> bool:
        """Whether "evaluating", "sampling" or "saving" is due after so many steps."""
        if work == "sampling" and not self._samples:
            return False
        return step % self.periods[work] == 0 or self.is_last(step)

    def is_last(self, step: int) -> bool:
        """Whether the run ends after so many steps."""
        return step >= self.total_steps

    def next_stop(self, step: int, wished: int) -> int:
        """Return the step to train to from a step: the one wished for, or an earlier one that has work."""
        periods = (self._log_every, *self.periods.values())
        if step < self._hold_until:  # where a plan may be corrected
            wished = min(wished, self._hold_until)
        return min(wished, self.total_steps, *(step - step % period + period for period in periods))
