"""What a run tells while it runs: metrics.jsonl, W&B, the terminal."""
