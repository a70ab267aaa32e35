"""Graph passes, one file each; ``recipes.py`` says which run, in which order and why."""
