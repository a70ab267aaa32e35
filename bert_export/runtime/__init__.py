"""Answers without PyTorch: tokenization, batching, sessions and one pipeline per task.

Imports numpy, onnxruntime, tokenizers and msgspec, and nothing else from outside.
"""
