"""The style tag in front of a text to read aloud: "（RAP）..." or "(happy)...".

Source: Step-Audio report, arXiv:2502.11946, and the behaviour of its published TTS script.
"""

from __future__ import annotations

from step_audio.dialog.prompting.system_prompts import load_prompt

RAP = "RAP"
HUMMING = "哼唱"


def leading_tag(text: str) -> str:
    """Return the tag in the brackets that `text` starts with, or "" without one.

    Full-width brackets reach to the last full-width close in the text, half-width ones to the
    first half-width close. Odd, but the published model's prompts were chosen this way.
    """
    if text[:1] == "（":
        end = text.rfind("）")
        if end < 0:
            end = text.find(")")
    elif text[:1] == "(":
        end = text.find(")")
    else:
        return ""
    return text[1:end] if end > 0 else ""


def tts_system_prompt(text: str, speaker: str) -> str:
    """Return the published TTS system prompt for a text: rap, humming, or speech.

    Args:
        text: what will be read, tags included.
        speaker: name of a voice the model knows, "" for a cloned one.
    """
    tag = leading_tag(text)
    if tag == RAP:
        return load_prompt("tts_rap")
    if tag == HUMMING:
        return load_prompt("tts_humming")
    if speaker:
        return load_prompt("tts_named_voice").replace("{}", speaker)
    return load_prompt("tts_any_voice")
