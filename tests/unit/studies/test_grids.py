"""Study files and their grids: what they give, and what is refused before anything is run."""

from pathlib import Path
from typing import Any

import pytest

from hybrid_dist.commands.study import main
from hybrid_dist.config.flags import load
from hybrid_dist.config.resolve import to_yaml
from hybrid_dist.config.sources import Source
from hybrid_dist.errors import UserError
from hybrid_dist.studies.grids import grid
from hybrid_dist.studies.run_states import check_folder, claim_folder
from hybrid_dist.studies.study_checks import check_everything, check_figures, problems_of_files
from hybrid_dist.studies.study_file import read_study
from hybrid_dist.studies.submission import flags_of
from tests.support.small_models import unended
from tests.support.studies import HYBRID, MONOLINGUAL, make_grid, write_study

ROOT = Path(__file__).resolve().parents[3]


def test_the_grid_is_the_product_of_the_axes_and_the_further_cells(
    toy: Path, tmp_path: Path
) -> None:
    axes = {
        "batches": {"monolingual": MONOLINGUAL, "hybrid": HYBRID},
        "batching.language_alpha": [0, 0.5],
    }
    made = make_grid(
        tmp_path,
        toy,
        axes=axes,
        cells={"large": {"batching.size": 32}},
        untrained=True,
        baseline="large",
    )
    assert [cell.name for cell in made.cells] == [
        "monolingual,language_alpha=0",
        "monolingual,language_alpha=0.5",
        "hybrid,language_alpha=0",
        "hybrid,language_alpha=0.5",
        "large",
        "untrained",
    ]
    run = made.runs(made.cell("hybrid,language_alpha=0.5"))[1]
    assert (run.seed, run.config.seed) == (2, 2)
    assert run.folder == tmp_path / "out/runs/hybrid,language_alpha=0.5/seed-2"
    assert run.config.batching.mix.monolingual == run.config.batching.language_alpha == 0.5
    assert run.config.log.group == "tiny" and run.config.log.tags == (run.cell.name,)
    assert run.config.eval.tasks == (f"toy:{toy}",)
    assert len(made.all_runs()) == 11, "an untrained model is evaluated once"
    assert [one.seed for one in made.all_runs()[:7]] == [1, 1, 1, 1, 1, None, 2]


