"""Ours beside what a user would otherwise run; ``scripts/NUMBERS.md`` keeps what they say."""
