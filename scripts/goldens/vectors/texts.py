"""Texts that tokenizers, offsets and spellings stumble over."""

from __future__ import annotations

__all__ = ["LONG", "TEXTS"]

TEXTS = {
    "a plain text": "the cat sat on the mat",
    "an empty text": "",
    "a text of spaces": "  \n\t ",
    "a text of a zero-width space": "\u200b",
    "capitals": "The CAT is in New York",
    "a precomposed accent": "café naïve É",
    "a combining accent": "cafe\u0301 is na\u0308ive",
    "an emoji of the vocabulary": "a 😀 cat😀dog",
    "emoji out of the vocabulary": "🎉 cat 🎉🎉",
    "joined emoji": "a 👩\u200d👩\u200d👧 cat",
    "CJK characters": "中文 the 文cat",
    "unknown words": "Ωmega dog ß",
    "special tokens in the text": "a [SEP] dog [UNK] [CLS]",
    "padding alone": "[PAD] [PAD]",
    "pieces of words": "unaffable running cats",
    "punctuation": "don't! (new-york): #1?",
    "control characters": "ca\u0000t\u0007 dog \ufffd",
    "wide spaces": "\u3000the\u00a0cat\u3000sat\u2003",
    "a capital that becomes two": "İstanbul ı",
    "a ligature": "ﬁne ǅ dog",
    "right to left": "שלום cat",
}
"""By what is peculiar about each; none is longer than a row."""

LONG = "the cat sat on a mat, running in new york. Ω 😀 naïve dogs are going to it!"
"""Longer than a row."""
