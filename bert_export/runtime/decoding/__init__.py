"""From a graph's outputs to answers: pure functions of arrays, encodings and strings.

Nothing here knows a tokenizer, a session or a pipeline. Each family of answers is one file, which
has a twin in the C++ runtime; both are tested against ``tests/vectors``.
"""
