"""Workspaces of W&B for runs and studies: built, kept in a file, and sent.

The file has what W&B's server takes, as wandb-workspaces writes it.
"""

import json
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hybrid_dist.errors import UserError
from hybrid_dist.reporting.dashboard_panels import CELLS, RUNS, Panel, Section, laid_out, varied
from hybrid_dist.reporting.logged_run import LoggedRun
from hybrid_dist.runtime.files import read_json, write_atomically
from hybrid_dist.tracking.wandb_run import BY_PAIR, STEP

View = dict[str, Any]
"""A workspace as W&B's server takes it."""
VIEWS = "views"
CELL = "Tags"
"""What W&B groups the runs of a study's cell by: the last tag is the cell's name."""
MOST_RUNS = 100


def check_package() -> None:
    """Refuse where wandb-workspaces is not installed."""
    if find_spec("wandb_workspaces") is None:
        raise UserError(
            "dashboard: needs the package wandb-workspaces, which is not installed: "
            'pip install "hybrid_dist[dashboard]"'
        )


def view_of_runs(runs: Sequence[LoggedRun]) -> View:
    """A workspace of curves and final figures, a line for each run."""
    names = [run.config.run.name for run in runs]
    name = names[0] if len(names) == 1 else f"{len(names)} runs"
    keys = frozenset().union(*(run.keys for run in runs))
    return _view(f"hybrid_dist: {name}", runs, laid_out(RUNS, keys), by_cell=False)


def view_of_study(name: str, runs: Sequence[LoggedRun]) -> View:
    """A workspace that compares a study's cells."""
    keys = frozenset().union(*(run.keys for run in runs))
    return _view(f"hybrid_dist: study {name}", runs, laid_out(CELLS, keys), by_cell=True)


def write_views(file: Path, views: Sequence[View]) -> None:
    content = json.dumps({VIEWS: list(views)}, ensure_ascii=False, indent=1)
    write_atomically(file, content + "\n")


def read_views(file: Path) -> list[View]:
    """The workspaces of a file that `write_views` has written."""
    content = read_json(file, "a dashboard")
    views = content.get(VIEWS) if isinstance(content, dict) else None
    if not isinstance(views, list) or not views:
        raise UserError(f"{file}: is no dashboard; give run folders, or a file of this command")
    for view in views:
        _parsed(file, view)
    return views


def send_views(file: Path, views: Sequence[View], entity: str) -> list[str]:
    """Save workspaces in W&B; their addresses. `entity`: the user or team; empty: the default."""
    import wandb
    from wandb_workspaces.workspaces import Workspace

    settings = wandb.setup(wandb.Settings(silent=True)).settings
    try:
        entity = entity or settings.entity or wandb.Api().default_entity
        models = [_parsed(file, view | {"entity": entity}) for view in views]
        return [Workspace._from_model(model).save().url for model in models]
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"W&B does not take the dashboard: {' '.join(str(error).split())}; log in (wandb "
            f"login), then send it: hybrid-dist dashboard {file} --send"
        ) from None


def _parsed(file: Path, view: View) -> Any:
    from pydantic import ValidationError
    from wandb_workspaces.workspaces.internal import View as Model

    try:
        return Model.model_validate(view)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{file}: is no dashboard ({where}: {first['msg']}); write it again"
        ) from None


def _view(name: str, runs: Sequence[LoggedRun], sections: Sequence[Section], by_cell: bool) -> View:
    import wandb_workspaces.expr as expr
    import wandb_workspaces.workspaces as ws

    shown = [
        ws.Section(section.name, [_panel(p, by_cell) for p in section.panels], is_open=True)
        for section in sections
    ]
    if by_cell:
        shown.append(ws.Section("What the cells vary", _comparers(runs, sections), is_open=True))
    workspace = ws.Workspace(
        entity="",
        project=runs[0].config.log.project,
        name=re.sub(r"[^\w\s.,:()-]", " ", name),  # W&B refuses symbols
        sections=shown,
        settings=ws.WorkspaceSettings(max_runs=min(max(len(runs), 10), MOST_RUNS)),
        runset_settings=ws.RunsetSettings(
            filters=[expr.Metric("ID").isin([run.id for run in runs])],
            groupby=[expr.Metric(CELL)] if by_cell else [],
        ),
    )
    view: View = workspace._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    return view


def _panel(panel: Panel, by_cell: bool) -> Any:
    """Curves over steps, bars of final figures, images or a table: what W&B has under the keys."""
    import wandb_workspaces.reports.v2 as wr

    keys = list(panel.keys)
    grouped = {"groupby": CELL, "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    if keys == [BY_PAIR]:
        return wr.WeavePanelSummaryTable(table_name=BY_PAIR)
    if keys[0].endswith("/map_by_pair"):
        return wr.MediaBrowser(title=panel.title, media_keys=keys)
    more = grouped if by_cell else {}
    if keys[0].startswith("final/"):
        return wr.BarPlot(title=panel.title, metrics=keys, **more)
    return wr.LinePlot(title=panel.title, x=STEP, y=keys, **more)


def _comparers(runs: Sequence[LoggedRun], sections: Sequence[Section]) -> list[Any]:
    """The settings that differ against the final figures, and the differences run by run."""
    import wandb_workspaces.reports.v2 as wr

    finals = [
        key for part in sections for p in part.panels for key in p.keys if key.startswith("final/")
    ]
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(key)) for key in varied(runs)]
    columns += [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(key)) for key in finals]
    return [
        wr.ParallelCoordinatesPlot(title="Settings and final figures", columns=columns),
        wr.RunComparer(diff_only="split"),
    ]
