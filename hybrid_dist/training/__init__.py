"""The training loop and what it writes: run folder, checkpoints, exported model."""
