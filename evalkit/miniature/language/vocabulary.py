"""The words that the miniature's language data knows: everyday English, by part of speech and by kind.

The nouns are those of the miniature world, the names of things that photographs usually show, and a few that captions
are made of. A line holds words of one kind; irregular forms stand below. What is not listed is still tagged, by its
ending and its neighbours, but has no entry to be reduced to.
"""

from collections.abc import Mapping

from evalkit.miniature.lexicon import COLOURS, NOUNS, PLACES, SYNONYMS_OF

_NOUNS = {
    "person": """person man woman boy girl child baby adult guy lady kid player driver rider skier surfer chef waiter
        officer worker crowd group couple family friend skateboarder snowboarder student soldier""",
    "animal": """animal bird cat dog horse sheep cow elephant bear zebra giraffe puppy kitten duck goose pigeon seagull
        owl calf cub lamb pony goat fish mouse wolf teddy pet herd flock""",
    "vehicle": """vehicle bicycle bike car truck bus train airplane plane jet boat ship motorcycle scooter van taxi
        tram trolley ferry canoe minibus ambulance wagon cart trailer engine wheel tire""",
    "furniture": """furniture chair couch sofa bed table desk bench stool shelf cabinet drawer dresser seat cushion
        pillow blanket curtain rug mattress counter""",
    "device": """tv television laptop computer mouse remote keyboard phone microwave oven toaster refrigerator fridge
        stove clock camera lamp monitor screen radio printer speaker drier hair battery""",
    "dish": """bottle glass cup mug fork knife spoon bowl plate dish vase pot pan kettle tray jar jug napkin""",
    "food": """food banana apple sandwich orange broccoli carrot pizza donut cake bread cheese salad soup meat rice
        fruit vegetable tomato lemon meal cookie pie sausage burger egg cheesecake strawberry grape snack dessert""",
    "thing": """thing object item umbrella handbag bag purse tie bow suitcase frisbee ski snowboard ball sport kite
        bat glove skateboard surfboard racket board book scissors toothbrush brush toy basket box candle rope ladder
        bucket key coin flag balloon statue picture photo image poster painting mirror sign signal hydrant meter
        paper card letter ring necklace hat helmet shirt jacket coat dress skirt shoe boot sock glasses sunglasses belt
        scarf uniform wall floor roof door window fence gate pole post wire pipe fountain track rail brick stone
        harmonica""",
    "place": """place street road sidewalk park beach kitchen room bathroom bedroom office house home building tower
        bridge station airport runway field court garden yard lot city town village shop store restaurant market farm
        zoo forest mountain hill lake river ocean sea pond sky sand snow grass water background foreground front side
        middle corner edge top end center left right toilet sink tub shower""",
    "plant": "plant tree flower bush leaf branch palm rose weed",
    "notion": """day night time morning evening light shade color colour view scene line row pair lot number kind area
        part shape size way wave wind sun cloud rain stop game ride drink help hope rock well box""",
}
_VERBS = """be have do see show stand sit lie hold ride walk run fly swim sleep play eat drink look watch wear carry
    park drive sail read cook wait hang throw catch hit kick jump smile talk work rest lean fill cover surround contain
    travel move cross open close take make get put keep use go come stay stop turn face graze serve cut brush feed fall
    grow bark appear seem depict feature say place set display meet rock"""
_ADJECTIVES = """large small big little old young new tall short long wide open empty full dark bright clear clean dirty
    wooden brown black white grey gray pink purple orange golden striped furry fresh ripe hot cold wet dry busy quiet
    happy sad pretty nice good bad same different other several many few single whole round square blue green sunny
    cloudy modern colourful colorful sliced cooked stuffed parked potted visible early late fast high low mobile
    adult"""
_ADVERBS = """here also very quite nearby together outside inside away back forward down up out slowly quickly
    closely fully well now then maybe perhaps really too just only even still again often"""

