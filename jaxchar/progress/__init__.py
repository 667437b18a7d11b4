"""What a training run shows while it lasts."""
