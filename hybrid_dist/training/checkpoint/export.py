"""The model as the user gets it, gathered from wherever the strategy keeps its weights."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hybrid_dist.model.saving import save
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.runtime.files import failed_write, replace_folder
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.training.checkpoint.background import Attempt
from hybrid_dist.training.run_folder import RunFolder

BACKBONE = "encoder.backbone."


class Exporter:
    def __init__(
        self,
        folder: RunFolder,
        accelerator: Any,
        ranks: Ranks,
        model: nn.Module,
        backbone: nn.Module,
        tokenizer: Any,
        settings: EncoderSpec,
    ) -> None:
        self.folder, self._accelerator, self._ranks = folder, accelerator, ranks
        self._model, self._backbone = model, backbone
        self._tokenizer, self._settings = tokenizer, settings

    def write(self, folder: Path) -> None:
        """Write the weights of now. All ranks take part, the first one writes."""
        state = self._accelerator.get_state_dict(self._model)
        attempt = Attempt(self._ranks.is_first)
        attempt.write(lambda: self._write(folder, state))
        problem = self._ranks.broadcast_from_first(attempt.problem)
        if problem is not None:
            raise failed_write(f"the model could not be written: {problem}", problem)

    def _write(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        weights = {
            name.removeprefix(BACKBONE): tensor.detach().float().cpu()
            for name, tensor in state.items()
            if name.startswith(BACKBONE)
        }
        save(folder, self._backbone, weights, self._tokenizer, self._settings)

    def keep(self, draft: Path) -> None:
        """Make a written model the run's model."""
        if self._ranks.is_first:
            replace_folder(draft, self.folder.model)
        self._ranks.barrier()

    def discard(self, draft: Path) -> None:
        """Remove a written model."""
        if self._ranks.is_first:
            shutil.rmtree(draft)
        self._ranks.barrier()
