// A command of the program: a row of the table in main.cpp.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace krasis {

// The exit codes users rely on.
constexpr int kDone = 0;
constexpr int kFailed = 1;   // while running
constexpr int kUsage = 2;    // the command line or configuration is wrong
constexpr int kMachine = 3;  // the machine cannot do it

struct Command {
  std::string name;
  std::string summary;
  // Declares the command's options and sets `run`, which does the work and returns the exit code.
  void (*declare)(CLI::App& command, std::function<int()>& run);
};

void declare_run(CLI::App& command, std::function<int()>& run);
void declare_demo(CLI::App& command, std::function<int()>& run);
void declare_serve(CLI::App& command, std::function<int()>& run);
void declare_chat(CLI::App& command, std::function<int()>& run);
void declare_plan(CLI::App& command, std::function<int()>& run);
void declare_quantize(CLI::App& command, std::function<int()>& run);
void declare_bench(CLI::App& command, std::function<int()>& run);
void declare_perplexity(CLI::App& command, std::function<int()>& run);
void declare_tokenize(CLI::App& command, std::function<int()>& run);
void declare_render(CLI::App& command, std::function<int()>& run);
void declare_trace(CLI::App& command, std::function<int()>& run);

}  // namespace krasis
