"""Texts to be read aloud: varied sentences from templates, isolated words, digits, and invented words.

What they mean does not matter; they are to hold all sounds of a language in many neighbourhoods, short and long, asked,
told and called.
"""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

WORDS = 0.3  # of the utterances are one word to three, which is about a tenth of the time
INVENTED = 0.15  # of the words in the blanks of English sentences


def words(text: str, between: str = " ") -> tuple[str, ...]:
    """Cut a text into its words, or at what is between them."""
    return tuple(text.split(between))


NAMES = words(
    "Alice Boris Charlotte David Esther Felix George Hannah Ivan Judith Kevin Laura Martha Nathan Olivia Peter Quentin "
    "Ruth Steven Theo Ursula Victor Wendy Xavier Yvonne Zachary Joyce Hugh Beth Geoff Sheila Roy"
)
THINGS = words(
    "apple bridge chair dog engine feather garden hammer island jacket kitchen ladder mountain needle orange pencil "
    "quilt river shovel table umbrella village window yacht zebra thimble measure treasure judge church ship cheese "
    "youth voice boy toy cloud house mouse cow bird girl nurse word beard ear fear air bear square tour pure oil coin "
    "book bush foot moon shoe spoon tree leaf bean ring song tongue finger strength month cloth path bath father "
    "brother weather leather garage vision beige decision thumb glove sun son cup box clock dog ball door floor store "
    "board spring stream string screw splash squirrel twelfth sixth glimpse text desk wasps bulb film helm milk silk"
)
QUALITIES = words(
    "angry blue cheap deep empty fresh green heavy icy jolly kind loud merry narrow old purple quiet rough soft tall "
    "useful vague warm young zealous thick thin smooth strange quick early third worthy oily pure rare poor fair noisy "
    "brown round square yellow orange white black slow wise broad huge tiny golden wooden broken simple"
)
DOING = words(
    "asks for|brings|catches|draws|enjoys|finds|gives away|hears of|ignores|joins|keeps|loses|measures|needs|opens|"
    "pushes|quotes|reaches|sees|throws|uses|values|wants|yells at|sings about|judges|changes|watches|shows|breathes on|"
    "chooses|squeezes|touches|pulls|carries|buys|sells|paints|cleans|hides|counts|remembers|forgets",
    between="|",
)
PLACES = words(
    "at home|by the lake|in the north|under the roof|near the station|beyond the hills|over there|on the third floor|"
    "behind the church|at the edge of town|between two houses|across the street|outside|in the cellar|along the shore",
    between="|",
)
TIMES = words(
    "today|tomorrow morning|at half past five|every Thursday|in July|before long|last February|on the eighth of May|"
    "after lunch|once a year|all night|in a moment|since Tuesday|at noon|for an hour",
    between="|",
)
KEYWORDS = words(
    "yes no stop go up down left right on off zero one two three four five six seven eight nine ten eleven twelve "
    "thirteen twenty thirty hundred thousand forward backward follow learn visual bed bird cat dog happy house marvin "
    "sheila tree wow hello goodbye please thanks okay sorry help start pause play next back open close light music "
    "louder quieter volume weather timer alarm lamp kitchen bedroom heat warm cold red green blue wait listen computer"
)
TEMPLATES = (
    "{Name} {does} the {thing}.",
    "The {quality} {thing} is {place}.",
    "Is the {thing} {quality}?",
    "Who {does} the {quality} {thing} {time}?",
    "What a {quality} {thing}!",
    "{Time}, {Name} {does} a {thing} and {Name} {does} the {quality} {thing}.",
    "No, {Name}, that is not my {thing}!",
    "Why does nobody want the {thing} {place}?",
    "If the {thing} is {quality}, we will meet {place} {time}.",
    "I have {number} {thing}s and {number} {quality} {thing}s.",
    "Please put the {quality} {thing} {place}, and then tell {Name} about it.",
    "Turn the {thing} off.",
    "{Name} said: the {thing} was never {quality}.",
    "Oh, how {quality} you are {time}!",
    "Can you hear the {thing} {place}, or is it the {quality} {thing} that {Name} {does}?",
    "We were {quality} once, but {time} the {thing}, the {thing} and the {quality} {thing} were all gone.",
    "My {thing} costs {number} dollars.",
    "Call {number} {number} {number}.",
    "Not {quality}, just {quality}.",
    "Wait for me {place}!",
    "Although {Name} {does} every {thing} {place}, {Name} and {Name} would rather have something {quality} {time}.",
)

