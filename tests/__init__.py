"""Tests of bert_export; the folders mirror the package."""
