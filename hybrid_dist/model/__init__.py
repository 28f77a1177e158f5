"""The bi-encoder: one encoder for questions and passages."""