def test_variables_of_the_environment_are_replaced(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY", str(toy))
    monkeypatch.delenv("NOT_SET", raising=False)
    file = write_study(tmp_path, toy, tasks=["toy:${TOY}"], name="${NOT_SET:-tiny}")
    study = read_study(file)
    assert (study.name, study.tasks["toy"].task) == ("tiny", f"toy:{toy}")
    with pytest.raises(UserError, match=r"\$\{NOT_SET\}: the environment has no NOT_SET"):
        read_study(write_study(tmp_path, toy, tasks=["toy:${NOT_SET}"]))


def test_tasks_have_labels_and_may_be_for_some_seeds(toy: Path, tmp_path: Path) -> None:
    tasks = {"toy": f"toy:{toy}", "again": {"task": f"toy:{toy}/test.jsonl", "seeds": [1]}}
    made = make_grid(tmp_path, toy, tasks=tasks)
    first, second = made.runs(made.cells[0])
    assert list(first.tasks) == ["toy", "again"] and list(second.tasks) == ["toy"]
    assert first.reports("toy") == first.folder / "eval/toy"
    assert first.reports("again") == first.folder / "eval-again/toy"
    assert first.config.eval.tasks == (f"toy:{toy}",)


def test_no_model_is_chosen_by_the_tasks_of_the_study(toy: Path, tmp_path: Path) -> None:
    made = make_grid(tmp_path, toy, overrides={"eval.every": 1, "data.dev": ["dev.jsonl"]})
    run = made.all_runs()[0]
    assert run.config.eval.tasks == () and run.tasks == {"toy": f"toy:{toy}"}
    made = make_grid(tmp_path, toy, tasks=["tatoeba:a", f"toy:{toy}"])
    assert made.all_runs()[0].config.eval.tasks == (f"toy:{toy}", "tatoeba:a")
    made = make_grid(tmp_path, toy, tasks=["tatoeba:a"])
    assert made.all_runs()[0].config.eval.metric == "map.cross_lingual"


def test_cells_are_compared_with_a_cell_or_along_an_axis(toy: Path, tmp_path: Path) -> None:
    axes = {
        "batches": {"monolingual": MONOLINGUAL, "hybrid": HYBRID},
        "batching.language_alpha": [0, 1],
    }
    made = make_grid(tmp_path, toy, axes=axes, baseline={"batches": "monolingual"}, untrained=True)
    compared = {cell.name: made.baseline_of(cell) for cell in made.cells}
    assert {name: other.name for name, other in compared.items() if other is not None} == {
        "hybrid,language_alpha=0": "monolingual,language_alpha=0",
        "hybrid,language_alpha=1": "monolingual,language_alpha=1",
    }


def test_adapters_start_from_one_untrained_model(toy: Path, tmp_path: Path) -> None:
    plain = make_grid(tmp_path, toy, untrained=True)
    made = make_grid(
        tmp_path, toy, axes={"model.lora_rank": [0, 4]}, untrained=True, baseline="lora_rank=0"
    )
    (one,), (other,) = ([c for c in g.cells if c.is_untrained] for g in (plain, made))
    assert one.identity() == other.identity()


def refused(toy: Path, folder: Path, **changed: Any) -> str:
    """The message about such a study, before any data is read."""
    with pytest.raises(UserError) as error:
        made = make_grid(folder, toy, **changed)
        check_figures(made)
    return str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"axes": {"batching.languge_alpha": [0, 1]}},
            "axes: batching.languge_alpha is no config key; did you mean 'batching.language_alpha'",
        ),
        (
            {"axes": {"batches": {"monolingual": {"batching.mx.monolingual": 1}}}},
            "did you mean 'batching.mix.monolingual'",
        ),
        ({"axes": {"recipe.zif": [0, 1]}}, "did you mean 'recipe.zipf'"),
        (
            {"axes": {"optim.lr": [1e-3, -1]}, "baseline": "lr=0.001"},
            "cell lr=-1: overrides:\n  optim.lr: input should be greater than 0, given -1",
        ),
        (
            {"cells": {"same": HYBRID}},
            "the cells hybrid and same have the same config",
        ),
        ({"cells": {"hybrid": {"batching.size": 8}}}, "two cells have the name hybrid"),
        ({"axes": {"optim.lr": [1e-3, 1e-3]}, "baseline": "lr=0.001"}, "two cells have the name"),
        ({"baseline": "monolingul"}, "'monolingul' is no cell; did you mean 'monolingual'"),
        ({"baseline": {"batch": "hybrid"}}, "'batch' is no axis; did you mean 'batches'"),
        ({"baseline": {"batches": "mono"}}, "batches has no 'mono'"),
        ({"seeds": [1, 1]}, "seed 1 is given twice"),
        ({"seeds": []}, "seeds: tuple should have at least 1 item"),
        ({"tasks": ["toy:a", "toy:b"]}, "toy is given twice: write the tasks as LABEL: NAME:PATH"),
        ({"sedes": [1]}, "sedes: unknown key; did you mean 'seeds'"),
        ({"base": "nowhere.yaml"}, "nowhere.yaml: cannot be read"),
        ({"overrides": {"seed": 3}}, "seed is set by the study itself"),
        ({"figures": ["map.multilingul"]}, "did you mean 'map.multilingual'"),
        ({"figures": ["map.multilingual@small"]}, "map.multilingual@small names no group"),
        ({"plots": [{"kind": "line", "x": "model.name_or_path"}]}, "no number"),
        ({"plots": [{"kind": "line"}]}, "a line plot needs x"),
        ({"plots": [{"kind": "pie"}]}, "'line', 'bars' or 'ternary'"),
        ({"trends": [{"x": "optim.lr", "by": "batch"}]}, "'batch' is no axis"),
        ({"overrides": {"recipe.zipf": 1}}, "give it with one of recipe.total and recipe.head"),
        ({"overrides": {"recipe.keep": {"qaa": 2}}}, "recipe.keep.qaa: input should be less than"),
        ({"tasks": {"held": "pairs:{recipe}/held_out-1.jsonl"}}, "needs recipe.held_out_uids"),
        ({"name": "../outside"}, "is no name"),
        ({"axes": {}, "baseline": "x"}, "no cell: give axes, or cells"),
    ],
)
def test_what_cannot_be_run_is_refused(
    changed: dict[str, Any], message: str, toy: Path, tmp_path: Path
) -> None:
    assert message in refused(toy, tmp_path, **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tasks": ["toi:data"]}, "unknown task 'toi'; did you mean 'toy'"),
        ({"tasks": ["toy:nowhere"]}, "no file nowhere/test.jsonl"),
        ({"overrides": {"data.train": ["nowhere.jsonl"]}}, "nowhere.jsonl: no such file"),
        ({"overrides": {"model.name_or_path": "/no/model"}}, "/no/model"),
        ({"overrides": {"model.max_query_tokens": 4000}}, "max_query_tokens"),
        (
            {"cells": {"frozen": {"train.frozen_layers": 2}}},
            "cell frozen: train.frozen_layers: the model has 2 layers, and at least one has to be",
        ),
        (
            {"cells": {"wide": {"loss.dims": [8, 64]}}},
            "cell wide: loss.dims: has 64, but the model's vectors have 32 dimensions",
        ),
        (
            {"overrides": {"recipe.keep": {"qaa": 0.5}, "distill.teacher": "stored"}},
            "distill.teacher: is stored, but the pair files that a recipe writes hold no vectors",
        ),
        (
            {"cells": {"cut": {"recipe.keep": {"qaa": 0.5}, "train.chunk_tokens": 512}}},
            "cell cut: train.chunk_tokens: the pair files that a recipe writes hold no token ids",
        ),
        ({"processes": 2}, "2 processes need a launcher"),
        ({"launcher": "no.yaml"}, "no file no.yaml"),
        ({"overrides": {"recipe.sources": ["unit:x"]}}, "did you mean 'units'"),
        ({"overrides": {"recipe.languages": ["xx"]}}, "no pair is in 'xx'"),
        (
            {"figures": ["map.multilingual", "map.multilingual@far"], "groups": {"far": ["xx"]}},
            "no task has map.multilingual@far (toy: it has no query in xx)",
        ),
    ],
)
def test_what_the_machine_does_not_have_is_refused(
    changed: dict[str, Any], message: str, toy: Path, tmp_path: Path
) -> None:
    made = make_grid(tmp_path, toy, **changed)
    with pytest.raises(UserError) as error:
        check_everything(made)
    assert message in str(error.value)
    assert not (made.out / "runs").exists()


