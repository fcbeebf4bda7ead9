#include "text/jinja/symbols.h"

#include <array>

#include "text/jinja/walk.h"

namespace krasis::jinja {

using Load = ScopeLayout::Load;

const Symbols* Symbols::owner(const std::string& name, int& hops) const {
  hops = 0;
  for (const Symbols* frame = this; frame != nullptr; frame = frame->parent_, ++hops)
    if (frame->entries_.count(name) != 0) return frame;
  return nullptr;
}

void Symbols::load(const std::string& name) {
  int hops = 0;
  if (owner(name, hops) == nullptr) entries_[name] = {Load::Context};
}

void Symbols::store_name(const std::string& name) {
  stores_.insert(name);
  if (entries_.count(name) != 0) return;
  int hops = 0;
  const bool outside = owner(name, hops) != nullptr;
  entries_[name] = {outside ? Load::Outer : Load::Missing};
}

void Symbols::declare_parameter(const std::string& name) {
  stores_.insert(name);
  entries_[name] = {Load::Parameter};
}

void Symbols::store(const Target& target) {
  switch (target.form) {
    case Target::Form::Name:
      store_name(target.name->bytes);
      break;
    case Target::Form::Attribute:
      load(target.name->bytes);
      break;
    case Target::Form::Tuple:
      for (const Target& item : target.items) store(item);
  }
}

void Symbols::declare(const Target& target) {
  if (target.form == Target::Form::Name) declare_parameter(target.name->bytes);
  for (const Target& item : target.items) declare(item);
}

void Symbols::visit_expr(const Expr* expr) {
  if (expr == nullptr) return;
  walk_names(*expr, [this](const NameExpr& name) { load(name.name->bytes); });
}

void Symbols::visit_arguments(const CallArguments& arguments) {
  for_each_child(arguments, [this](const Expr* child) { visit_expr(child); });
}

void Symbols::visit(const Body& body) {
  for (const Stmt* stmt : body) visit(*stmt);
}

// Each branch is visited with a copy of what was known before; a name that only some branch
// assigns to may still have its value from outside behind the `if`.
void Symbols::visit_if(const IfStmt& node) {
  visit_expr(node.branches.front().test);
  std::array<Symbols, 3> copies = {*this, *this, *this};
  copies[0].visit(node.branches.front().body);
  for (std::size_t i = 1; i < node.branches.size(); ++i) {
    IfStmt single;
    single.branches.push_back(node.branches[i]);
    copies[1].visit_if(single);
  }
  copies[2].visit(node.otherwise);

  std::set<std::string> assigned;
  for (const Symbols& copy : copies) {
    for (const std::string& name : copy.stores_)
      if (stores_.count(name) == 0) assigned.insert(name);
  }
  for (const Symbols& copy : copies) {
    for (const auto& [name, entry] : copy.entries_) entries_[name] = entry;
    stores_.insert(copy.stores_.begin(), copy.stores_.end());
  }
  for (const std::string& name : assigned) {
    int hops = 0;
    const bool outside = parent_ != nullptr && parent_->owner(name, hops) != nullptr;
    entries_[name] = {outside ? Load::Outer : Load::Context};
  }
}

namespace {

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

}  // namespace

void Symbols::visit(const Stmt& stmt) {
  std::visit(Overloaded{
                 [](const DataStmt&) {},
                 [](const BreakStmt&) {},
                 [](const ContinueStmt&) {},
                 [](const ScopedStmt&) {},
                 [](const BlockStmt&) {},
                 [this](const OutputStmt& s) {
                   for (const Expr* item : s.items) visit_expr(item);
                 },
                 [this](const IfStmt& s) { visit_if(s); },
                 [this](const ForStmt& s) { visit_expr(s.iterable); },
                 [this](const SetStmt& s) {
                   visit_expr(s.value);
                   store(s.target);
                 },
                 [this](const SetBlockStmt& s) { store(s.target); },
                 [this](const MacroStmt& s) { store(s.target); },
                 [this](const CallStmt& s) { visit_expr(s.call); },
                 [this](const FilterStmt& s) { visit_expr(s.filter); },
                 [this](const WithStmt& s) {
                   for (const Expr* value : s.values) visit_expr(value);
                 },
                 [this](const ForeignStmt& s) {
                   visit_expr(s.source);
                   for (const Target& target : s.targets) store(target);
                 },
             },
             stmt.node);
}

ScopeLayout Symbols::layout() {
  ScopeLayout result;
  for (auto& [name, entry] : entries_) {
    entry.slot = static_cast<int>(result.slots.size());
    ScopeLayout::Slot slot;
    slot.name = make_text(name);
    slot.load = entry.load;
    if (entry.load == Load::Outer) slot.outer = parent_->find(name);
    result.slots.push_back(std::move(slot));
  }
  return result;
}

VariableRef Symbols::find(const std::string& name) const {
  int hops = 0;
  const Symbols* frame = owner(name, hops);
  if (frame == nullptr) return {};
  return {hops, frame->entries_.at(name).slot};
}

}  // namespace krasis::jinja
