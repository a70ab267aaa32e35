"""SQuAD's nested records as flat ones: a question, its context and its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["flatten_squad"]


def flatten_squad(articles: Sequence[Any]) -> Iterator[Any]:
    """The questions of articles, each with its paragraph; anything else as it is.

    Args:
        articles: Of SQuAD 1.1 or 2.0: ``{"paragraphs": [{"context", "qas": [{"question",
            "answers"}]}]}``. A question that is impossible has no answers.
    """
    for article in articles:
        paragraphs = article.get("paragraphs") if isinstance(article, Mapping) else None
        if not isinstance(paragraphs, list):
            yield article
            continue
        for paragraph in paragraphs:
            questions = paragraph.get("qas") if isinstance(paragraph, Mapping) else None
            if not isinstance(questions, list):
                yield paragraph
                continue
            for question in questions:
                if not isinstance(question, Mapping):
                    yield question
                    continue
                impossible = question.get("is_impossible") is True
                flat = {**question, "context": paragraph.get("context")}
                yield {**flat, "answers": []} if impossible else flat
