"""One pipeline per task; :func:`bert_export.load` imports only the one that it needs."""
