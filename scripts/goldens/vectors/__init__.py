"""Vectors of post-processing: calls, what the graph gives and what the original answers.

See tests/vectors/README.md for the format of the files.
"""
