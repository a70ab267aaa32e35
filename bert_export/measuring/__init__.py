"""Measuring: contenders in processes of their own take turns, and paired ratios say who is faster.

Reading path: ``serving.py`` (what a process does when it is asked), ``child.py`` (the parent's side
of that), ``schedule.py`` (whose turn it is, and for how many calls), ``ratios.py`` and
``samples.py`` (what the figures say), ``timing.py`` (all of it together), ``bundles.py`` (bundles
as contenders). The parent never loads an engine. Light modules only here: a child imports this
package before its clock starts.
"""
