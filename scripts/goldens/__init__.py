"""What is written once and then reviewed: the graphs that we emit, and vectors of answers.

See ``graphs/README.md`` and ``tests/vectors/README.md``.
"""
