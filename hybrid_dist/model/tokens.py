"""Text to tokens: prefix, cut, pack."""

from collections.abc import Sequence
from typing import Any

from hybrid_dist.data.token_cache import TokenCache
from hybrid_dist.errors import UserError
from hybrid_dist.model.packing import Packed
from hybrid_dist.model.settings import Settings


class TextTokens:
    """A tokenizer that knows what is put before questions and passages and where they are cut."""

    def __init__(self, tokenizer: Any, settings: Settings) -> None:
        self.tokenizer, self.settings = tokenizer, settings

    @classmethod
    def load(cls, name: str, settings: Settings) -> "TextTokens":
        from transformers import AutoTokenizer  # seconds to import, so only when needed

        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"model.name_or_path: {name} has no tokenizer ({reason})") from None
        if len(tokenizer) <= len(tokenizer.all_special_tokens):  # made up from config.json alone
            raise UserError(f"model.name_or_path: {name} has no tokenizer (no file with its words)")
        return cls(tokenizer, settings)

    def queries(self, texts: Sequence[str]) -> Packed:
        return Packed.of(self.query_ids(texts))

    def passages(self, texts: Sequence[str]) -> Packed:
        return Packed.of(self.passage_ids(texts))

    def query_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each question, as they are encoded."""
        return self._cut(self.settings.query_prefix, texts, self.settings.max_query_tokens)

    def passage_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each passage, as they are encoded."""
        return self._cut(self.settings.passage_prefix, texts, self.settings.max_passage_tokens)

    def lengths(self, queries: Sequence[str], passages: Sequence[str]) -> list[int]:
        """Tokens of each question and its passage together, as they would be encoded."""
        counts = zip(self.query_ids(queries), self.passage_ids(passages), strict=True)
        return [len(query) + len(passage) for query, passage in counts]

    def unfit(self, cache: TokenCache) -> str:
        """Why a store's token ids are not those of this model; empty where they are."""
        most = max(self.settings.max_query_tokens, self.settings.max_passage_tokens)
        prefixes = self.settings.query_prefix, self.settings.passage_prefix
        return cache.unfit(self.tokenizer, *prefixes, most)

    def check(self, config: Any) -> None:
        """Refuse a tokenizer whose ids the model has no embeddings for."""
        if len(self.tokenizer) > config.vocab_size:
            raise UserError(
                f"model.name_or_path: its tokenizer has {len(self.tokenizer)} tokens, its model "
                f"{config.vocab_size} embeddings; they do not belong together"
            )

    def _cut(self, prefix: str, texts: Sequence[str], most: int) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(
            [prefix + text for text in texts],
            truncation=True,
            max_length=most,
            return_token_type_ids=False,
            return_attention_mask=False,
        )["input_ids"]
        return ids
