"""The progress of a run: metrics.jsonl, W&B, the terminal."""
