"""Groups of query languages by script, family and resource tier."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hybrid_dist.data.language_codes import USUAL_SCRIPTS
from hybrid_dist.data.languages import canonical
from hybrid_dist.errors import UserError
from hybrid_dist.evaluation import language_table
from hybrid_dist.evaluation.groups import LanguageGroups
from hybrid_dist.evaluation.language_table import COLUMNS, LANGUAGES, attributes
from hybrid_dist.evaluation.tasks import Task
from hybrid_dist.reporting.evaluation_report import ReportOptions, evaluate_vectors
from hybrid_dist.runtime.ranks import Ranks
from tests.support.evaluation_problems import make_task, unit_vectors

SETS = {
    "XQuAD-R": "ar de el en es hi ru th tr vi zh",
    "MIRACL": "ar bn de en es fa fi fr hi id ja ko ru sw te th yo zh",
    "AfriQA": "bem fon ha ig rw sw tw wo yo zu",
    "MKQA": "ar da de en es fi fr he hu it ja km ko ms nl no pl pt ru sv th tr vi zh",
}
WITHOUT_TIER = ("bem",)


def task_of(*languages: str) -> Task:
    """A query and a passage in each language."""
    count = len(languages)
    task = make_task(list(range(count)), list(range(count)), [[n] for n in range(count)])
    return replace(task, languages=languages)


@pytest.mark.parametrize("name", SETS)
def test_the_table_has_the_languages_of_common_test_sets(name: str) -> None:
    for language in SETS[name].split():
        known = attributes(language)
        assert known.script and known.family, language
        assert (known.tier is None) == (language in WITHOUT_TIER), language


def test_the_table_is_consistent() -> None:
    rows = [row.split(":") for languages in LANGUAGES.values() for row in languages.split()]
    names = [language for language, _, _ in rows]
    assert len(set(names)) == len(names) == len(language_table._table())
    usual = dict(entry.split(":") for entry in USUAL_SCRIPTS.split())
    for language, script, tier in rows:
        assert canonical(language) == language
        assert script == usual.get(language, "Latn"), language
        assert tier in {*"012345", "-"}


def test_known_languages() -> None:
    assert attributes("sw") == ("Latn", "Atlantic-Congo", "2")
    assert attributes("te") == ("Telu", "Dravidian", "1")
    assert attributes("zh-Hant") == ("Hant", "Sino-Tibetan", "5")
    assert attributes("pt-BR") == attributes("pt")
    assert attributes("en-x-af") == attributes("en")
    assert attributes("xx") == (None, None, None)
    assert COLUMNS == ("script", "family", "tier")


def test_a_column_and_named_groups_combine() -> None:
    task = task_of("ar", "de", "hi", "sw", "th", "zxx")
    groups = LanguageGroups.of(["script", "few=sw,th"], [task])
    assert groups.within(task) == {
        "script Arab": ("ar",),
        "script Deva": ("hi",),
        "script Latn": ("de", "sw"),
        "script Thai": ("th",),
        "few": ("sw", "th"),
    }
    by_family = LanguageGroups.of(["family"], [task]).within(task)
    assert by_family["family Indo-European"] == ("de", "hi")
    by_tier = LanguageGroups.of(["tier"], [task]).within(task)
    assert by_tier["tier 5"] == ("ar", "de") and by_tier["tier 2"] == ("sw",)


def test_languages_that_are_not_in_the_table_are_named() -> None:
    task = task_of("bem", "de", "zxx")
    groups = LanguageGroups.of(["tier", "family"], [task])
    assert groups.omissions(task) == {
        "languages without a known tier": "bem, zxx",
        "languages without a known family": "zxx",
    }
    assert groups.omissions(task_of("de")) == {}
    assert LanguageGroups.of(["few=de"], [task]).omissions(task) == {}


def test_a_column_given_twice_or_misspelt_is_refused() -> None:
    task = task_of("de", "en")
    with pytest.raises(UserError, match="a name is used twice"):
        LanguageGroups.of(["script", "script"], [task])
    with pytest.raises(UserError, match=r"'scripts' is not NAME=.* one of script, family, tier"):
        LanguageGroups.of(["scripts"], [task])
    named = LanguageGroups.of(["script=de"], [task]).within(task)
    assert named == {"script": ("de",)}


def test_the_report_has_the_groups_and_names_the_rest(tmp_path: Path) -> None:
    task = task_of("de", "sw", "zxx")

    class Vectors:
        name = "random"

        def queries(self, rows: slice) -> np.ndarray:
            return unit_vectors(np.random.default_rng(1), 3)[rows]

        passages = queries

    options = ReportOptions(groups=LanguageGroups.of(["tier"], [task]))
    messages: list[str] = []
    report = evaluate_vectors(task, Vectors(), Ranks(), tmp_path, messages.append, options)
    assert list(report["groups"]) == ["tier 2", "tier 5"]
    assert report["settings"]["languages without a known tier"] == "zxx"
    assert "toy: languages without a known tier: zxx" in messages
    assert "languages without a known tier: zxx" in (tmp_path / "report.md").read_text("utf-8")
