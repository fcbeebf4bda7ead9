"""Sentences about one fact: questions people ask, and answers put together from the dictionary's parts."""

import re

import english

VAGUE = {
    "whole", "object", "physical entity", "entity", "abstraction", "matter", "artifact", "thing",
    "instrumentality", "unit", "causal agent", "attribute", "relation", "state", "psychological feature",
    "event", "group", "act", "living thing", "organism", "part", "location", "communication", "content",
    "natural object", "placental", "chordate", "vertebrate", "measure", "abstract entity", "property",
    "cognition", "quality", "way", "group action", "activity", "causal agency", "conveyance",
}  # fmt: skip

DEFINE = [
    ("What is {a}?", 30), ("what is {a}", 6), ("What is {a}", 4), ("What's {a}?", 5), ("Define {x}.", 4),
    ("Define the word {x}.", 2), ("What does the word {x} mean?", 3), ("Explain what {a} is.", 4),
    ("Can you explain what {a} is?", 4), ("Do you know what {a} is?", 3), ("Describe {a}.", 4),
    ("Give me a definition of {x}.", 2), ("What exactly is {a}?", 3), ("{X}?", 1), ("Tell me what {a} is.", 4),
    ("I do not know what {a} is.", 1), ("Please explain the word {x}.", 2), ("What is the meaning of {x}?", 3),
    ("Could you tell me what {a} is?", 3), ("What is meant by {x}?", 1), ("Explain {x} to me.", 2),
    ("What is {a}? Please explain.", 2), ("What are {p}?", 5), ("Tell me about {p}.", 4),
]  # fmt: skip
DEFINE_LONG = ["Tell me about {p}.", "Tell me about {a}.", "Tell me more about {a}.", "What do you know about {p}?",
               "Explain {x} in detail.", "Describe {a} in a few sentences.", "What can you tell me about {a}?"]  # fmt: skip
DEFINE_SHORT = ["What is {a}? Answer in one sentence.", "Define {x} in one sentence.", "In one sentence, what is {a}?",
                "What is {a}, in short?", "Briefly, what is {a}?", "Explain {x} briefly."]  # fmt: skip


def a(noun, counted=True):
    return f"{english.article(noun)} {noun}" if counted else noun


def listing(words, last="and"):
    words = list(words)
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" {last} " + words[-1]


def fill(rng, templates, **words):
    if isinstance(templates[0], tuple):
        template = rng.choices([t for t, _ in templates], [w for _, w in templates])[0]
    else:
        template = rng.choice(templates)
    return template.format(**words)


def noun_words(entry, rng=None):
    """The forms that question templates use: {x} bare, {X} capital, {a} with article, {p} plural.

    With rng, one in twelve gets the article wrong, as people who ask do."""
    lemma, sense = entry["lemma"], entry["senses"][0]
    counted = sense["counted"] and not entry["plural_form"]
    if rng and rng.random() < 0.08:
        counted = not counted
    return {
        "x": lemma, "X": lemma[:1].upper() + lemma[1:], "a": a(lemma, counted),
        "p": entry["plural"] if counted else lemma,
    }  # fmt: skip


def subject(entry, sense):
    if entry["plural_form"]:
        return f"{entry['lemma']} are"
    return f"{a(entry['lemma'], sense['counted'])} is"


def definition_sentence(entry):
    sense = entry["senses"][0]
    text = f"{subject(entry, sense)} {sense['phrase']}"
    if sense["domain"]:
        return english.sentence(f"in {sense['domain']}, {text}")
    return english.sentence(text)


def continued(part, plural_form):
    """A further part of a gloss as a sentence of its own, or None where it does not make one."""
    it, is_ = ("They", "are") if plural_form else ("It", "is")
    words = part.split()
    if len(words) < 3 or part[0] in "(`'":
        return None
    if words[0] in ("used", "usually", "often", "widely", "sometimes", "considered", "found", "made", "native",
                    "played", "worn", "formerly", "commonly", "grown", "located", "important", "similar", "known"):  # fmt: skip
        adverb = words[0].endswith("ly") or words[0] in ("often", "sometimes")
        if adverb and not re.match(r"\w+(ed|en|wn|nd|de|t)$", words[1]):
            return None
        return f"{it} {is_} {part}."
    if re.match(r"^[a-z]+s$", words[0]) and not words[0].endswith("ss") and words[1] in (
        "in", "into", "at", "on", "from", "by", "with", "to", "the", "a", "an", "below", "about", "up", "out",
    ):  # fmt: skip
        return None if plural_form else f"It {part}."
    if words[0] in ("this", "these", "they", "it", "he", "she") and len(words) > 4:
        return english.sentence(part)
    if words[0] in ("a", "an", "the") and len(words) > 4:
        return f"{it} {is_} {part}." if words[0] != "the" else None
    return None


def also_called(sense, plural_form):
    plain = [w for w in sense["synonyms"] if w.islower()][:3]
    latin = [w for w in sense["synonyms"] if re.match(r"^[A-Z][a-z]+ [a-z]+$", w)]
    found = []
    if plain:
        names = [a(w, sense["counted"] and not plural_form and not english.looks_plural(w)) for w in plain]
        found.append(f"{'They are' if plural_form else 'It is'} also called {listing(names, 'or')}.")
    if latin and sense["file"] in ("animal", "plant"):
        found.append(f"Its scientific name is {latin[0]}.")
    return found


def kind_sentence(entry, sense):
    for parent in sense["is"][:2]:
        if parent in VAGUE or not parent.islower():
            continue
        if parent.split()[-1] not in " ".join(sense["definition"]):
            return english.sentence(f"{subject(entry, sense)} a kind of {parent}")
        return None
    return None


