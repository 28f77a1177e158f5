"""Tokenization: prefix, truncate, pack."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hybrid_dist.data.store.token_cache import TokenCache
from hybrid_dist.errors import UserError
from hybrid_dist.model.packing import PackedTexts
from hybrid_dist.model.repository import KEY, check_name, loading
from hybrid_dist.model.spec import EncoderSpec


class TextTokens:
    """A tokenizer with the prefixes and maximum lengths of queries and passages."""

    def __init__(self, tokenizer: Any, settings: EncoderSpec) -> None:
        self.tokenizer, self.settings = tokenizer, settings

    @classmethod
    def load(
        cls, name: str, settings: EncoderSpec, trust_remote_code: bool = False
    ) -> "TextTokens":
        check_name(name)
        from transformers import AutoTokenizer  # seconds to import, so only when needed

        with loading(name, "a tokenizer", trust_remote_code):
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
            if len(tokenizer) <= len(
                tokenizer.all_special_tokens
            ):  # transformers made one up from config.json
                raise ValueError("no file with its words")
            tokens = cls(tokenizer, settings)
            tokens._check_lengths(name)
            tokens.lengths(["a"], ["a"])  # so that a broken one fails here
        return tokens

    def with_prefixes(self, query: str | None, passage: str | None) -> "TextTokens":
        """The same with prefixes of a source; None keeps the model's."""
        settings = self.settings
        if query is not None:
            settings = replace(settings, query_prefix=query)
        if passage is not None:
            settings = replace(settings, passage_prefix=passage)
        tokens = TextTokens(self.tokenizer, settings)
        if settings != self.settings:
            tokens._check_lengths(self.tokenizer.name_or_path)
        return tokens

    def queries(self, texts: Sequence[str]) -> PackedTexts:
        return PackedTexts.of(self.query_ids(texts))

    def passages(self, texts: Sequence[str]) -> PackedTexts:
        return PackedTexts.of(self.passage_ids(texts))

    def query_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each query, with prefix and special tokens, truncated."""
        return self._token_ids(self.settings.query_prefix, texts, self.settings.max_query_tokens)

    def passage_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each passage, with prefix and special tokens, truncated."""
        return self._token_ids(
            self.settings.passage_prefix, texts, self.settings.max_passage_tokens
        )

    def lengths(self, queries: Sequence[str], passages: Sequence[str]) -> list[int]:
        """Number of tokens of each query and its passage together, after truncation."""
        counts = zip(self.query_ids(queries), self.passage_ids(passages), strict=True)
        return [len(query) + len(passage) for query, passage in counts]

    def mismatch(self, cache: TokenCache) -> str:
        """Why a store's token ids cannot be used for this model; empty if they can."""
        most = max(self.settings.max_query_tokens, self.settings.max_passage_tokens)
        prefixes = self.settings.query_prefix, self.settings.passage_prefix
        return cache.mismatch(self.tokenizer, *prefixes, most)

    def check(self, config: Any) -> None:
        """Reject a tokenizer with ids that the model has no embeddings for."""
        last = max(len(self.tokenizer) - 1, *self.tokenizer.get_vocab().values())
        if last >= config.vocab_size:
            raise UserError(
                f"{KEY}: the tokenizer of {self.tokenizer.name_or_path} has tokens up to number "
                f"{last}, its model {config.vocab_size} embeddings; they do not belong together"
            )

    def check_end(self) -> None:
        """Reject last-token pooling with a tokenizer that adds no token after a text."""
        end = self.passage_ids(["a"])[0][-1:]
        if self.settings.pooling == "last" and end[0] not in self.tokenizer.all_special_ids:
            raise UserError(
                "model.pooling: last takes the vector of a text's last token, but the tokenizer of "
                f"{self.tokenizer.name_or_path} ends texts with no special token (EOS): choose "
                "mean, or add one to the tokenizer (docs/encoders.md has the lines)"
            )

    def _check_lengths(self, name: str) -> None:
        """Reject maximum lengths that leave no token of a text; tokenizers ignore those."""
        special = self.tokenizer.num_special_tokens_to_add()
        settings = self.settings
        for key, most, prefix in (
            ("max_query_tokens", settings.max_query_tokens, settings.query_prefix),
            ("max_passage_tokens", settings.max_passage_tokens, settings.passage_prefix),
        ):
            # a trailing space may become part of the text's first token
            before = len(self.tokenizer.tokenize(prefix.rstrip()))
            if most <= special + before:
                raise UserError(
                    f"model.{key}: {most} leaves no room for a text: the tokenizer of {name} adds "
                    f"{special} special tokens, and the prefix {prefix!r} takes {before}; give "
                    f"{special + before + 1} or more"
                )

    def _token_ids(self, prefix: str, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        with loading(self.tokenizer.name_or_path, "a tokenizer for these texts"):
            ids: list[list[int]] = self.tokenizer(
                [prefix + text for text in texts],
                truncation=True,
                max_length=max_tokens,
                return_token_type_ids=False,
                return_attention_mask=False,
            )["input_ids"]
        return ids
