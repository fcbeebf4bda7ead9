"""Reads the packages that carry running text into documents: {"source", "name", "text"}."""

import glob
import gzip
import html.parser
import lzma
import os
import re
import struct
import zlib

# package -> (reader, path patterns below the unpacked package); licences are listed in README.md
HTML_SOURCES = {
    "debian-handbook": ["usr/share/doc/debian-handbook/html/en-US/*.html"],
    "rust-doc": ["usr/share/doc/rust-doc/html/book/*.html",
                 "usr/share/doc/rust-doc/html/rust-by-example/**/*.html",
                 "usr/share/doc/rust-doc/html/nomicon/*.html"],
    "python3.11-doc": ["usr/share/doc/python3.11/html/tutorial/*.html",
                       "usr/share/doc/python3.11/html/howto/*.html",
                       "usr/share/doc/python3.11/html/faq/*.html",
                       "usr/share/doc/python3.11/html/using/*.html",
                       "usr/share/doc/python3.11/html/library/*.html"],
    "gimp-help-en": ["usr/share/gimp/2.0/help/en/*.html"],
    "libreoffice-help-en-us": ["usr/share/libreoffice/help/en-US/text/**/*.html"],
    "developers-reference": ["usr/share/developers-reference/*.html"],
    "debian-reference-en": ["usr/share/debian-reference/*.en.html"],
    "debian-history": ["usr/share/doc/debian-history/docs/*.en.html"],
    "debian-faq": ["usr/share/doc/debian/FAQ/*.en.html"],
    "harden-doc": ["usr/share/doc/harden-doc/html/en-US/*.html", "usr/share/doc/harden-doc/html/en/*.html"],
    "aptitude-doc-en": ["usr/share/doc/aptitude/html/en/*.html"],
    "installation-guide-amd64": ["usr/share/doc/installation-guide-amd64/en/*.html"],
}  # fmt: skip
MARKUP_SOURCES = {
    "gnome-user-docs": ["usr/share/help/C/**/*.page"],
    "kstars-data": ["usr/share/doc/HTML/en/kstars/*.docbook"],
}
TEXT_SOURCES = {
    "linux-doc-6.1": [f"usr/share/doc/linux-doc-6.1/Documentation/{part}/**/*.rst.gz"
                      for part in ("process", "admin-guide", "filesystems", "mm", "scheduler",
                                   "networking", "security", "core-api", "maintainer",
                                   "doc-guide", "timers", "locking", "driver-api")],
    "git-doc": ["usr/share/doc/git-doc/**/*.txt"],
    "perl-doc": ["usr/share/perl/*/pod/perl[!5]*.pod"],
}  # fmt: skip

BLOCKS = {"p", "li", "h1", "h2", "h3", "dd", "dt"}
SKIPPED = {"script", "style", "pre", "nav", "table", "head", "footer"}


class ParagraphReader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.paragraphs, self.current, self.skip, self.tag = [], [], 0, "p"

    def flush(self):
        text = " ".join("".join(self.current).split()).replace("¶", "").strip()
        if text:
            self.paragraphs.append((self.tag[0] == "h", text))
        self.current = []

    def handle_starttag(self, tag, attributes):
        if tag in SKIPPED:
            self.skip += 1
        if tag in BLOCKS:
            self.flush()
            self.tag = tag

    def handle_endtag(self, tag):
        if tag in SKIPPED:
            self.skip = max(0, self.skip - 1)
        if tag in BLOCKS or tag in ("ul", "ol", "div"):
            self.flush()
            self.tag = "p"

    def handle_data(self, data):
        if not self.skip:
            self.current.append(data)


def html_paragraphs(text):
    reader = ParagraphReader()
    reader.feed(text)
    reader.flush()
    return reader.paragraphs


def markup_paragraphs(text):
    """Mallard and DocBook: the text of <title>, <p> and <para>."""
    text = re.sub(r"<!--.*?-->|<(info|code|programlisting|screen|bookinfo)\b.*?</\1>", " ", text, flags=re.S)
    found = []
    for tag, body in re.findall(r"<(title|p|para)\b[^>]*>(.*?)</\1>", text, flags=re.S):
        body = re.sub(r"<[^>]+>", "", body)
        body = re.sub(r"&(\w+);", lambda m: {"amp": "&", "lt": "<", "gt": ">"}.get(m.group(1), m.group(1)), body)
        body = " ".join(body.split())
        if body:
            found.append((tag == "title", body))
    return found


def text_paragraphs(text):
    """reStructuredText, AsciiDoc and POD: blocks that begin in column 0 and are not directives."""
    found = []
    for block in re.split(r"\n\s*\n", text):
        heading = re.match(r"^=head\d (.*)$", block.strip())
        if heading:
            found.append((True, re.sub(r"[A-Z]<+ ?(.*?) ?>+", r"\1", heading.group(1))))
            continue
        if not re.match(r"^[A-Z\"'(]", block) or re.search(r"^[=~^\-+*#]{4,}$", block, re.M):
            continue
        block = re.sub(r":\w+(:\w+)?:`~?([^`<]*?)( <[^>]*>)?`", r"\2", block)
        block = re.sub(r"``?([^`]*)``?_?", r"\1", block)
        block = re.sub(r"[A-Z]<<* ?(.*?) ?>*>", r"\1", block)
        block = re.sub(r"linkgit:([\w-]+)\[(\d)\]", r"\1", block)
        found.append((False, " ".join(block.split()).replace("::", ":")))
    return found


