// A parsed template. Nodes live in the Tree and refer to each other by plain pointers, so that a
// deep tree is freed without recursion. Every variable is a slot of a frame: which one is decided
// once, after parsing (scope.h).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace krasis::jinja {

struct Expr;
struct Stmt;
using Body = std::vector<Stmt*>;

struct VariableRef {
  int hops = 0;  // frames outwards
  int slot = -1;
};

struct Target {  // what is assigned to
  enum class Form : std::uint8_t { Name, Attribute, Tuple } form = Form::Name;
  TextPtr name;
  TextPtr attribute;  // of the namespace `name`
  VariableRef ref;
  std::vector<Target> items;
};

// How a frame's variables start when it is entered.
struct ScopeLayout {
  enum class Load : std::uint8_t { Parameter, Missing, Context, Outer };
  struct Slot {
    TextPtr name;
    Load load = Load::Missing;
    VariableRef outer;
  };
  std::vector<Slot> slots;
  bool captured = false;  // a macro inside may outlive the frame
};

struct CallArguments {
  std::vector<Expr*> positional;
  std::vector<std::pair<TextPtr, Expr*>> named;
  Expr* star = nullptr;
  Expr* double_star = nullptr;
};

struct Constant {
  Value value;
};
struct NameExpr {
  TextPtr name;
  VariableRef ref;
};
struct TupleExpr {
  std::vector<Expr*> items;
};
struct ListExpr {
  std::vector<Expr*> items;
};
struct DictExpr {
  std::vector<std::pair<Expr*, Expr*>> items;
};
struct ConditionalExpr {
  Expr* test;
  Expr* then;
  Expr* otherwise;
};  // otherwise may be null
struct NotExpr {
  Expr* operand;
};
struct SignExpr {
  bool negative;
  Expr* operand;
};
struct LogicExpr {
  bool is_and;
  Expr* left;
  Expr* right;
};
struct BinaryExpr {
  BinaryOperator op;
  Expr* left;
  Expr* right;
};
struct CompareExpr {
  Expr* first;
  std::vector<std::pair<Comparison, Expr*>> rest;
};
struct ConcatExpr {
  std::vector<Expr*> items;
};
struct AttributeExpr {
  Expr* object;
  TextPtr name;
};
struct ItemExpr {
  Expr* object;
  Expr* key;
};
struct SliceExpr {
  Expr* object;
  Expr* start;
  Expr* stop;
  Expr* step;
};  // null where left out
struct CallExpr {
  Expr* callee;
  CallArguments arguments;
};
// `row` is null for an unknown name: an error, but inside `if` only when it is evaluated. `input`
// is null for the content of the block that a filter stands on.
struct FilterExpr {
  Expr* input;
  TextPtr name;
  const NativeRow* row;
  CallArguments arguments;
};
struct TestExpr {
  Expr* input;
  TextPtr name;
  const NativeRow* row;
  CallArguments arguments;
};

struct Expr {
  int line = 1;
  int height = 1;
  std::variant<Constant, NameExpr, TupleExpr, ListExpr, DictExpr, ConditionalExpr, NotExpr,
               SignExpr, LogicExpr, BinaryExpr, CompareExpr, ConcatExpr, AttributeExpr, ItemExpr,
               SliceExpr, CallExpr, FilterExpr, TestExpr>
      node;
};

// The common part of macros, call blocks and generation blocks.
struct MacroBody {
  TextPtr name;
  std::vector<TextPtr> parameters;
  std::vector<Expr*> defaults;  // of the last parameters
  Body body;
  ScopeLayout scope;
  int line = 1;
  std::vector<int> parameter_slots;
  int caller_slot = -1;  // -1: the body does not use it
  int kwargs_slot = -1;
  int varargs_slot = -1;
};

struct DataStmt {
  std::string text;
};
struct OutputStmt {
  std::vector<Expr*> items;
};
struct IfStmt {
  struct Branch {
    Expr* test;
    Body body;
  };
  std::vector<Branch> branches;
  Body otherwise;
};
struct ForStmt {
  Target target;
  Target test_target;  // the same names in the scope of the filter
  Expr* iterable = nullptr;
  Expr* test = nullptr;
  Body body;
  Body otherwise;
  bool recursive = false;
  int loop_slot = -1;
  ScopeLayout scope, test_scope, else_scope;
};
struct SetStmt {
  Target target;
  Expr* value;
};
struct SetBlockStmt {
  Target target;
  Expr* filter;
  Body body;
  ScopeLayout scope;
};
struct MacroStmt {
  Target target;
  MacroBody macro;
};
struct CallStmt {
  Expr* call;
  MacroBody macro;
};
struct FilterStmt {
  Expr* filter;
  Body body;
  ScopeLayout scope;
};
struct WithStmt {
  std::vector<Target> targets;
  std::vector<Expr*> values;
  Body body;
  ScopeLayout scope;
};
// A scope of its own; a generation block also is a function of its own (no break out of it).
struct ScopedStmt {
  Body body;
  ScopeLayout scope;
  bool function = false;
};
struct BlockStmt {
  TextPtr name;
  Body body;
  ScopeLayout scope;
};
struct BreakStmt {};
struct ContinueStmt {};
// extends, include, import: there are no other templates, so running one is an error.
struct ForeignStmt {
  std::string tag;
  std::vector<Target> targets;
  Expr* source = nullptr;
};

struct Stmt {
  int line = 1;
  std::variant<DataStmt, OutputStmt, IfStmt, ForStmt, SetStmt, SetBlockStmt, MacroStmt, CallStmt,
               FilterStmt, WithStmt, ScopedStmt, BlockStmt, BreakStmt, ContinueStmt, ForeignStmt>
      node;
};

struct Tree {
  std::string name;
  std::deque<Expr> exprs;
  std::deque<Stmt> stmts;
  Body body;
  ScopeLayout scope;
  std::map<std::string, const BlockStmt*> blocks;
};

}  // namespace krasis::jinja
