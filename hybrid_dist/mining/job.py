"""A mining job: a store, a model and rules; the store with mined negatives is its result."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hybrid_dist.data.store.reader import Store
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation.search import EXACT, Search, Searcher
from hybrid_dist.evaluation.vector_cache import CachedVectors, FingerprintedEmbedder
from hybrid_dist.mining.cross_encoding import Rescorer
from hybrid_dist.mining.mined_blocks import BLOCK, RESCORED_BLOCK, BlockFiles, places
from hybrid_dist.mining.mined_store import Findings, write_mined
from hybrid_dist.mining.miner import Miner
from hybrid_dist.mining.pools import Pool, StoreTexts, check_pools, pools_of
from hybrid_dist.mining.rules import Rules
from hybrid_dist.runtime.files import check_new_folder, locked, made_parents, writing
from hybrid_dist.runtime.ranks import Ranks

Log = Callable[[str], None]
FORMAT = 1
"""Of blocks: those of another version are mined again."""


@dataclass(frozen=True)
class MiningJob:
    """What is mined, where to, and how. `load` refuses what cannot be mined; `execute` mines."""

    store: Store
    out: Path
    pool: tuple[str, ...]
    pools: Sequence[Pool]
    rules: Rules
    notes: Sequence[str]
    """What is unusual about the job."""

    @classmethod
    def load(cls, store: Path, out: Path, pool: Sequence[str], rules: Rules) -> "MiningJob":
        opened = Store(store)
        check_new_folder(out)
        pools = pools_of(opened, pool)
        notes = check_pools(opened, pools, rules)
        return cls(opened, out, tuple(pool), pools, rules, notes)

    def execute(
        self,
        embedder: FingerprintedEmbedder,
        rescorer: Rescorer | None,
        search: Search,
        cache: Path | None,
        ranks: Ranks,
        log: Log,
    ) -> Findings:
        """Mine and write the store; all ranks call it together.

        `cache`: where vectors are kept; None: beside OUT, until the store is complete.
        """
        for note in self.notes:
            log(note)
        work = self.out.resolve().with_name(f".{self.out.name}.mining")
        settings = self._settings(embedder, rescorer)
        blocks = BlockFiles(
            work / f"blocks-{_key(settings)}",
            places(self.store.index, BLOCK if rescorer is None else RESCORED_BLOCK),
        )
        searcher = Searcher.choose(search, EXACT, ranks)
        with ExitStack() as held, made_parents(work):
            ranks.decide_on_first(lambda: _hold(work, held))
            texts = StoreTexts.of(self.store)
            vectors = CachedVectors(texts, embedder, cache or work / "vectors", ranks, log)
            miner = Miner(
                self.store, self.pools, self.rules, vectors, rescorer, searcher, ranks, log
            )
            miner.run(blocks)
            return ranks.decide_on_first(lambda: self._finish(blocks, settings, work))

    def _finish(self, blocks: BlockFiles, settings: dict[str, Any], work: Path) -> Findings:
        findings = write_mined(self.store, self.out, blocks, settings)
        shutil.rmtree(work, ignore_errors=True)
        return findings

    def _settings(
        self, embedder: FingerprintedEmbedder, rescorer: Rescorer | None
    ) -> dict[str, Any]:
        """What decides the result."""
        rules = asdict(self.rules)
        return {
            "model": embedder.name,
            "weights": embedder.fingerprint[:16],
            "rescore": None if rescorer is None else rescorer.name,
            "rescorer weights": None if rescorer is None else rescorer.fingerprint[:16],
            "store": self.store.fingerprint[:16],
            "pool": list(self.pool),
            "from": rules.pop("first"),
            "to": rules.pop("last"),
            **rules,
        }


def _hold(work: Path, held: ExitStack) -> None:
    """Create the folder of what is complete, and refuse it if another process is mining there."""
    held.enter_context(writing(work))
    work.mkdir(exist_ok=True)
    try:
        held.enter_context(locked(work / "lock"))
    except BlockingIOError:
        raise UserError(f"{work}: another process is mining there; wait for it") from None


def _key(settings: dict[str, Any]) -> str:
    """A name for blocks that are mined with these settings."""
    content = json.dumps([FORMAT, settings], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
