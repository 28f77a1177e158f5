"""The bi-encoder: one encoder for queries and passages."""
