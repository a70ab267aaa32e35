"""Which layers stay in float: the switchable graph that measures, and the search over it."""
