"""What an evaluation warns of before it starts."""

from pathlib import Path

from hybrid_dist.evaluation.task_checks import task_warnings
from hybrid_dist.evaluation.task_specs import load_task
from hybrid_dist.model.spec import EncoderSpec
from hybrid_dist.model.tokenization import TextTokens
from tests.support.vector_files import write_pairs


def test_languages_and_texts_that_the_model_does_not_know_are_named(
    toy: Path, tmp_path: Path
) -> None:
    task = load_task(write_pairs(tmp_path, 12))
    tokens = TextTokens.load(str(toy / "model"), EncoderSpec("mean", "", "", 64, 64))
    lines = list(task_warnings(task, tokens, frozenset(["en", "fr"])))
    assert lines[0] == "the model was not trained on de"
    for trained in (None, ["de-AT", "en"]):
        assert list(task_warnings(task, tokens, trained)) == lines[1:]
    short = TextTokens(tokens.tokenizer, EncoderSpec("mean", "", "", 64, 3))
    cut = [line for line in task_warnings(task, short) if "lose their ends" in line]
    assert cut == [
        "many passages are longer than max_passage_tokens, 3, and lose their ends: de 100%, en 100%"
    ]