def test_a_recipe_may_come_with_a_stored_teacher_that_no_run_uses(
    toy: Path, tmp_path: Path
) -> None:
    unused = {"distill.teacher": "stored", "distill.weight": 0}
    made = make_grid(tmp_path, toy, overrides={"recipe.keep": {"qaa": 0.5}} | unused)
    assert list(problems_of_files(made)) == []


def test_last_pooling_without_an_end_of_texts_is_refused(toy: Path, tmp_path: Path) -> None:
    folder = unended(toy, tmp_path / "model")
    made = make_grid(
        tmp_path, toy, cells={"last": {"model.name_or_path": str(folder), "model.pooling": "last"}}
    )
    with pytest.raises(UserError, match=r"cell last: model\.pooling: last takes .* \(EOS\)"):
        check_everything(made)


def test_lora_without_peft_is_refused(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_dist.model.lora.find_spec", lambda name: None)
    made = make_grid(tmp_path, toy, cells={"lora": {"model.lora_rank": 4}})
    with pytest.raises(
        UserError, match=r"cell lora: model\.lora_rank: LoRA needs the package peft"
    ):
        check_everything(made)


def test_a_task_without_any_of_the_figures_is_refused(toy: Path, tmp_path: Path) -> None:
    for side in ("deu", "eng"):
        (tmp_path / f"tatoeba.deu-eng.{side}").write_text("a\nb\n")
    made = make_grid(tmp_path, toy, tasks=[f"tatoeba:{tmp_path}"], figures=["map.multilingual"])
    with pytest.raises(
        UserError, match=r"has none of the study's figures; map\.multilingual: every"
    ):
        check_everything(made)


def test_a_folder_belongs_to_one_study(toy: Path, tmp_path: Path) -> None:
    claim_folder(make_grid(tmp_path, toy))
    more = {"cells": {"large": {"batching.size": 32}}, "seeds": [1, 2, 3], "tasks": ["toy:other"]}
    claim_folder(make_grid(tmp_path, toy, **more))
    check_folder(make_grid(tmp_path, toy))
    with pytest.raises(UserError, match="holds another study, 'tiny'"):
        check_folder(make_grid(tmp_path, toy, name="other"))
    changed = make_grid(tmp_path, toy, overrides={"train.steps": 4})
    with pytest.raises(UserError, match=r"in its cell monolingual, train\.steps is 3, and in this"):
        check_folder(changed)
    with pytest.raises(UserError, match=r"in its cell large, batching\.size is 32"):
        claim_folder(make_grid(tmp_path, toy, cells={"large": {"batching.size": 8}}))
    (tmp_path / "out" / "study.json").unlink()
    (tmp_path / "out" / "recipes").mkdir()
    check_folder(make_grid(tmp_path, toy))
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files but no study"):
        check_folder(make_grid(tmp_path, toy))


def test_flags_give_the_config_of_a_run(toy: Path, tmp_path: Path) -> None:
    cells = {
        "odd": {
            "batching.language_weights": {"qaa": 2, "qab": 0},
            "model.dropout": None,
            "model.query_prefix": 'it\'s a "query": ',
            "eval.groups": ["a=qaa", "b=qab"],
            "loss.symmetric": True,
            "loss.dims": [8, 16],
            "loss.dim_weights": [1, 0.5],
        }
    }
    made = make_grid(tmp_path, toy, cells=cells)
    base = made.runs(made.cells[0])[0].config
    for run in made.all_runs():
        file = tmp_path / "base-run.yaml"
        file.write_text(to_yaml(base))
        assert load(["--config", str(file), *flags_of(base, run.config)], "test") == run.config


def test_cells_may_differ_in_the_settings_of_a_source(toy: Path, tmp_path: Path) -> None:
    train = str(toy / "train.jsonl")
    heavy = {"path": train, "weight": 3, "query_prefix": "ask: "}
    cells: dict[str, Any] = {
        "equal": {"data.train": [train, {"path": train, "weight": 1}]},
        "heavy": {"data.train": [train, heavy]},
        "ending": {"batching.mix_end": {"multilingual": 1}},
        "cut": {"data.train": [train, heavy], "recipe.keep": {"qaa": 0.5}},
    }
    made = make_grid(tmp_path, toy, cells=cells)
    claim_folder(made)
    check_folder(make_grid(tmp_path, toy, cells=cells))
    cells["heavy"]["data.train"][1] = heavy | {"weight": 4}
    with pytest.raises(UserError, match=r"in its cell heavy, data.train is .*'weight': 3.0"):
        check_folder(make_grid(tmp_path, toy, cells=cells))
    run = made.runs(made.cell("heavy"))[0]
    assert run.config.data.train_paths == (train, train)
    cut = made.runs(made.cell("cut"))[0].config.data.train
    assert isinstance(cut[0], str) and cut[0].endswith("train-1.jsonl")
    assert isinstance(cut[1], Source) and cut[1].path.endswith("train-2.jsonl")
    assert (cut[1].weight, cut[1].query_prefix) == (3, "ask: ")
    base = made.runs(made.cell("ending"))[0].config
    with pytest.raises(UserError, match=r"data.train: .* flags, which cannot give the settings"):
        flags_of(base, run.config)


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs/studies").glob("*.yaml")), ids=lambda file: file.stem
)
def test_a_shipped_study_is_well_formed(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(file), "--out", str(tmp_path), "--dry-run", "--slurm"])
    assert "slurm/sweep.sbatch" in capsys.readouterr().out
    made = grid(read_study(file), file, tmp_path)
    check_figures(made)
    assert made.study.name == file.stem
    problems = [line for line in problems_of_files(made) if "no such file" not in line]
    problems = [line for line in problems if "no file launchers" not in line]
    problems = [line for line in problems if "make it with `hybrid-dist toy" not in line]
    assert problems == []
    if file.stem.endswith("-small"):
        trained = [run for run in made.all_runs() if not run.cell.is_untrained]
        assert len(trained) <= 24
