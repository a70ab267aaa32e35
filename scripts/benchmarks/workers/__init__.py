"""Workers of ``bert_export/measuring/serving.py``: files that run in processes of their own."""
