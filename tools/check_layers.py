#!/usr/bin/env python3
"""House rules of src/: fails if a file includes a folder that its folder may not depend on, names a
model outside src/arch, uses the preprocessor for features, prints outside app/, chat/ and launcher/,
or is over 600 lines. The allowed folders are read from the krasis_library() calls."""
import pathlib
import re
import sys

MAX_LINES = 600
MODEL_NAMES = re.compile(r"qwen|deepseek|kimi|glm|llama|mixtral", re.IGNORECASE)
FEATURE_MACRO = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif|define)\b")
PRINTING = re.compile(r"\b(f?printf|f?puts|fmt::print)\s*\(|\bstd::(cout|cerr)\b")
MAY_PRINT = {"app", "chat", "launcher"}


def allowed_folders(src):
    allowed = {}
    for file in sorted(src.glob("*/CMakeLists.txt")):
        for call in re.findall(r"krasis_library\(([^)]*)\)", file.read_text()):
            words = re.sub(r"#.*", "", call).split()
            name = words[words.index("NAME") + 1]
            deps = []
            if "DEPS" in words:
                for word in words[words.index("DEPS") + 1:]:
                    if word in {"LIBS", "SOURCES"}:
                        break
                    deps.append(word)
            allowed.setdefault(name, set()).update(deps, [name])
    allowed["cuda_none"].add("cuda")  # the same devices.h, other bodies
    everything = set(allowed) | {"app"}
    allowed["app"] = everything  # the composition root
    return allowed


def problems_of(path, src, allowed):
    layer = path.relative_to(src).parts[0]
    lines = path.read_text().splitlines()
    if len(lines) > MAX_LINES:
        yield f"{path}: {len(lines)} lines, at most {MAX_LINES}"
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        include = re.match(r'#include "([^/"]+)/', line)
        if include and include[1] not in allowed.get(layer, {layer}):
            yield f"{where}: {layer}/ may not include {include[1]}/"
        if layer != "arch" and MODEL_NAMES.search(line):
            yield f"{where}: a model's name outside src/arch"
        if FEATURE_MACRO.match(line):
            yield f"{where}: preprocessor conditional or macro"
        if layer not in MAY_PRINT and PRINTING.search(line):
            yield f"{where}: printing outside app/, chat/ and launcher/"


def main():
    src = pathlib.Path(sys.argv[1])
    allowed = allowed_folders(src)
    problems = []
    for path in sorted(src.rglob("*")):
        if path.suffix in {".h", ".cpp", ".cu", ".cuh"}:
            problems.extend(problems_of(path, src, allowed))
    print("\n".join(problems) or f"layers: {len(allowed)} folders, no problem")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