# Consonants (with the usual clusters) and vowels with which words are invented that espeak-ng reads by a language's
# rules of spelling. Numbers it reads as that language's words.
LETTERS = {
    "en": ("b c d f g h j k l m n p r s t v w z ch sh th st tr pl gr sp", "a e i o u ee oo ai oa ou er ar y"),
    "de": ("b d f g h k l m n p r s t w z sch ch st pf kr", "a e i o u ä ö ü ei au ie eu"),
    "fr": ("b c d f g j l m n p r s t v ch gn qu tr pl", "a e i o u é è ou eau on an in oi eu"),
    "es": ("b c d f g j l m n p r s t v ll ñ ch rr tr", "a e i o u a e o ie ue"),
    "it": ("b c d f g l m n p r s t v z gn gli sc tt ll", "a e i o a e o io ia"),
    "pt": ("b c d f g j l m n p r s t v lh nh ch", "a e i o u ão ã é ou ei"),
    "nl": ("b d f g h k l m n p r s t v w z sch", "a e i o u aa ee oo uu ij ui oe eu"),
    "sv": ("b d f g h j k l m n p r s t v sk sj", "a e i o u y å ä ö"),
    "pl": ("b c d f g j k l ł m n p r s t w z cz sz rz ś ć", "a e i o u y ą ę ó"),
    "cs": ("b c d h j k l m n p r s t v z č š ž ř", "a e i o u y á é í ů"),
    "fi": ("h j k l m n p r s t v kk ll nn tt", "a e i o u y ä ö aa ii uu ää"),
    "tr": ("b c d f g h k l m n p r s t v y z ç ş", "a e ı i o ö u ü"),
    "hu": ("b c d f g h j k l m n p r s t v z gy sz cs ny", "a e i o u á é ö ü ő"),
    "ro": ("b c d f g h j l m n p r s t v z ș ț", "a e i o u ă â ea oa"),
    "ru": ("б в г д ж з к л м н п р с т ф х ц ч ш щ ст пр", "а е и о у ы э ю я ё"),
    "el": ("β γ δ ζ θ κ λ μ ν ξ π ρ σ τ φ χ ψ", "α ε η ι ο υ ω ου αι"),
    "id": ("b c d g h j k l m n p r s t w y ng ny", "a e i o u ai au"),
}
ENDS = (".", ".", ".", "?", "!")


def pick(choices: Sequence[str], random: Generator) -> str:
    """Draw one of them."""
    return choices[int(random.integers(len(choices)))]


def english(random: Generator) -> str:
    """Draw a text in English: a sentence, or (in WORDS of the draws) up to three words or digits."""
    if random.random() < WORDS:
        return f"{', '.join(isolated(random) for _ in range(random.choice([1, 1, 2, 3])))}{pick('.?!', random)}"
    text = pick(TEMPLATES, random)
    while "{" in text:
        before, rest = text.split("{", 1)
        kind, after = rest.split("}", 1)
        text = before + filled(kind, random) + after
    return text


def isolated(random: Generator) -> str:
    """Draw a keyword, a digit, a thing or a name."""
    kind = random.random()
    return pick(KEYWORDS if kind < 0.6 else "0123456789" if kind < 0.75 else THINGS if kind < 0.9 else NAMES, random)


def filled(kind: str, random: Generator) -> str:
    """Draw what fills a template's blank."""
    if kind in ("thing", "quality") and random.random() < INVENTED:
        return invented("en", random)
    choices = {"Name": NAMES, "thing": THINGS, "quality": QUALITIES, "does": DOING, "place": PLACES, "time": TIMES}
    if kind == "number":
        return str(int(10 ** random.uniform(0, 4)))
    word = pick(choices.get(kind) or choices[kind.lower()], random)
    return word if kind == kind.lower() else word[0].upper() + word[1:]


def invented(language: str, random: Generator) -> str:
    """Draw a pronounceable word of one to four syllables, by the letters of a language."""
    consonants, vowels = (letters.split() for letters in LETTERS[language])
    syllables = [pick(consonants, random) + pick(vowels, random) for _ in range(random.integers(1, 5))]
    return "".join(syllables) + (pick(consonants, random)[0] if random.random() < 0.3 else "")


def foreign(language: str, random: Generator) -> str:
    """Draw a text of one to nine invented words, some of them numbers, in another language."""
    length = int(random.integers(1, 3) if random.random() < WORDS else random.integers(3, 10))
    numbers = [str(int(10 ** random.uniform(0, 3))) if random.random() < 0.2 else "" for _ in range(length)]
    return " ".join(number or invented(language, random) for number in numbers) + pick(ENDS, random)
