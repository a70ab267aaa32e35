"""Speed beside accuracy: bundles timed against each other, and the page that shows both.

Every figure comes from a child process that opens one bundle and nothing else; the parent never
loads an engine. Light modules only here: a child imports this package before its clock starts.
"""
