from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import tokenizers

from bert_export.text_input import alphabet, characters
from bert_export.text_input.characters import Answers, ask
from tests.text_input.examples import MARKED, NAMED, UNCASED


@pytest.fixture(autouse=True, scope="session")
def asked_once() -> Iterator[None]:
    """Every character is asked about for one tokenizer, and once.

    Those with another normalizer are asked about the characters of their tests' texts.
    """
    known: dict[str, Answers] = {}
    some = sorted({*map(chr, range(0x300)), *"".join((*NAMED, *MARKED))})

    def ask_once(tokenizer: tokenizers.Tokenizer) -> Answers:
        key = _parts(tokenizer.to_str())
        if key not in known:
            with pytest.MonkeyPatch.context() as patch:
                if key != _parts(UNCASED):
                    patch.setattr(characters, "characters", lambda: iter(some))
                known[key] = ask(tokenizer)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alphabet, "ask", ask_once)
        yield


def _parts(text: str) -> str:
    described = json.loads(text)
    return json.dumps([described["normalizer"], described["pre_tokenizer"]])
