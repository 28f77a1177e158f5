"""The loop and what it keeps: run folder, checkpoints, the exported model."""
