"""Hybrid-batch training and evaluation of multilingual retrievers."""

__version__ = "0.1.0"
