"""Strings in, answers out: a tokenizer that is part of the graph."""
