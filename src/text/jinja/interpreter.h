// Runs a Tree.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/runtime.h"
#include "text/jinja/syntax.h"

namespace krasis::jinja {

struct Frame {
  std::vector<Value> slots;
  Frame* outer = nullptr;
};

enum class Flow : std::uint8_t { Normal, Break, Continue };

class Interpreter {
 public:
  // `context`: the globals and what was passed to render, by name.
  Interpreter(Runtime& runtime, const Tree& tree, const Dict& context)
      : runtime_(runtime), tree_(tree), context_(context) {}

  std::string render();

  Value call_macro(const MacroBody& macro, Frame* definition, const Arguments& arguments);
  // The text of a loop over `iterable`; what `loop(...)` of a recursive loop calls.
  Value recurse(const ForStmt& loop, Frame* definition, const Value& iterable, int depth);
  bool passes(const ForStmt& loop, Frame& test_frame, const Value& item);
  void enter(const ScopeLayout& layout, Frame& frame);

 private:
  // A frame for the time of a block; one that a macro captured lives on until the render ends.
  class FrameHolder {
   public:
    FrameHolder(Interpreter& interpreter, const ScopeLayout& layout, Frame* outer);
    Frame& frame() { return *frame_; }

   private:
    Frame local_;
    Frame* frame_;
  };
  // Redirects what is written for the time of a block.
  class Capture {
   public:
    explicit Capture(Interpreter& interpreter)
        : interpreter_(interpreter), before_(interpreter.out_) {
      interpreter_.out_ = &text_;
    }
    ~Capture() { interpreter_.out_ = before_; }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    std::string take() { return std::move(text_); }

   private:
    Interpreter& interpreter_;
    std::string* before_;
    std::string text_;
  };

  void write(std::string_view text);
  void write_value(const Value& value);
  Flow run(const Body& body, Frame& frame);
  Flow run(const DataStmt& s, Frame& frame);
  Flow run(const OutputStmt& s, Frame& frame);
  Flow run(const IfStmt& s, Frame& frame);
  Flow run(const ForStmt& s, Frame& frame);
  Flow run(const SetStmt& s, Frame& frame);
  Flow run(const SetBlockStmt& s, Frame& frame);
  Flow run(const MacroStmt& s, Frame& frame);
  Flow run(const CallStmt& s, Frame& frame);
  Flow run(const FilterStmt& s, Frame& frame);
  Flow run(const WithStmt& s, Frame& frame);
  Flow run(const ScopedStmt& s, Frame& frame);
  Flow run(const BlockStmt& s, Frame& frame);
  Flow run(const BreakStmt& s, Frame& frame);
  Flow run(const ContinueStmt& s, Frame& frame);
  Flow run(const ForeignStmt& s, Frame& frame);
  Flow run_loop(const ForStmt& s, const Value& iterable, Frame* definition, int depth);

  Value& slot(const VariableRef& ref, Frame& frame);
  void assign(const Target& target, const Value& value, Frame& frame);
  void require_namespaces(const Target& target, Frame& frame);
  Value filtered(const Expr& filter, std::string content, Frame& frame);

  Value eval(const Expr& expr, Frame& frame);
  Value eval(const Constant& e, Frame& frame);
  Value eval(const NameExpr& e, Frame& frame);
  Value eval(const TupleExpr& e, Frame& frame);
  Value eval(const ListExpr& e, Frame& frame);
  Value eval(const DictExpr& e, Frame& frame);
  Value eval(const ConditionalExpr& e, Frame& frame);
  Value eval(const NotExpr& e, Frame& frame);
  Value eval(const SignExpr& e, Frame& frame);
  Value eval(const LogicExpr& e, Frame& frame);
  Value eval(const BinaryExpr& e, Frame& frame);
  Value eval(const CompareExpr& e, Frame& frame);
  Value eval(const ConcatExpr& e, Frame& frame);
  Value eval(const AttributeExpr& e, Frame& frame);
  Value eval(const ItemExpr& e, Frame& frame);
  Value eval(const SliceExpr& e, Frame& frame);
  Value eval(const CallExpr& e, Frame& frame);
  Value eval(const FilterExpr& e, Frame& frame);
  Value eval(const TestExpr& e, Frame& frame);
  std::vector<Value> eval_all(const std::vector<Expr*>& items, Frame& frame);
  Arguments eval_arguments(const CallArguments& arguments, Frame& frame);

  Runtime& runtime_;
  const Tree& tree_;
  const Dict& context_;
  Dict exported_;  // what the template itself assigned to, for its blocks
  Frame* root_ = nullptr;
  std::string* out_ = nullptr;
  Value filter_input_;  // the content of the block whose filters are being applied
  std::deque<Frame> captured_frames_;
};

}  // namespace krasis::jinja
