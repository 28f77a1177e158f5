"""What a run reads before its weights: pairs, plan, tokenizer, model config and evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from hybrid_dist.batching import Plan, max_batch_size
from hybrid_dist.config.schema import Config, Model
from hybrid_dist.config.sources import MixEnd
from hybrid_dist.data.store.reader import Store, check_sources, open_sources
from hybrid_dist.data.user_cache import store_cache
from hybrid_dist.errors import UserError
from hybrid_dist.model.layers import check_frozen_layers
from hybrid_dist.model.loading import check_lengths, read_config
from hybrid_dist.model.lora import check_peft
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from hybrid_dist.runtime.ranks import Ranks
from hybrid_dist.tracking.tensorboard_log import check_tensorboard
from hybrid_dist.training.objective import check_dims
from hybrid_dist.training.run_folder import RunFolder
from hybrid_dist.training.teacher import Teacher
from hybrid_dist.training.teacher_sources import load_teacher


class RunEvaluation(Protocol):
    """What a run is evaluated on, and the figure that chooses its best checkpoint."""

    @property
    def tasks(self) -> Sequence[Any]:
        """Empty if nothing is evaluated."""
        ...

    @property
    def metric(self) -> str | None:
        """NAME/figure; None if the loss on held-out pairs chooses."""
        ...

    @property
    def higher_is_better(self) -> bool: ...

    def overlap(self, stores: Sequence[Store], sources: Sequence[str]) -> str:
        """One line that says whether evaluation texts occur among the training texts."""
        ...

    def __call__(
        self,
        model: Path,
        out: Path,
        ranks: Ranks,
        say: Callable[[str], None] | None = None,
        name: str | None = None,
    ) -> dict[str, float]:
        """Score a saved model on all ranks: figures by NAME/figure, reports in OUT/NAME.

        `name`: what the reports call the model instead of its path.
        """
        ...

    def copy_reports(self, source: Path, out: Path, say: Callable[[str], None]) -> None:
        """Copy the reports of all tasks from one folder to another, on one rank."""
        ...

    def describe(self, run: Path) -> None:
        """Write the card of a finished run's model."""
        ...


LoadEvaluation = Callable[[Config, Sequence[str]], RunEvaluation]
"""Takes the config and the training languages, returns the evaluation of the run."""


@dataclass(frozen=True)
class RunInputs:
    """Everything a run needs except the weights to train: read and validated."""

    folder: RunFolder
    stores: list[Store]
    plan: Plan
    dev: tuple[Plan, list[Store]] | None
    evaluation: RunEvaluation
    model_config: Any
    tokens: TextTokens
    teacher: Teacher | None = None

    @property
    def languages(self) -> list[str]:
        """The training languages, sorted."""
        return _languages(self.plan)

    @property
    def num_pairs(self) -> int:
        """The pairs of the sources that are drawn."""
        return sum(source.index.num_rows for source in self.plan.sources if source.is_drawn)


def load_inputs(config: Config, load_evaluation: LoadEvaluation) -> RunInputs:
    """Read all but the weights to train; raise a UserError for what cannot be trained with."""
    check_sources(
        [*config.data.train_paths, *config.data.dev]
    )  # report wrong paths before all else
    folder = RunFolder(config)
    folder.check()
    spec = EncoderSpec.of(config.model)
    cache = store_cache(config.data.cache_dir)
    stage = config.data.stage
    stores, sources = open_sources(config.data.train, spec.max_tokens, cache, stage)
    steps = config.train.steps
    plan = Plan(sources, config.batching, config.seed, steps=steps, align=config.align)
    dev = _load_dev(config, spec, cache) if config.data.dev else None
    check_tensorboard(config.log)
    model_config, tokens = read_model(config.model)
    check_uses(config, model_config)
    for store, source in zip(stores, sources, strict=True):
        # rejects prefixes that leave no room for a text
        own = tokens.with_prefixes(source.query_prefix, source.passage_prefix)
        if config.train.chunk_tokens:
            _check_token_lengths(config, store, source.name, own)
    tokens.check_end()
    evaluation = load_evaluation(config, _languages(plan))
    teacher = load_teacher(config, stores, model_config.hidden_size)
    return RunInputs(folder, stores, plan, dev, evaluation, model_config, tokens, teacher)


def read_model(model: Model) -> tuple[Any, TextTokens]:
    """A model's config and tokenizer; a UserError if they cannot do what its settings ask."""
    check_peft(model)
    model_config = read_config(model)
    check_lengths(model_config, model)
    tokens = TextTokens.load(model.name_or_path, EncoderSpec.of(model), model.trust_remote_code)
    tokens.check(model_config)
    return model_config, tokens


def check_uses(config: Config, model_config: Any) -> None:
    """Raise a UserError if training asks for layers or widths that its model does not have."""
    check_frozen_layers(model_config, config.train.frozen_layers)
    check_dims(config.loss.dims, model_config)


def _check_token_lengths(config: Config, store: Store, name: str, tokens: TextTokens) -> None:
    """Reject train.chunk_tokens where the plan does not know the lengths in the model's tokens."""
    reason = "it holds none" if store.tokens is None else tokens.mismatch(store.tokens)
    if reason:
        raise UserError(
            f"train.chunk_tokens: the token ids of {name} are needed, but {reason}; write a store "
            f"with `hybrid-dist prepare ... --tokenize {config.model.name_or_path}` and the "
            "prefixes of the run, or give train.chunk_size instead"
        )


def _languages(plan: Plan) -> list[str]:
    drawn = (source for source in plan.sources if source.is_drawn)
    return sorted({name for source in drawn for name in source.index.languages})


def _load_dev(config: Config, spec: EncoderSpec, cache: Path | None) -> tuple[Plan, list[Store]]:
    """The held-out pairs, in batches of the training mix, as large as the pairs allow."""
    stores, sources = open_sources(config.data.dev, spec.max_tokens, cache, config.data.stage)
    # weights may name languages that only the training data has; dev pairs may lack negatives;
    # the mix stays, so that losses of different steps can be compared
    batching = replace(config.batching, mix_end=MixEnd(), language_weights={}, hard_negatives=0)
    size = min(batching.size, max_batch_size(sources, batching))
    if size < 2:
        raise UserError(
            f"data.dev: too few pairs for a batch of every kind of batching.mix (at most {size} "
            "rows); add pairs in every language, or leave data.dev empty"
        )
    return Plan(sources, replace(batching, size=size), config.seed, "data.dev"), stores
