"""`hybrid-dist dashboard RUN...`: a W&B workspace for runs or a study."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hybrid_dist.config.command_options import Flag, parse
from hybrid_dist.errors import UserError, report_errors
from hybrid_dist.reporting import dashboard
from hybrid_dist.reporting.dashboard import View
from hybrid_dist.reporting.logged_run import LoggedRun
from hybrid_dist.studies.run_states import STUDY_FILE
from hybrid_dist.text import printable
from hybrid_dist.tracking.wandb_run import ID_FILE


@dataclass(frozen=True, kw_only=True)
class Options:
    """Lay out a W&B workspace for runs: loss by kind, accuracy, similarity, mAP in the three
    settings, language bias, speed and memory. A study gets a second one, which compares its cells.
    It is written to a file, which --send sends.

    Example: hybrid-dist dashboard runs/hybrid runs/monolingual --out dashboard.json
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders of one W&B project, the folder of a study, or a file that this command wrote."""
    out: Path = Path("dashboard.json")
    """The file to write."""
    send: Flag = False
    """Send it to W&B, too; offline runs get there by `wandb sync`."""
    entity: str = ""
    """User or team in W&B; by default yours, or WANDB_ENTITY."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("dashboard: give one run folder or more")


def main(args: Sequence[str], program: str = "hybrid-dist dashboard") -> None:
    with report_errors(program):
        options = parse(Options, args, program)
        dashboard.check_package()
        file = options.runs[0]
        if len(options.runs) == 1 and file.is_file():
            if not options.send:
                raise UserError(f"{file}: is a file; --send sends it, run folders make a new one")
            views = dashboard.read_views(file)
        else:
            file, views = options.out, _views(options.runs)
            dashboard.write_views(file, views)
            print(printable(f"{file}: {_summary(views)}"))
        if options.send:
            for address in dashboard.send_views(file, views, options.entity):
                print(printable(address))


def _views(paths: Sequence[Path]) -> list[View]:
    """A workspace for all runs, and one for each study."""
    studies = [path for path in paths if (path / STUDY_FILE).is_file()]
    by_study = {path: list(_runs_of(path)) for path in studies}
    runs = [LoggedRun.read(path) for path in paths if path not in by_study]
    runs += [run for of_study in by_study.values() for run in of_study]
    projects = sorted({run.config.log.project for run in runs})
    if len(projects) > 1:
        raise UserError(
            f"dashboard: the runs are in several W&B projects ({', '.join(projects)}); give those "
            "of one"
        )
    of_studies = [dashboard.view_of_study(path.resolve().name, by_study[path]) for path in studies]
    return [dashboard.view_of_runs(runs), *of_studies]


def _runs_of(study: Path) -> Iterator[LoggedRun]:
    """The runs of a study that are in W&B; untrained models are not."""
    files = sorted((study / "runs").glob(f"*/seed-*/{ID_FILE}"))
    if not files:
        raise UserError(f"{study}: no run of the study is in W&B (log.wandb)")
    yield from (LoggedRun.read(file.parent) for file in files)


def _summary(views: Sequence[View]) -> str:
    panels = sum(
        len(section["panels"])
        for view in views
        for section in view["spec"]["section"]["panelBankConfig"]["sections"]
    )
    return f"{len(views)} workspace{'s' * (len(views) > 1)}, {panels} panels"
