"""Hostile input by the thousand: it is answered, or refused in one line of ours, and nothing else.

See :mod:`tests.fuzz.__main__` for the command.
"""