def kinds_sentence(entry, rng, count):
    kinds = entry["senses"][0]["kinds"][:count]
    if len(kinds) < 2:
        return None
    names = [f"the {k}" for k in kinds] if entry["senses"][0]["counted"] else kinds
    opening = rng.choice(["Some kinds of {x} are", "Examples are", "Kinds of {x} include"])
    return f"{opening.format(x=entry['lemma'])} {listing(names)}."


def parts_sentence(entry, count):
    sense = entry["senses"][0]
    if len(sense["parts"]) < 2 or not sense["counted"] or entry["plural_form"]:
        return None
    parts = [p if english.looks_plural(p) else a(p) for p in sense["parts"][:count]]
    return english.sentence(f"{a(entry['lemma'])} has parts such as {listing(parts)}")


def second_sense(entry):
    if len(entry["senses"]) < 2:
        return None
    sense = entry["senses"][1]
    phrase = sense["phrase"]
    return english.sentence(f"the word can also mean {phrase}") if len(phrase) < 140 else None


def example_sentence(sense):
    return f'For example: "{sense["examples"][0]}".' if sense["examples"] else None


def extra_sentences(entry, rng):
    """Everything else that is known of a noun, the most useful first."""
    sense = entry["senses"][0]
    found = [continued(part, entry["plural_form"]) for part in sense["definition"][1:]]
    found += also_called(sense, entry["plural_form"])
    found.append(kind_sentence(entry, sense))
    found.append(kinds_sentence(entry, rng, 3))
    found.append(parts_sentence(entry, 3))
    found.append(second_sense(entry))
    found.append(example_sentence(sense) if len(entry["senses"]) == 1 else None)
    return [text for text in found if text]


def use_of(entry):
    """'A hammer is used to ...' where the definition says so."""
    for part in entry["senses"][0]["definition"]:
        match = re.search(r"\bused (to|for|in|as) ([^()]+)$", part)
        if match and len(match.group(2)) > 8:
            verb = "are" if entry["plural_form"] else "is"
            name = a(entry["lemma"], entry["senses"][0]["counted"] and not entry["plural_form"])
            return english.sentence(f"{name} {verb} used {match.group(1)} {match.group(2)}")
    return None


def name_sentence(name):
    """'Albert Einstein (1879-1955) was a physicist ...'."""
    text = name["definition"][0]
    text = re.sub(r"^(\d+\.)\s*", "", text)
    years = re.search(r"\s*\((\d{3,4}-\d{3,4}|born in \d{4}|[^()]*\d{2,4}[^()]*)\)", " ; ".join(name["definition"]))
    domain = re.match(r"^\(([A-Za-z ]{4,30})\)\s*", text)
    text = re.sub(r"\s*\([^()]*\d{2,4}[^()]*\)", "", text[domain.end() :] if domain else text)
    first = text.split()[0].lower() if text.split() else ""
    if first not in english.DETERMINERS and not english.looks_plural(english.head_noun(text)):
        text = f"{english.article(text)} {text}"
    verb = "was" if name["file"] == "person" and "born in" not in (years.group(1) if years else "") else "is"
    label = name["name"] + (f" ({years.group(1)})" if years and name["file"] == "person" else "")
    if domain:
        return english.sentence(f"in {domain.group(1)}, {label} {verb} {text}")
    return english.sentence(f"{label} {verb} {text}")


def name_extras(name):
    found = []
    for part in name["definition"][1:]:
        part = re.sub(r"\s*\([^()]*\d{2,4}[^()]*\)", "", part)
        text = continued(part, False)
        if text and name["file"] == "person":
            text = re.sub(r"^It is\b", "This person was", re.sub(r"^It (?!is\b)", "This person ", text))
        if text:
            found.append(text)
    return found


def meaning_sentence(entry, part_of_speech):
    sense = entry["senses"][0]
    text = sense["definition"][0]
    domain = re.match(r"^\(([^()]*)\)\s*", text)
    text = text[domain.end() :] if domain else text
    if part_of_speech == "verbs":
        return english.sentence(f"to {entry['lemma']} means to {text}")
    return english.sentence(f"{entry['lemma']} means {text}")


def meaning_extras(entry, part_of_speech):
    sense = entry["senses"][0]
    found = []
    if sense["synonyms"]:
        word = "Similar words are" if len(sense["synonyms"]) > 1 else "A similar word is"
        found.append(f"{word} {listing(sense['synonyms'][:3])}.")
    if sense["antonyms"]:
        found.append(f"The opposite is {sense['antonyms'][0]}.")
    if example_sentence(sense):
        found.append(example_sentence(sense))
    if len(entry["senses"]) > 1 and len(entry["senses"][1]["definition"][0]) < 120:
        to = "to " if part_of_speech == "verbs" else ""
        found.append(english.sentence(f"it can also mean {to}{entry['senses'][1]['definition'][0]}"))
    return found


def foldoc_sentences(entry):
    """The first one or two sentences of an article, the first made to begin with the name."""
    sentences = re.split(r"(?<=[a-z)\"][.!?])\s+(?=[A-Z\"])", entry["text"][0])
    first = sentences[0]
    match = re.match(r"^(An?|The|One|Any) (?=[a-zA-Z])", first)
    if match:
        sentences[0] = f"{entry['name']} is {first[0].lower()}{first[1:]}"
    elif re.match(r"^To [a-z]", first):
        sentences[0] = f"{entry['name']} means t{first[1:]}"
    elif not first.startswith(entry["name"]):
        return None
    if len(sentences[0]) > 320:
        return None
    kept = [english.sentence(sentences[0])]
    for text in sentences[1:3]:
        if sum(map(len, kept)) + len(text) > 380:
            break
        kept.append(text)
    return kept
