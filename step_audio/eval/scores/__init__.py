"""How answers are scored: normalisers, answers that a program can mark, judges, and the rules."""
