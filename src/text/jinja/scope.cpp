#include "text/jinja/scope.h"

#include <set>
#include <string>
#include <utility>
#include <variant>

#include "text/jinja/lexer.h"
#include "text/jinja/symbols.h"
#include "text/jinja/walk.h"

namespace krasis::jinja {
namespace {

// The special names (caller, kwargs, varargs) that a macro's body reads without having assigned to
// them before, in the order of the source; frames inside count, blocks do not.
class SpecialNames {
 public:
  static std::set<std::string> used(const Body& body) {
    SpecialNames search;
    search.visit(body);
    return search.used_;
  }

 private:
  void visit(const Body& body) {
    for (const Stmt* stmt : body) std::visit([this](const auto& s) { node(s); }, stmt->node);
  }
  void read(const Expr* expr) {
    if (expr == nullptr) return;
    walk_names(*expr, [this](const NameExpr& name) {
      if (candidates_.count(name.name->bytes) != 0) used_.insert(name.name->bytes);
    });
  }
  void write(const Target& target) {
    if (target.form == Target::Form::Name) candidates_.erase(target.name->bytes);
    for (const Target& item : target.items) write(item);
  }
  void macro(const MacroBody& macro) {
    for (const TextPtr& parameter : macro.parameters) candidates_.erase(parameter->bytes);
    for (const Expr* expr : macro.defaults) read(expr);
    visit(macro.body);
  }
  void node(const DataStmt&) {}
  void node(const BreakStmt&) {}
  void node(const ContinueStmt&) {}
  void node(const BlockStmt&) {}
  void node(const OutputStmt& s) {
    for (const Expr* item : s.items) read(item);
  }
  void node(const IfStmt& s) {
    for (const auto& branch : s.branches) {
      read(branch.test);
      visit(branch.body);
    }
    visit(s.otherwise);
  }
  void node(const ForStmt& s) {
    write(s.target);
    read(s.iterable);
    visit(s.body);
    visit(s.otherwise);
    read(s.test);
  }
  void node(const SetStmt& s) {
    write(s.target);
    read(s.value);
  }
  void node(const SetBlockStmt& s) {
    write(s.target);
    read(s.filter);
    visit(s.body);
  }
  void node(const MacroStmt& s) { macro(s.macro); }
  void node(const CallStmt& s) {
    read(s.call);
    macro(s.macro);
  }
  void node(const FilterStmt& s) {
    visit(s.body);
    read(s.filter);
  }
  void node(const WithStmt& s) {
    for (const Target& target : s.targets) write(target);
    for (const Expr* value : s.values) read(value);
    visit(s.body);
  }
  void node(const ScopedStmt& s) { visit(s.body); }
  void node(const ForeignStmt& s) { read(s.source); }

  std::set<std::string> candidates_ = {"caller", "kwargs", "varargs"};
  std::set<std::string> used_;
};

class Resolver {
 public:
  explicit Resolver(Tree& tree) : tree_(tree) {}

  void run() {
    Frame root(nullptr);
    root.symbols.visit(tree_.body);
    tree_.scope = root.symbols.layout();
    resolve(tree_.body, root, false);
    tree_.scope.captured = root.captured;
  }

 private:
  struct Frame {
    explicit Frame(Frame* outer)
        : parent(outer), symbols(outer == nullptr ? nullptr : &outer->symbols) {}
    Frame* parent;
    Symbols symbols;
    bool captured = false;
  };

  void check_known(const Expr& expr, bool inside_if) const {
    const auto check = [&](const char* what, const auto& node) {
      if (node.row == nullptr && !inside_if) {
        fail_syntax(tree_.name, expr.line,
                    std::string("there is no ") + what + " '" + node.name->bytes + "'");
      }
    };
    if (const auto* filter = std::get_if<FilterExpr>(&expr.node)) check("filter", *filter);
    if (const auto* test = std::get_if<TestExpr>(&expr.node)) check("test", *test);
  }

