#include "base/topology.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <sched.h>
#include <set>
#include <string>
#include <utility>

namespace krasis {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxProcessor = 1 << 16;  // a longer list is not a list of processors

// The first line, without the newline; empty if there is none.
std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<std::int64_t> parse_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

int number_in(const fs::path& path, int otherwise) {
  const auto value = parse_number(first_line(path));
  return value && *value >= 0 && *value <= kMaxProcessor ? static_cast<int>(*value) : otherwise;
}

// "32K", "16M"
std::size_t parse_size(std::string_view text) {
  const auto value = parse_number(text);
  if (!value || *value < 0) return 0;
  const char unit = text.back();
  const int shift = unit == 'K' ? 10 : unit == 'M' ? 20 : unit == 'G' ? 30 : 0;
  return static_cast<std::size_t>(*value) << shift;
}

std::map<int, int> read_nodes(const fs::path& root) {
  std::map<int, int> node_of;
  const fs::path folder = root / "sys/devices/system/node";
  for (const int node : parse_processor_list(first_line(folder / "online"))) {
    const auto list = first_line(folder / ("node" + std::to_string(node)) / "cpulist");
    for (const int processor : parse_processor_list(list)) node_of[processor] = node;
  }
  return node_of;
}

void read_caches(const fs::path& processor, Topology& topology) {
  for (int index = 0; index < 8; ++index) {
    const fs::path cache = processor / "cache" / ("index" + std::to_string(index));
    if (first_line(cache / "type") == "Instruction") continue;
    const std::size_t bytes = parse_size(first_line(cache / "size"));
    const int level = number_in(cache / "level", 0);
    if (level == 1) topology.l1_bytes = bytes;
    if (level == 2) topology.l2_bytes = bytes;
    if (level == 3) topology.l3_bytes = bytes;
  }
}

double ratio(std::string_view quota, std::string_view period) {
  const auto part = parse_number(quota);
  const auto whole = parse_number(period);
  if (!part || !whole || *part <= 0 || *whole <= 0) return 0;
  return static_cast<double>(*part) / static_cast<double>(*whole);
}

double limit_in(const fs::path& group) {
  const std::string both = first_line(group / "cpu.max");  // "quota period", quota may be "max"
  const std::size_t space = both.find(' ');
  if (space != std::string::npos) return ratio(both.substr(0, space), both.substr(space + 1));
  return ratio(first_line(group / "cpu.cfs_quota_us"), first_line(group / "cpu.cfs_period_us"));
}

// The least limit of the process's group and the groups around it, in both versions of the
// interface.
double read_limit(const fs::path& root) {
  double least = 0;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t controllers = line.find(':');
    if (controllers == std::string::npos) continue;
    const std::size_t path_start = line.find(':', controllers + 1);
    if (path_start == std::string::npos) continue;
    const std::string names = line.substr(controllers + 1, path_start - controllers - 1);
    const bool second_version = names.empty();
    if (!second_version && ("," + names + ",").find(",cpu,") == std::string::npos) continue;
    const fs::path base = root / (second_version ? "sys/fs/cgroup" : "sys/fs/cgroup/cpu");
    fs::path group = fs::path(line.substr(path_start + 1)).relative_path();
    for (;;) {
      const double limit = limit_in(base / group);
      if (limit > 0 && (least == 0 || limit < least)) least = limit;
      if (group.empty()) break;
      group = group.parent_path();
    }
  }
  return least;
}

}  // namespace

int Topology::nodes() const {
  std::set<int> found;
  for (const Core& core : cores) found.insert(core.node);
  return static_cast<int>(found.size());
}

int Topology::usable_cores() const {
  const int count = std::max(1, static_cast<int>(cores.size()));
  if (processor_limit <= 0) return count;
  return std::clamp(static_cast<int>(std::ceil(std::min(processor_limit, 1e6))), 1, count);
}

std::vector<int> parse_processor_list(std::string_view text) {
  std::vector<int> found;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const std::size_t dash = part.find('-');
    const auto first = parse_number(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_number(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *last > kMaxProcessor) continue;
    for (std::int64_t n = *first; n <= *last; ++n) found.push_back(static_cast<int>(n));
  }
  return found;
}

Topology read_topology(std::span<const int> allowed, const fs::path& root) {
  Topology topology;
  const std::map<int, int> node_of = read_nodes(root);
  std::map<std::pair<int, int>, Core> cores;  // by package and core number
  for (const int processor : allowed) {
    const fs::path folder =
        root / "sys/devices/system/cpu" / ("cpu" + std::to_string(processor)) / "topology";
    const int package = number_in(folder / "physical_package_id", 0);
    const int number = number_in(folder / "core_id", kMaxProcessor + 1 + processor);
    Core& core = cores[{package, number}];
    core.package = package;
    core.processors.push_back(processor);
    const auto node = node_of.find(processor);
    core.node = node == node_of.end() ? 0 : node->second;
  }
  for (auto& [key, core] : cores) {
    std::ranges::sort(core.processors);
    topology.cores.push_back(std::move(core));
  }
  if (topology.cores.empty()) topology.cores.push_back({.processors = {0}});
  std::ranges::sort(topology.cores, {}, [](const Core& core) { return core.processors.front(); });
  const int first = topology.cores.front().processors.front();
  read_caches(root / "sys/devices/system/cpu" / ("cpu" + std::to_string(first)), topology);
  topology.processor_limit = read_limit(root);
  return topology;
}

Topology read_topology() {
  // More processors than a fixed cpu_set_t holds make the call fail with EINVAL: ask with more.
  std::vector<int> allowed;
  for (std::size_t count = 1024; count <= std::size_t{kMaxProcessor}; count *= 4) {
    const std::size_t bytes = CPU_ALLOC_SIZE(count);
    std::vector<cpu_set_t> mask((bytes + sizeof(cpu_set_t) - 1) / sizeof(cpu_set_t));
    if (sched_getaffinity(0, bytes, mask.data()) != 0) continue;
    for (std::size_t n = 0; n < count; ++n) {
      if (CPU_ISSET_S(n, bytes, mask.data())) allowed.push_back(static_cast<int>(n));
    }
    break;
  }
  return read_topology(allowed);
}

}  // namespace krasis
