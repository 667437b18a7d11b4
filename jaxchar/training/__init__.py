"""A training run: one step, the loop, how it begins, and the folder that it leaves."""
