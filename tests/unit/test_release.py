"""What a release states in several places."""

from pathlib import Path

import yaml

import hybrid_dist

ROOT = Path(__file__).resolve().parents[2]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == hybrid_dist.__version__
    assert citation["references"][0]["url"].endswith("2408.10536")
