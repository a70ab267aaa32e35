"""Mixed precision: a switchable graph that measures layers, and the search for those in float."""
