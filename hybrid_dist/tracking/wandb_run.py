"""The same records in W&B. Its absence, outage or bad key never stops or slows a run.

What a record holds is decided in training/step_log.py and training/meters.py; tables and heatmaps
come from training/run.py and training/assembly.py, a study's from commands/study.py.
"""

import secrets
import string
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hybrid_dist.config.schema import Log
from hybrid_dist.errors import UserError
from hybrid_dist.runtime.environment import commit
from hybrid_dist.runtime.files import write_atomically
from hybrid_dist.tracking.metrics_log import Record, finite_only
from hybrid_dist.tracking.report_json import REPORT, read_report

ID_FILE, SENT_FILE = "wandb_id", "wandb_sent"
SECTIONS = ("train", "eval", "system", "dev", "final")
BY_PAIR = "train/loss_by_pair"
"""One number for each language pair: a table in W&B, since 25 languages would give 625 curves."""
RANK_TIMES, MOST_RANKS = "system/rank_ms/", 16
"""One number for each rank: curves in W&B of no more ranks than this."""
STEP = "train/step"
MOST_LETTERS = 2000
"""Of an alert: it is no place for a listing."""
SECONDS_TO_START = SECONDS_TO_FINISH = 30


class WandbRun:
    """One W&B run per run folder: its id lives there, so a resumed run is one curve.

    A separate thread talks to W&B. The training thread only queues work, and waits at the end for
    a bounded time.
    """

    def __init__(
        self, log: Log, folder: Path, config: Record, say: Callable[[str], None], speaks: bool
    ) -> None:
        self._log, self._folder, self._say = log, folder, say
        self._work: SimpleQueue[Callable[[Any], None] | None] = SimpleQueue()
        self._exit_code = 0
        self._media: Record = {}
        self._pair_losses: dict[str, list[Any]] = {}
        self._thread: threading.Thread | None = None
        if speaks and log.wandb != "disabled":
            target, args = self._serve, (config,)
            self._thread = threading.Thread(target=target, args=args, name="wandb", daemon=True)
            self._thread.start()

    def __enter__(self) -> "WandbRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.fail(str(error) or type(error).__name__)

    def fail(self, why: str) -> None:
        """End as failed, with an alert if log.alerts asks for it."""
        if self._log.alerts:
            title, text = f"{self._folder.name[:50]} failed", why[:MOST_LETTERS]
            self._enqueue(lambda run: run.alert(title, text, level="ERROR"))
        self.finish(exit_code=1)

    def write(self, record: Record) -> None:
        """Send a record; what was sent before a crash is not sent again: W&B cannot rewind."""
        points = finite_only(record)  # W&B would not take the nulls of metrics.jsonl as points
        self._enqueue(lambda run: self._send(run, points))

    def summarize(self, figures: Record) -> None:
        values = finite_only(figures)
        self._enqueue(lambda run: run.summary.update(values))

    def reports(self, folder: Path, section: str) -> None:
        """Send the language pairs and languages of an evaluation's reports with the record that
        comes next."""

        def add(_: Any) -> None:
            try:
                self._media.update(_languages(folder, section))
            except (UserError, OSError) as error:  # still send the record
                self._say(f"W&B: cannot send the figures of languages: {error}")

        self._enqueue(add)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Send a table with the record that comes next."""

        def make(run: Any) -> None:
            import wandb

            self._media[name] = wandb.Table(columns=list(columns), data=[list(row) for row in rows])

        self._enqueue(make)

    def finish(self, exit_code: int = 0) -> None:
        """Wait until all is sent; where W&B does not answer, not for long."""
        if self._thread is None:
            return
        self._exit_code = exit_code
        self._work.put(None)
        self._thread.join(SECONDS_TO_START + 2 * SECONDS_TO_FINISH)
        if self._thread.is_alive():
            self._say("W&B does not answer; not all was sent (metrics.jsonl has everything)")
        self._thread = None

    def _enqueue(self, work: Callable[[Any], None]) -> None:
        """Queue work for the thread, if it is running."""
        if self._thread is not None and self._thread.is_alive():
            self._work.put(work)

    def _serve(self, config: Record) -> None:
        """Do the queued work in order. Errors of W&B or of the network never stop a run."""
        run: Any = None
        try:
            run, offline = self._started(config)
            while (work := self._work.get()) is not None:
                work(run)
            if media := self._losses_by_pair() | self._media:
                run.log(media)
            self._finish(run, offline)
        except Exception as error:
            if run is not None:
                with suppress(Exception):  # what was sent before is worth keeping
                    run.finish(exit_code=1)
            self._say(
                f"W&B is off for the rest of this run: {error} (metrics.jsonl has everything)"
            )

    def _started(self, config: Record) -> tuple[Any, bool]:
        """The W&B run, and whether it is offline, by choice or because W&B is unreachable."""
        import wandb  # a second, so only when used

        wandb.setup(wandb.Settings(silent=True))
        if self._log.wandb == "offline":
            return self._init(config, "offline"), True
        try:
            if wandb.login(prompt=False):
                return self._init(config, "online"), False
            why = "there is no key (wandb login)"
        except Exception as error:
            why = " ".join(str(error).split())
        self._say(f"W&B: {why}; this run is recorded offline")
        return self._init(config, "offline"), True

    def _init(self, config: Record, mode: str) -> Any:
        import wandb

        log = self._log
        run = wandb.init(
            project=log.project,
            name=self._folder.name,
            id=_run_id(self._folder),
            group=log.group or None,
            tags=log.tags,
            job_type=log.job_type,
            resume="allow",
            mode=mode,  # type: ignore[arg-type]
            dir=self._folder,
            config=config | {"commit": commit()},
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,  # it would send a token that is the user of the remote's URL
                init_timeout=SECONDS_TO_START,
                finish_timeout=SECONDS_TO_FINISH,
                finish_timeout_raises=True,
            ),
        )
        run.define_metric(STEP)
        for section in SECTIONS:
            run.define_metric(f"{section}/*", step_metric=STEP)
        return run

    def _losses_by_pair(self) -> Record:
        """The last loss of each language pair and its step, as a table; nothing before the first
        one."""
        import wandb

        rows = [self._pair_losses[pair] for pair in sorted(self._pair_losses)]
        columns = ["query", "passage", "loss", "step"]
        return {BY_PAIR: wandb.Table(columns=columns, data=rows)} if rows else {}

    def _send(self, run: Any, record: Record) -> None:
        step, sent = record.pop("step"), self._folder / SENT_FILE
        for key in [key for key in record if key.startswith(f"{BY_PAIR}/")]:
            pair = key.rpartition("/")[2]
            self._pair_losses[pair] = [*pair.split("_to_"), record.pop(key), step]
        times = [key for key in record if key.startswith(RANK_TIMES)]
        for key in times if len(times) > MOST_RANKS else ():
            del record[key]
        if step > _last_sent(sent):
            # first, so that after a crash a record may be missing but is never sent twice
            write_atomically(sent, f"{step}\n", durable=False)
            media = self._media | self._losses_by_pair() if self._media else {}
            run.log(record | media | {STEP: step}, step=step, commit=True)
            self._media = {}

    def _finish(self, run: Any, offline: bool) -> None:
        import wandb

        why = "W&B was offline"
        try:
            run.finish(exit_code=self._exit_code)
        except TimeoutError:
            offline, why = True, "W&B did not take all in time"
        wandb.teardown()  # the file is whole when W&B's own process has ended
        if not offline:  # all of it is sent: `wandb sync` of later parts would send it again
            Path(run.settings.sync_file).with_suffix(".wandb.synced").touch()
        else:
            # W&B ends a folder's name with -1 where one of the same second exists, and leaves out
            # those of online parts unless it is told otherwise
            every_part = f"{self._folder}/wandb/*run-*-{_run_id(self._folder)}*"
            self._say(f"{why}; send this run with: wandb sync --include-online {every_part}")


def _languages(folder: Path, section: str) -> Record:
    """mAP of every report in a folder: by language pair as an image and a table, and by query
    language in the pool of all as points of curves."""
    import wandb

    media: Record = {}
    for file in sorted(folder.glob(f"[!.]*/{REPORT}")):
        report = read_report(file)
        rows = [
            [query_lang, passage_lang, v]
            for query_lang, row in report["map_by_pair"].items()
            for passage_lang, v in row.items()
        ]
        task = f"{section}/{file.parent.name}"
        name = f"{task}/map_by_pair"
        media[name] = wandb.Image(str(file.with_name("map_by_pair.png")))
        media[f"{name}_table"] = wandb.Table(columns=["query", "passage", "mAP"], data=rows)
        of_languages = report["map_by_language"].items()
        media |= finite_only({f"{task}/map_by_language/{lang}": v for lang, v in of_languages})
    return media


def _last_sent(file: Path) -> int:
    """0 if no step was sent, or if a power failure lost the number."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


def _run_id(folder: Path) -> str:
    file = folder / ID_FILE
    if not file.exists():
        letters = string.ascii_lowercase + string.digits
        write_atomically(file, "".join(secrets.choice(letters) for _ in range(8)) + "\n")
    return file.read_text().strip()
