"""Published layouts that are tables: the options with which `table` reads each.

A new one is an entry here, and a file of the published shape in its test.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """A layout by the columns it has."""

    name: str
    summary: str
    columns: str
    """The columns, for people to compare with theirs."""
    options: Mapping[str, tuple[str, ...]]
    """Options of `table`; of several values, the first whose columns a file has."""
    optional: frozenset[str] = field(default=frozenset())
    """Options whose columns a file may lack."""
    numbered: frozenset[str] = field(default=frozenset())
    """Options whose one column may be several: NAME, NAME_1, NAME_2, ..."""


LAYOUTS = (
    Layout(
        "flagembedding",
        "FlagEmbedding's JSON lines, with scores if there are any; give lang",
        "query, pos[], neg[], pos_scores[], neg_scores[]",
        {
            "query": ("query",),
            "passage": ("pos",),
            "negatives": ("neg",),
            "positive_score": ("pos_scores",),
            "negative_scores": ("neg_scores",),
        },
        frozenset({"negatives", "positive_score", "negative_scores"}),
    ),
    Layout(
        "tevatron",
        "Tevatron's JSON lines, such as MIRACL's and Mr. TyDi's; give lang",
        "query_id, query, positive_passages[{docid, title, text}], negative_passages[...]",
        {
            "query": ("query",),
            "passage": (
                "{positive_passages.title} {positive_passages.text}",
                "positive_passages.text",
            ),
            "negatives": (
                "{negative_passages.title} {negative_passages.text}",
                "negative_passages.text",
            ),
            "uid_column": ("query_id",),
        },
        frozenset({"negatives"}),
    ),
    Layout(
        "triplets",
        "sentence-transformers' pairs and triplets; give lang",
        "anchor, positive, negative or negative_1, negative_2, ...",
        {
            "query": ("anchor", "query", "question"),
            "passage": ("positive", "answer"),
            "negatives": ("negative",),
        },
        frozenset({"negatives"}),
        frozenset({"negatives"}),
    ),
    Layout(
        "parallel_sentences",
        "sentence-transformers' parallel-sentences-*; give both languages: lang=en,de",
        "english, non_english",
        {"query": ("english,non_english",), "passage": ("english,non_english",)},
    ),
    Layout(
        "webfaq_bitexts",
        "WebFAQ's questions with answers in two languages",
        "language1, language2, labse_similarity, question1, question2, answer1, answer2",
        {
            "query": ("question1,question2",),
            "passage": ("answer1,answer2",),
            "lang_column": ("language1,language2",),
        },
    ),
    Layout(
        "swim_ir",
        "SWIM-IR's monolingual part: synthetic queries of Wikipedia",
        "_id, lang, code, query, title, text",
        {"query": ("query",), "passage": ("{title} {text}",), "lang_column": ("code",)},
    ),
    Layout(
        "nemo_inline",
        "NeMo Retriever's JSON lines with texts in them; give lang",
        "question or query, pos_doc, neg_doc: each a text, an object with text, or a list",
        {
            "query": ("question", "query"),
            "passage": ("pos_doc.text", "pos_doc"),
            "negatives": ("neg_doc.text", "neg_doc"),
        },
        frozenset({"negatives"}),
    ),
    Layout(
        "mfaq",
        "MFAQ's pages of questions and answers",
        "id, language, num_pairs, domain, qa_pairs[{question, answer}]",
        {
            "query": ("qa_pairs.question",),
            "passage": ("qa_pairs.answer",),
            "lang_column": ("language",),
        },
    ),
)
"""Every layout; docs/data.md says what of them could not be compared with a public source."""
