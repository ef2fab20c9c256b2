"""What nano talks about: a grammar of questions and answers, its words and their sounds."""

from step_audio.nano.domain.delivery import Delivery, delivery
from step_audio.nano.domain.delivery import after as delivery_after
from step_audio.nano.domain.followup import IN_ROLE_INTENTS
from step_audio.nano.domain.generate import INTENTS, generate, generate_intent
from step_audio.nano.domain.lexicon import clear_words, pronunciations, salad, vocabulary
from step_audio.nano.domain.numbers import number_words, spoken_words
from step_audio.nano.domain.sample import QaSample, Split, qa_sample
from step_audio.nano.domain.scramble import scrambled
from step_audio.nano.domain.small_talk import greetings
from step_audio.nano.domain.speech import role_start

__all__ = [
    "INTENTS",
    "IN_ROLE_INTENTS",
    "Delivery",
    "QaSample",
    "Split",
    "clear_words",
    "delivery",
    "delivery_after",
    "generate",
    "generate_intent",
    "greetings",
    "number_words",
    "pronunciations",
    "qa_sample",
    "role_start",
    "salad",
    "scrambled",
    "spoken_words",
    "vocabulary",
]
