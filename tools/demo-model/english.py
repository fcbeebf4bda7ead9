"""Small rules of English: articles, plurals, whether a noun can be counted, how a gloss becomes a sentence."""

import re

DETERMINERS = {
    "a", "an", "the", "any", "one", "some", "something", "someone", "somebody", "anyone", "anything",
    "all", "each", "either", "every", "two", "three", "four", "several", "many", "various", "those",
    "that", "what", "whatever", "how", "where", "when", "being", "having", "not", "either", "both",
}  # fmt: skip
STOPPERS = {
    "that", "which", "who", "whose", "of", "for", "with", "in", "used", "having", "usually", "made",
    "from", "by", "to", "on", "at", "where", "when", "consisting", "containing", "like", "or", "as",
    "and", "between", "into", "found", "resembling", "native", "whom", "designed", "given", "grown",
    "characterized", "without", "based", "about", "formed", "worn", "produced", "resulting", "caused",
    "under", "against", "during", "related", "similar", "often", "especially", "performed", "born",
    "over", "among", "after", "before", "through", "using", "noted", "known", "via", "placed",
}  # fmt: skip
MASS_FILES = {"substance", "feeling", "attribute", "state", "process", "phenomenon", "cognition", "motive"}


def article(phrase):
    """'a' or 'an' before this phrase, by sound."""
    word = phrase.split()[0].lower().strip("\"'(") if phrase.strip("\"'( ") else "x"
    if re.match(r"(hour|honest|honou?r|heir|herb\b)", word):
        return "an"
    if re.match(r"(uni([^nm]|m?form)|us[aeiu]|eu|one\b|once|ubiq|ut[ei]|ur[aeiou]|ewe|u-)", word):
        return "a"
    first = phrase.split()[0].strip("\"'(")
    if len(first) > 1 and first.isupper():
        return "an" if first[0] in "AEFHILMNORSX" else "a"
    return "an" if word[:1] in "aeiou" else "a"


def plural(noun, irregular):
    head, _, last = noun.rpartition(" ")
    if last in irregular:
        forms = irregular[last]
        word = forms[0] if isinstance(forms, list) else forms
    elif re.search(r"(s|x|z|ch|sh)$", last):
        word = last + "es"
    elif re.search(r"[^aeiou]y$", last):
        word = last[:-1] + "ies"
    else:
        word = last + "s"
    return (head + " " + word) if head else word


def sentence(text):
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if text[-1:] in ".!?" else text + "."


class Countability:
    """Whether nouns are counted, from how often running text puts 'a' or 'an' before them."""

    def __init__(self):
        self.with_article, self.total = {}, {}

    def read(self, text):
        words = re.findall(r"[a-z]+", text.lower())
        for before, word in zip(words, words[1:]):
            self.total[word] = self.total.get(word, 0) + 1
            if before in ("a", "an"):
                self.with_article[word] = self.with_article.get(word, 0) + 1

    def share(self, noun):
        """Occurrences with 'a' or 'an' per occurrence; a half for words hardly seen."""
        last = noun.split()[-1].lower() if noun else ""
        total = self.total.get(last, 0)
        return self.with_article.get(last, 0) / total if total >= 12 else 0.5

    def counted(self, noun, file):
        last = noun.split()[-1].lower()
        total, seen = self.total.get(last, 0), self.with_article.get(last, 0)
        if total >= 12:
            return seen >= 0.03 * total
        if re.search(r"(ness|ism|ity|ing|ics|ure|age|ance|ence|ment|ship|hood|graphy|logy|nomy)$", last) and seen == 0:
            return False
        return file not in MASS_FILES


def looks_plural(noun):
    last = noun.split()[-1]
    return last.endswith("s") and not re.search(r"(ss|us|is|ics|ius|ous|eus|bias|gas|lens|atlas|canvas|chaos)$", last)


def head_noun(phrase):
    """The word that a noun phrase is about: the last before the first 'of', 'that', 'used' ..."""
    words = re.findall(r"[\w'-]+,?", re.sub(r"\([^)]*\)", "", phrase))
    head = words[:1]
    for word in words:
        if word.lower().rstrip(",") in STOPPERS and head != words[:1]:
            break
        if word.lower().rstrip(",") in STOPPERS:
            return (head or [""])[0].rstrip(",")
        head = [word]
    return head[0].rstrip(",") if head else ""


def noun_phrase(gloss, countability, subject_counted):
    """A gloss with the article that a sentence needs: 'feline mammal ...' -> 'a feline mammal ...'.

    What a counted noun is, is nearly always counted too ('an apple is a fruit'); what a mass noun
    is, only if its head clearly is ('rain is water', 'gold is a metal')."""
    words = gloss.split()
    first = words[0].lower().rstrip(",")
    if first in DETERMINERS or first.endswith("'s") or gloss[0] in "(\"'":
        return gloss
    head = head_noun(gloss)
    needed = 0.004 if subject_counted else 0.1
    if looks_plural(head) or countability.share(head) < needed:
        return gloss
    return f"{article(gloss)} {gloss}"
