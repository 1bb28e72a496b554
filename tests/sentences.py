"""Labelled sentences in several scripts: text, and entities as character offsets."""

from __future__ import annotations

TEXTS = [
    ("Angela Merkel visited Paris in May .", [(0, 13, "PER"), (22, 27, "LOC")]),
    ("The United Nations met in New York .", [(4, 18, "ORG"), (26, 34, "LOC")]),
    ("Siemens hired Barack Obama yesterday .", [(0, 7, "ORG"), (14, 26, "PER")]),
    ("Nothing happened there today .", []),
    ("Pedro Sánchez lives in Madrid .", [(0, 13, "PER"), (23, 29, "LOC")]),
    ("王明 在 北京 。", [(0, 2, "PER"), (5, 7, "LOC")]),
    ("東京 で 会う 。", [(0, 2, "LOC")]),
    ("রবি ঢাকা গেল ।", [(0, 3, "PER"), (4, 8, "LOC")]),
]
LABELS = ["LOC", "ORG", "PER"]
