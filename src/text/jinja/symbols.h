// The names one frame knows.
#pragma once

#include <map>
#include <set>
#include <string>

#include "text/jinja/syntax.h"

namespace krasis::jinja {

class Symbols {
 public:
  explicit Symbols(const Symbols* parent) : parent_(parent) {}

  // Collects what a list of statements (or a target, or an expression) does to this frame's names,
  // in the order of the source. Frames inside are not entered.
  void visit(const Body& body);
  void visit(const Stmt& stmt);
  void visit_expr(const Expr* expr);  // null does nothing
  void visit_arguments(const CallArguments& arguments);
  void store(const Target& target);
  void declare(const Target& target);
  void declare_parameter(const std::string& name);

  // After everything was visited: numbers the slots.
  ScopeLayout layout();
  // Where `name` is found from this frame; it has to be known.
  VariableRef find(const std::string& name) const;

 private:
  struct Entry {
    ScopeLayout::Load load;
    int slot = -1;
  };

  const Symbols* owner(const std::string& name, int& hops) const;
  void load(const std::string& name);
  void store_name(const std::string& name);
  void visit_if(const IfStmt& node);

  const Symbols* parent_;
  std::map<std::string, Entry> entries_;
  std::set<std::string> stores_;
};

}  // namespace krasis::jinja
