"""Accuracy beside speed: a checkpoint's variants exported, scored and timed, and the page of them.

Exports and scores run in processes of their own, as the timing does: the parent never loads an
engine. Light modules only here: a child imports this package.
"""