def readable(paragraph):
    letters = sum(c.isalpha() or c == " " for c in paragraph)
    return (
        len(paragraph) >= 60
        and letters >= 0.86 * len(paragraph)
        and sum(ord(c) < 128 for c in paragraph) >= 0.98 * len(paragraph)
        and paragraph[-1] in ".!?:;\")'"
        and not re.search(r"https?://|\\|[{}|]|[=_@]{2,}|@|Copyright|©|WARRANT", paragraph)
    )


def document(paragraphs):
    """Readable paragraphs with the headings that stand before them, one blank line between."""
    kept, heading = [], None
    for is_heading, text in paragraphs:
        if is_heading:
            heading = re.sub(r"^[\dA-Z]?[\d.]*\s+(?=[A-Z])", "", text)[:80]
        elif readable(text):
            if heading and len(heading) > 3:
                kept.append(heading)
            kept.append(text)
            heading = None
    return kept


def read_patterns(root, package, patterns, split):
    paths = sorted({p for pattern in patterns for p in glob.glob(os.path.join(root, package, pattern), recursive=True)})
    for path in paths:
        opener = gzip.open if path.endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8", errors="replace") as stream:
            paragraphs = document(split(stream.read()))
        yield {"source": package, "name": os.path.basename(path), "paragraphs": paragraphs}


def r_strings(path):
    """The character vectors in an R lazy-load file: records of a big-endian length, then zlib, or
    a letter and bzip2 ('2') or xz ('Z'); inside, XDR CHARSXP records."""
    with open(path, "rb") as stream:
        data = stream.read()
    at = 0
    while at < len(data) - 6:
        start = data.find(b"\x78", at + 4)
        packed_xz = data.find(b"Z\xfd7zXZ\x00", at + 4)
        if start < 0 and packed_xz < 0:
            return
        try:
            if packed_xz >= 0 and (start < 0 or packed_xz < start):
                start, inflate = packed_xz + 1, lzma.LZMADecompressor()
            else:
                inflate = zlib.decompressobj()
            raw = inflate.decompress(data[start:])
            at = len(data) - len(inflate.unused_data)
        except (zlib.error, lzma.LZMAError):
            at = start - 3
            continue
        strings = []
        for match in re.finditer(rb"\x00[\x00-\x04][\x00\x80]\x09", raw):
            (length,) = struct.unpack(">i", raw[match.end() : match.end() + 4])
            if 0 <= length < 4000000:
                strings.append(raw[match.end() + 4 : match.end() + 4 + length].decode("utf-8", "replace"))
        yield strings


def novels(root):
    """Jane Austen's six novels (r-cran-janeaustenr), Moby Dick (r-cran-tokenizers), by chapter."""
    folder = "usr/lib/R/site-library/"
    for package, data in (("r-cran-janeaustenr", "janeaustenr"), ("r-cran-tokenizers", "tokenizers")):
        for strings in r_strings(os.path.join(root, package, folder, data, "data/Rdata.rdb")):
            text = "\n".join(strings)
            if len(text) < 100000:
                continue
            for index, chapter in enumerate(re.split(r"\n\s*(?:CHAPTER|Chapter) [\w.]+", text)):
                blocks = [" ".join(b.split()).replace("_", "") for b in re.split(r"\n\s*\n", chapter)]
                blocks = [b for b in blocks if len(b) > 20 and not b.isupper()]
                if sum(map(len, blocks)) > 800:
                    yield {"source": package, "name": f"chapter {index}", "paragraphs": blocks}


def freeciv(root):
    path = os.path.join(root, "freeciv-data/usr/share/games/freeciv/helpdata.txt")
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    for node in re.split(r"^\[help_", text, flags=re.M)[1:]:
        blocks = re.findall(r'_\("\\?\n?(.*?)"\)', node, flags=re.S)
        blocks = [" ".join(b.replace("\\\n", "").replace("\\n", " ").split()) for b in blocks]
        yield {"source": "freeciv-data", "name": node.split("]")[0], "paragraphs": [b for b in blocks if readable(b)]}


def read_documents(root):
    """All documents, paragraphs that occur twice kept once, short rests dropped."""
    seen = set()

    def fresh(paragraph):
        key = re.sub(r"\W+", " ", paragraph.lower())
        if len(key) > 40 and key in seen:
            return False
        seen.add(key)
        return True

    readers = [novels(root), freeciv(root)]
    for sources, split in ((HTML_SOURCES, html_paragraphs), (MARKUP_SOURCES, markup_paragraphs), (TEXT_SOURCES, text_paragraphs)):
        readers += [read_patterns(root, package, patterns, split) for package, patterns in sources.items()]
    for reader in readers:
        for found in reader:
            paragraphs = [p for p in found["paragraphs"] if fresh(p)]
            text = "\n\n".join(paragraphs)
            if len(text) > 300:
                yield {"source": found["source"], "name": found["name"], "text": text}
