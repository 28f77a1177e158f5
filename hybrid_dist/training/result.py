"""What a run returns to the Python code that started it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainingResult:
    """Where a run left its files and how far it came; the same on every rank."""

    folder: Path
    """The run folder: config.yaml, metrics.jsonl, checkpoints/, model/ and eval/."""
    model: Path
    """The exported model: that of the best step, or else of the last one. It exists once the run
    has finished, or has had an evaluation."""
    step: int
    """The last step that was trained."""
    losses: dict[str, float]
    """The last logged means: train/loss, train/loss/KIND, and dev/loss where it was measured. Empty
    if this call logged none, as when a finished run is started again."""
    metric: str | None
    """The figure that chose the best step; None if there was no evaluation during training."""
    best: float | None
    """Its value at the best step."""
    best_step: int | None
    evaluation: dict[str, float]
    """Figures of the finished model by NAME/figure; empty without tasks, or if interrupted."""
    stopped_by: str | None
    """The signal or file that stopped the run before its end. The same call resumes it."""
