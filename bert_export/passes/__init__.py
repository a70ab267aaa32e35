"""Graph passes, one file each.

``prepare.py`` says which of them run for all targets, in which order and why; the file of a target
in :mod:`bert_export.targets` says it for those that follow.
"""
