"""Worked examples: rule, reference, hypothesis, errors, units of the reference, source.

Sources: OWN, reckoned by hand from the rule as `normalisers` states it; WHISPER, the examples of
tests/test_normalizer.py of openai/whisper (MIT); TN, those of the README of speechio's
chinese_text_normalization, which Kimi-Audio-Evalkit uses.
"""

from __future__ import annotations

from typing import Final

Case = tuple[str, str, str, int, int, str]
OWN, WHISPER, TN = "OWN", "WHISPER", "TN"

CASES: Final[tuple[Case, ...]] = (
    # Numbers, years, money: both sides come to the same words.
    ("wer_en", "thirty one", "31", 0, 1, WHISPER),
    ("wer_en", "nineteen ninety nine", "1999", 0, 1, WHISPER),
    ("wer_en", "twenty nineteen", "2019", 0, 1, WHISPER),
    ("wer_en", "two point five million", "2500000", 0, 1, WHISPER),
    ("wer_en", "200 thousand dollars", "$200000", 0, 1, WHISPER),
    ("wer_en", "two double o eight", "2008", 0, 1, WHISPER),
    ("wer_en", "forty three thousand two hundred and sixty", "43260", 0, 1, WHISPER),
    ("wer_en", "nineteen fifties", "1950s", 0, 1, WHISPER),
    ("wer_en", "thirty first", "31st", 0, 1, WHISPER),
    ("wer_en", "july third twenty twenty", "July 3rd, 2020", 0, 3, WHISPER),
    ("wer_en", "ninety percent", "90%", 0, 1, WHISPER),
    ("wer_en", "one triple oh one", "10001", 0, 1, WHISPER),
    ("wer_en", "nine one one", "911", 0, 1, WHISPER),
    ("wer_en", "3 point 14", "3.14", 0, 2, WHISPER),
    ("wer_en", "two dollars and seventy cents", "$2.70", 0, 2, WHISPER),
    # Contractions, titles, spellings, fillers.
    ("wer_en", "Let's", "let us", 0, 2, WHISPER),
    ("wer_en", "he's like", "he is like", 0, 3, WHISPER),
    ("wer_en", "she's been like", "she has been like", 0, 4, WHISPER),
    ("wer_en", "10km", "10 km", 0, 2, WHISPER),
    (
        "wer_en",
        "Mr. Park visited Assoc. Prof. Kim Jr.",
        "mister park visited associate professor kim junior",
        0,
        7,
        WHISPER,
    ),
    ("wer_en", "mobilisation", "mobilization", 0, 1, WHISPER),
    ("wer_en", "HE WON'T GO", "He will not go.", 0, 4, OWN),
    ("wer_en", "um, hello [noise] there (laughs)", "Hello, there!", 0, 2, OWN),
    ("wer_en", "café résumé", "cafe resume", 0, 2, OWN),
    # Errors are counted: one substitution, one deletion, one insertion, all of them.
    ("wer_en", "THE CAT SAT ON THE MAT", "the cat sat on a mat", 1, 6, OWN),
    ("wer_en", "THE CAT SAT ON THE MAT", "cat sat on the mat", 1, 6, OWN),
    ("wer_en", "THE CAT SAT", "the cat has sat", 1, 3, OWN),
    ("wer_en", "THE CAT SAT", "", 3, 3, OWN),
    ("wer_en", "<|en|>THE CAT", "the<|endoftext|> cat", 0, 2, OWN),
    # Chinese: figures as they are read, a character a unit.
    ("cer_zh", "共465篇，约315万字", "共四百六十五篇约三百一十五万字", 0, 15, TN),
    ("cer_zh", "共计6.42万人", "共计六点四二万人", 0, 8, TN),
    ("cer_zh", "同比升高0.6个百分点", "同比升高零点六个百分点", 0, 11, TN),
    ("cer_zh", "总量的1/5以上", "总量的五分之一以上", 0, 9, TN),
    ("cer_zh", "相当于头发丝的1/16", "相当于头发丝的十六分之一", 0, 12, TN),
    ("cer_zh", "同比增长6.3%", "同比增长百分之六点三", 0, 10, TN),
    ("cer_zh", "增幅0.4%", "增幅百分之零点四", 0, 8, TN),
    ("cer_zh", "2002/01/28", "二零零二年一月二十八日", 0, 11, TN),
    ("cer_zh", "8月16号12:00之前", "八月十六号十二点之前", 0, 10, TN),
    ("cer_zh", "我是5:02开始的", "我是五点零二分开始的", 0, 10, TN),
    ("cer_zh", "比分定格在78:96", "比分定格在七十八比九十六", 0, 12, TN),
    ("cer_zh", "最高气温38°C", "最高气温三十八摄氏度", 0, 10, TN),
    ("cer_zh", "他说：“我们已经吃过了！”。", "他说我们已经吃过了", 0, 9, TN),
    # Traditional characters, spaces, mixed text, errors.
    ("cer_zh", "電腦有三台", "电脑有3台", 0, 5, OWN),
    ("cer_zh", "今天 天气 很 好", "今天天气很好", 0, 6, OWN),
    ("cer_zh", "我用iPhone打电话", "我用 iphone 打电话。", 0, 6, OWN),
    ("cer_zh", "他说OK了", "他说Okay了", 1, 4, OWN),
    ("cer_zh", "今天天气很好", "今天天汽很好", 1, 6, OWN),
    ("cer_zh", "今天天气很好", "今天天气好", 1, 6, OWN),
    # SEED-TTS: figures stay figures, marks go but the apostrophe, spaces between characters too.
    ("seed_en", "Don't stop, it's five o'clock!", "don't stop it's 5 o'clock", 1, 5, OWN),
    ("seed_en", "Well - that is all.", "well that is all", 0, 4, OWN),
    ("seed_en", "One two three", "one three", 1, 3, OWN),
    ("seed_zh", "今天，天气很好。", "今天 天气很好", 0, 6, OWN),
    ("seed_zh", "有三台電腦", "有3台电脑", 1, 5, OWN),
    ("seed_zh", "你好世界", "你好", 2, 4, OWN),
    # URO-Bench.
    ("uro_en", "It's 22 degrees.", "it is twenty two degrees", 0, 4, OWN),
    ("uro_en", "Yes, I can.", "yes i can not", 1, 3, OWN),
    ("uro_zh", "一共有12个。", "一共有十二个", 0, 6, OWN),
    ("uro_zh", "一共有105个！", "一共有一百零五个", 0, 8, OWN),
    ("uro_zh", "他今年30岁", "他今年三十一岁", 1, 6, OWN),
    ("uro_zh", "好。", "不好。", 1, 1, OWN),
)
