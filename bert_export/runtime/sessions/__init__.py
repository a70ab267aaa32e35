"""One session per engine, all behind the interface of ``session.py``."""
