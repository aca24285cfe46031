"""What in a corpus's transcripts makes an error rate say less than it seems, said in notes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from upstream.text import counted

# Marks of annotators, which nobody says: <unk>, [laughter], ((unclear)), {breath}, *cough*, &=laughs, and the words for
# them in plain brackets, in which most other words are spoken.
ANNOTATION = re.compile(
    r"<[^<>\s][^<>\n]{0,40}>|\[[^\[\]\n]{1,40}\]|\(\([^()\n]{0,40}\)\)|\{[^{}\n]{1,40}\}|\*[^*\s]{1,40}\*|&=\w+"
    r"|\((?:applause|breath|coughs?|crosstalk|inaudible|laughs|laughter|music|noise|pause|silence|unintelligible)\)",
    re.IGNORECASE,
)
MARKS_SHOWN = 5

# Scripts that put no blanks between words, by the beginning of Unicode's names of their letters: the letters that words
# have on average, at most, in text that was segmented.
UNSPACED = {"CJK ": 2.5, "HIRAGANA ": 2.5, "KATAKANA": 2.5, "THAI ": 3.5, "LAO ": 3.5, "KHMER ": 3.5, "MYANMAR ": 3.5}


def transcript_notes(texts: Sequence[str], normalised: Sequence[str], primary: str) -> Iterator[str]:
    """Yield sentences for the record.

    texts: transcripts as the corpus has them; normalised: as they are scored; primary: the metric of the score.
    """
    yield from annotation_notes(texts)
    if primary == "wer" and is_unspaced(normalised):
        yield (
            "The transcripts have few blanks in a script that has none between words: WER counts a whole phrase as one "
            "word, and CER is what counts here; choose -o primary=cer."
        )
    if any("ı" in text for text in texts) and any("I" in text for text in texts):
        yield (
            "The transcripts have the Turkish ı, and the capital I is read as that of i, so that a word with ı is "
            "another word in capitals; write them in small letters."
        )


def annotation_notes(texts: Sequence[str]) -> Iterator[str]:
    """Yield a sentence on annotators' marks, if there are any, the most frequent first."""
    found = Counter(mark for text in texts for mark in ANNOTATION.findall(text))
    if not found:
        return
    utterances = sum(ANNOTATION.search(text) is not None for text in texts)
    shown = ", ".join(f"{mark} ({count})" for mark, count in found.most_common(MARKS_SHOWN))
    further = len(found) - MARKS_SHOWN
    more = f" and {further} more" if further > 0 else ""
    yield (
        f"{counted(utterances, 'transcript has', 'transcripts have')} marks of annotators, which are learned and "
        f"scored as words: {shown}{more}. Remove them from the transcripts, or write what was said."
    )


def is_unspaced(texts: Sequence[str]) -> bool:
    """Return True where most letters are of scripts without blanks, and words too long to be words.

    texts: normalised.
    """
    letters = Counter(character for text in texts for character in text if unicodedata.category(character)[0] == "L")
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        name = unicodedata.name(letter, "")
        scripts.update({script: count for script in UNSPACED if name.startswith(script)})
    fewest_words = sum(count / UNSPACED[script] for script, count in scripts.items())
    return 2 * scripts.total() > letters.total() and sum(len(text.split()) for text in texts) < fewest_words