  // `inside_if`: within an if of the same frame or within an inline if.
  void resolve_expr(Expr* expr, const Frame& frame, bool inside_if) {
    if (expr == nullptr) return;
    if (auto* name = std::get_if<NameExpr>(&expr->node))
      name->ref = frame.symbols.find(name->name->bytes);
    check_known(*expr, inside_if);
    const bool inner_if = inside_if || std::holds_alternative<ConditionalExpr>(expr->node);
    for_each_child(*expr, [&](Expr* child) { resolve_expr(child, frame, inner_if); });
  }

  void resolve_target(Target& target, const Frame& frame, int line) {
    if (target.form != Target::Form::Tuple) target.ref = frame.symbols.find(target.name->bytes);
    if (target.form == Target::Form::Name && loops_ > 0 && target.name->bytes == "loop")
      fail_syntax(tree_.name, line, "cannot assign to 'loop' inside a loop");
    for (Target& item : target.items) resolve_target(item, frame, line);
  }

  void resolve(const Body& body, Frame& frame, bool inside_if) {
    for (Stmt* stmt : body) {
      line_ = stmt->line;
      std::visit([&](auto& s) { node(s, frame, inside_if); }, stmt->node);
    }
  }

  // A frame inside was captured: so is everything it can see.
  static void close(const Frame& inner, ScopeLayout& layout) {
    layout.captured = inner.captured;
    if (inner.captured && inner.parent != nullptr) inner.parent->captured = true;
  }

