"""Speed: contenders in processes of their own that take turns, and what their figures say.

Every figure comes from a child process that opens one contender and nothing else; the parent never
loads an engine. Light modules only here: a child imports this package before its clock starts.
"""
