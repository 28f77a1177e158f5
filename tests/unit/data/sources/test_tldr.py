"""tldr-pages: a command's page in several languages, whose examples are parallel by command."""

from pathlib import Path

import pytest

from hybrid_dist.errors import UserError
from tests.support.published_files import read, write

ENGLISH = """# flim

> Sorts marbles, `big` ones first.
> More information: <https://example.org/flim>.

- [s]ort all marbles of a bag:

`flim --sort {{path/to/bag}}`

- Show the colours of two bags, one beside the other:

`flim {{[-c|--colours]}} {{bag1 bag2}}`

- Count marbles (twice on this page):

`flim count {{bag}}`

- Count stones (twice on this page):

`flim count {{stones}}`

- Show the help of this program:

`flim --help`
"""
GERMAN = """# flim

> Sortiert Murmeln, große zuerst.
> Weitere Informationen: <https://example.org/flim>.

- Zeige die Farben von zwei Beuteln:

`flim {{[-c|--colours]}} {{beutel1 beutel2}}`

- Sortiere alle Murmeln eines Beutels：

`flim --sort {{pfad/zum/beutel}}`

- Show the help of this program:

`flim --help`

- Nur auf Deutsch:

`flim --deutsch`
"""
OTHER = "# flam\n\n> Like flim.\n\n- Show the help of this program:\n\n`flam --help`\n"


@pytest.fixture
def tldr(tmp_path: Path) -> Path:
    write(tmp_path / "pages/common/flim.md", ENGLISH)
    write(tmp_path / "pages/linux/flam.md", OTHER)
    write(tmp_path / "pages.de/common/flim.md", GERMAN)
    write(
        tmp_path / "pages.pt_BR/common/flim.md",
        "# flim\n\n> Bolinhas.\n\n- Ordena:\n\n`flim --sort {{x}}`\n",
    )
    write(tmp_path / "pages.de/osx/alone.md", OTHER.replace("flam", "alone"))
    write(tmp_path / "README.md", "# no page\n")
    return tmp_path


def test_examples_are_parallel_by_command(tldr: Path) -> None:
    pairs, reading = read("tldr", tldr)
    english = "flim: Sorts marbles, big ones first."
    german = "flim: Sortiert Murmeln, große zuerst."
    assert [(p["uid"], p["lang"], p["query"], p["passage"]) for p in pairs] == [
        ("common/flim#0", "en", "sort all marbles of a bag", english),
        (
            "common/flim#1",
            "en",
            "Show the colours of two bags, one beside the other",
            english,
        ),
        ("common/flim#1", "de", "Zeige die Farben von zwei Beuteln", german),
        ("common/flim#0", "de", "Sortiere alle Murmeln eines Beutels", german),
        ("common/flim#0", "pt-BR", "Ordena", "flim: Bolinhas."),
    ]
    assert reading.where(pairs[2]["place"]) == f"{tldr}/pages.de/common/flim.md:6"
    assert reading.named == {"pt_BR": "pt-BR"}


def test_languages_are_chosen_and_english_may_be_there_twice(tldr: Path) -> None:
    write(tldr / "pages.en/common/flim.md", ENGLISH)
    pairs, _ = read("tldr", tldr, languages="en")
    assert [p["uid"] for p in pairs] == ["common/flim#0", "common/flim#1"]
    with pytest.raises(UserError, match="has no fr; its languages are de, en, pt-BR"):
        read("tldr", tldr, languages="fr")


def test_a_file_that_is_no_page_is_named(tldr: Path) -> None:
    file = write(tldr / "pages.de/common/broken.md", "- Zeige:\n\n`broken`\n")
    with pytest.raises(UserError, match=r"broken\.md:1: expected a line `# name` and a line `> s"):
        read("tldr", tldr)
    with pytest.raises(UserError, match=r"no file of this layout; expected pages/PLATFORM/COMMAND"):
        read("tldr", file)