  void node(DataStmt&, Frame&, bool) {}
  void node(BreakStmt&, Frame&, bool) {}
  void node(ContinueStmt&, Frame&, bool) {}
  void node(OutputStmt& s, Frame& frame, bool inside_if) {
    for (Expr* item : s.items) resolve_expr(item, frame, inside_if);
  }
  void node(IfStmt& s, Frame& frame, bool) {
    for (auto& branch : s.branches) {
      resolve_expr(branch.test, frame, true);
      resolve(branch.body, frame, true);
    }
    resolve(s.otherwise, frame, true);
  }
  void node(ForStmt& s, Frame& frame, bool inside_if) {
    const int line = line_;
    resolve_expr(s.iterable, frame, inside_if);
    if (s.test != nullptr) {
      Frame test(&frame);
      s.test_target = s.target;
      test.symbols.declare(s.test_target);
      test.symbols.visit_expr(s.test);
      s.test_scope = test.symbols.layout();
      resolve_target(s.test_target, test, line);
      resolve_expr(s.test, test, false);
    }
    ++loops_;
    Frame loop(&frame);
    loop.symbols.declare_parameter("loop");
    loop.symbols.declare(s.target);
    loop.symbols.visit(s.body);
    s.scope = loop.symbols.layout();
    s.loop_slot = loop.symbols.find("loop").slot;
    resolve_target(s.target, loop, line);
    resolve(s.body, loop, false);
    close(loop, s.scope);
    Frame otherwise(&frame);
    otherwise.symbols.visit(s.otherwise);
    s.else_scope = otherwise.symbols.layout();
    resolve(s.otherwise, otherwise, false);
    close(otherwise, s.else_scope);
    --loops_;
    // `loop` may leave the loop through a namespace and pull or call there.
    if (s.recursive || s.test != nullptr) frame.captured = true;
  }
  void node(SetStmt& s, Frame& frame, bool inside_if) {
    resolve_expr(s.value, frame, inside_if);
    resolve_target(s.target, frame, line_);
  }
  void node(SetBlockStmt& s, Frame& frame, bool) {
    resolve_target(s.target, frame, line_);
    Frame inner(&frame);
    inner.symbols.visit(s.body);
    inner.symbols.visit_expr(s.filter);
    s.scope = inner.symbols.layout();
    resolve(s.body, inner, false);
    resolve_expr(s.filter, inner, false);
    close(inner, s.scope);
  }
  void macro(MacroBody& macro, Frame& frame) {
    frame.captured = true;
    Frame inner(&frame);
    const std::set<std::string> special = SpecialNames::used(macro.body);
    const auto has_parameter = [&](const char* name) {
      for (const TextPtr& parameter : macro.parameters)
        if (parameter->bytes == name) return true;
      return false;
    };
    if (special.count("caller") != 0 && has_parameter("caller") && !caller_has_default(macro))
      fail_syntax(tree_.name, macro.line, "the parameter 'caller' needs a default");
    for (const TextPtr& parameter : macro.parameters)
      inner.symbols.declare_parameter(parameter->bytes);
    for (const std::string& name : special) inner.symbols.declare_parameter(name);
    for (const Expr* expr : macro.defaults) inner.symbols.visit_expr(expr);
    inner.symbols.visit(macro.body);
    macro.scope = inner.symbols.layout();
    for (const TextPtr& parameter : macro.parameters)
      macro.parameter_slots.push_back(inner.symbols.find(parameter->bytes).slot);
    const auto slot = [&](const char* name) {
      return special.count(name) != 0 && !has_parameter(name) ? inner.symbols.find(name).slot : -1;
    };
    macro.caller_slot = slot("caller");
    macro.kwargs_slot = slot("kwargs");
    macro.varargs_slot = slot("varargs");
    for (Expr* expr : macro.defaults) resolve_expr(expr, inner, false);
    resolve(macro.body, inner, false);
    close(inner, macro.scope);
  }
  static bool caller_has_default(const MacroBody& macro) {
    const std::size_t without = macro.parameters.size() - macro.defaults.size();
    for (std::size_t i = 0; i < without; ++i)
      if (macro.parameters[i]->bytes == "caller") return false;
    return true;
  }
  void node(MacroStmt& s, Frame& frame, bool) {
    resolve_target(s.target, frame, line_);
    macro(s.macro, frame);
  }
  void node(CallStmt& s, Frame& frame, bool inside_if) {
    resolve_expr(s.call, frame, inside_if);
    macro(s.macro, frame);
  }
  void node(FilterStmt& s, Frame& frame, bool) {
    Frame inner(&frame);
    inner.symbols.visit(s.body);
    inner.symbols.visit_expr(s.filter);
    s.scope = inner.symbols.layout();
    resolve(s.body, inner, false);
    resolve_expr(s.filter, inner, false);
    close(inner, s.scope);
  }
  void node(WithStmt& s, Frame& frame, bool inside_if) {
    const int line = line_;
    for (Expr* value : s.values) resolve_expr(value, frame, inside_if);
    Frame inner(&frame);
    for (const Target& target : s.targets) inner.symbols.declare(target);
    inner.symbols.visit(s.body);
    s.scope = inner.symbols.layout();
    for (Target& target : s.targets) resolve_target(target, inner, line);
    resolve(s.body, inner, false);
    close(inner, s.scope);
  }
  void node(ScopedStmt& s, Frame& frame, bool) {
    Frame inner(&frame);
    inner.symbols.visit(s.body);
    s.scope = inner.symbols.layout();
    resolve(s.body, inner, false);
    close(inner, s.scope);
  }
  void node(BlockStmt& s, Frame&, bool) {
    const int loops = std::exchange(loops_, 0);
    Frame inner(nullptr);
    inner.symbols.visit(s.body);
    s.scope = inner.symbols.layout();
    resolve(s.body, inner, false);
    close(inner, s.scope);
    loops_ = loops;
  }
  void node(ForeignStmt& s, Frame& frame, bool inside_if) {
    resolve_expr(s.source, frame, inside_if);
    for (Target& target : s.targets) resolve_target(target, frame, line_);
  }

  Tree& tree_;
  int loops_ = 0;  // around the current place
  int line_ = 1;
};

}  // namespace

void resolve_scopes(Tree& tree) {
  Resolver(tree).run();
}

}  // namespace krasis::jinja