NOUN_KINDS: tuple[str, ...] = tuple(_NOUNS)
IRREGULAR_PLURALS: Mapping[str, str] = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "knife": "knives",
    "shelf": "shelves",
    "leaf": "leaves",
    "wolf": "wolves",
    "calf": "calves",
    "mouse": "mice",
    "goose": "geese",
    "sheep": "sheep",
    "fish": "fish",
    "scissors": "scissors",
    "glasses": "glasses",
    "tomato": "tomatoes",
}
# base: third person, past, past participle, present participle; a word that is missing here is regular
IRREGULAR_VERBS: Mapping[str, tuple[str, str, str, str]] = {
    "be": ("is", "was", "been", "being"),
    "have": ("has", "had", "had", "having"),
    "do": ("does", "did", "done", "doing"),
    "see": ("sees", "saw", "seen", "seeing"),
    "show": ("shows", "showed", "shown", "showing"),
    "stand": ("stands", "stood", "stood", "standing"),
    "sit": ("sits", "sat", "sat", "sitting"),
    "lie": ("lies", "lay", "lain", "lying"),
    "hold": ("holds", "held", "held", "holding"),
    "ride": ("rides", "rode", "ridden", "riding"),
    "run": ("runs", "ran", "run", "running"),
    "fly": ("flies", "flew", "flown", "flying"),
    "swim": ("swims", "swam", "swum", "swimming"),
    "sleep": ("sleeps", "slept", "slept", "sleeping"),
    "eat": ("eats", "ate", "eaten", "eating"),
    "drink": ("drinks", "drank", "drunk", "drinking"),
    "wear": ("wears", "wore", "worn", "wearing"),
    "drive": ("drives", "drove", "driven", "driving"),
    "read": ("reads", "read", "read", "reading"),
    "hang": ("hangs", "hung", "hung", "hanging"),
    "throw": ("throws", "threw", "thrown", "throwing"),
    "catch": ("catches", "caught", "caught", "catching"),
    "hit": ("hits", "hit", "hit", "hitting"),
    "take": ("takes", "took", "taken", "taking"),
    "make": ("makes", "made", "made", "making"),
    "get": ("gets", "got", "got", "getting"),
    "put": ("puts", "put", "put", "putting"),
    "keep": ("keeps", "kept", "kept", "keeping"),
    "go": ("goes", "went", "gone", "going"),
    "come": ("comes", "came", "come", "coming"),
    "cut": ("cuts", "cut", "cut", "cutting"),
    "feed": ("feeds", "fed", "fed", "feeding"),
    "grow": ("grows", "grew", "grown", "growing"),
    "fall": ("falls", "fell", "fallen", "falling"),
    "say": ("says", "said", "said", "saying"),
    "set": ("sets", "set", "set", "setting"),
    "meet": ("meets", "met", "met", "meeting"),
    "stop": ("stops", "stopped", "stopped", "stopping"),
}
IRREGULAR_DEGREES: Mapping[str, tuple[str, str]] = {"good": ("better", "best"), "bad": ("worse", "worst")}


def nouns() -> dict[str, str]:
    """Every noun and its kind, the world's own included: "dining table" -> "furniture", by its last word."""
    kinds = {word: kind for kind, words in _NOUNS.items() for word in words.split()}
    own = [*NOUNS, *(name for names in SYNONYMS_OF.values() for name in names), *PLACES]
    for name in own:
        kinds.setdefault(name, kinds.get(name.split()[-1], "thing"))
    return kinds


def verbs() -> list[str]:
    """Every verb, in its base form."""
    return _VERBS.split()


def adjectives() -> list[str]:
    """Every adjective, the world's colours included."""
    return list(dict.fromkeys([*COLOURS, *_ADJECTIVES.split()]))


def adverbs() -> list[str]:
    """Every adverb."""
    return _ADVERBS.split()


def plural(noun: str) -> str:
    """The plural of a noun.

    >>> [plural(noun) for noun in ("dog", "bus", "dining table", "mouse", "cherry", "toy", "donut")]
    ['dogs', 'buses', 'dining tables', 'mice', 'cherries', 'toys', 'donuts']
    """
    before, blank, word = noun.rpartition(" ")
    return before + blank + (IRREGULAR_PLURALS.get(word) or _with_s(word))


def verb_forms(verb: str) -> tuple[str, str, str, str]:
    """Third person, past, past participle, present participle.

    >>> verb_forms("carry"), verb_forms("place")
    (('carries', 'carried', 'carried', 'carrying'), ('places', 'placed', 'placed', 'placing'))
    """
    if verb in IRREGULAR_VERBS:
        return IRREGULAR_VERBS[verb]
    if verb.endswith("y") and verb[-2] not in "aeiou":
        past = verb[:-1] + "ied"
    else:
        past = verb + ("d" if verb.endswith("e") else "ed")
    return _with_s(verb), past, past, (verb[:-1] if verb.endswith("e") else verb) + "ing"


def degrees(adjective: str) -> tuple[str, str] | None:
    """Comparative and superlative of a short adjective; None for a long one, which takes "more"."""
    if adjective in IRREGULAR_DEGREES:
        return IRREGULAR_DEGREES[adjective]
    if len(adjective) > 5 or adjective.endswith("y"):
        return None
    stem = adjective.removesuffix("e")
    return stem + "er", stem + "est"


def _with_s(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")
