// Which variable a name means. Done once for a whole template, by the reference's rules:
// - a frame (the template, a loop's body, a macro, a with, set, filter or generation block) owns
//   the names that it assigns to; a name that it only reads belongs to the nearest frame outwards
//   that knows it, and otherwise starts with the context's value (what was passed to render);
// - a name that a frame assigns to starts as the frame outwards has it; if none knows it, it
//   starts unset, even where the context has one, unless it is read first or assigned to only in
//   some branches of an `if`;
// - an `if` is no frame.
#pragma once

#include "text/jinja/syntax.h"

namespace krasis::jinja {

// Throws Error(InvalidArgument) for what only a whole template shows: unknown filters and tests
// (outside of if), assignments to `loop` inside a loop.
void resolve_scopes(Tree& tree);

}  // namespace krasis::jinja
