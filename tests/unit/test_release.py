"""What a release states in several places, and the workflows that make it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import hybrid_dist
from tests.licences import licence, normal, requirements

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == hybrid_dist.__version__
    assert citation["references"][0]["url"].endswith("2408.10536")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## (\d\S*), (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    assert released[0] == (hybrid_dist.__version__, str(citation["date-released"]))


def test_the_licence_of_every_dependency_is_listed() -> None:
    page = (ROOT / "docs/licences.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| (\S+) \| (.+?) \| .*\|$", page, re.MULTILINE))
    for extra, wanted in requirements().items():
        for name in (normal(one.name) for one in wanted):
            if extra.startswith("gpu"):  # another build of what is listed
                assert name in page
            else:
                assert listed[name] == licence(name)


def steps(workflow: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every step of a workflow with its job."""
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    return [(job, step) for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_what_the_makefile_has(workflow: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    asked = set[str]()
    for job, step in steps(workflow):
        matrix = job.get("strategy", {}).get("matrix", {})
        for name in re.findall(r"make (?:PYTHON=\w+ )?\"?([\w$-]+)", step.get("run", "")):
            stem, variable, key = name.partition("$")
            values = matrix[key.lower()] if variable else [""]
            asked |= {f"{stem}{value}" for value in values}
    assert asked and asked <= known


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_few_rights_fixed_actions_and_limits(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text("utf-8"))
    assert content["permissions"] == {"contents": "read"} and content["concurrency"]
    assert all(job["timeout-minutes"] <= 60 for job in content["jobs"].values())
    used = [step["uses"] for _, step in steps(workflow) if "uses" in step]
    assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used)
    assert "secrets." not in workflow.read_text("utf-8")


def test_the_workflow_tests_every_python_that_is_named() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    named = re.findall(r"Programming Language :: Python :: (3\.\d+)", project)
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    assert matrix["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    assert f'requires-python = ">={named[0]}"' in project
