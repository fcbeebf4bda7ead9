#include "budget/plan.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/error.h"
#include "budget/remedy.h"
#include "budget/step_bytes.h"

namespace krasis {
namespace {

constexpr std::int64_t kLeastContext = 4096;  // tokens of cache that must fit beside the weights
constexpr std::int64_t kLeastPart = 256;      // below, tensor cores wait for weights
constexpr std::int64_t kMostPart = 8192;      // above, nothing is gained
constexpr std::int64_t kLeastPass = 2048;     // tokens that share one copy of the experts
constexpr std::int64_t kUsefulPass = 8192;    // below, copying the experts is what takes the time
constexpr std::int64_t kMostPass = 65536;     // the engine's own limit
constexpr std::int64_t kProcessorPass = 512;  // a second or so of a large model
constexpr std::uint64_t kStagingBytes = std::uint64_t{32} << 20;  // pinned (cuda/device_memory.h)
constexpr std::uint64_t kTableBytes = 2 * 8 + 4;  // an expert: two pointers and a count
constexpr std::uint64_t kRounding = 4096;         // what the workspace's alignment may add
// Wanted beside the experts: the system, other programs, the files that are read meanwhile.
constexpr std::uint64_t kBesideExperts = 20'000'000'000;

// What a mode takes: a step on the way down.
struct Level {
  std::string mode;
  bool all_resident = false;
  ExpertMode kind = ExpertMode::Auto;
  std::int64_t ring_layers = 2, group_layers = 1;
};

class Planner {
 public:
  Planner(const ModelSpec& spec, const PlanRequest& request)
      : spec_(spec),
        request_(request),
        dense_(dense_bytes(spec, request.weights)),
        experts_(expert_bytes(spec, request.weights)) {}

  std::optional<Plan> plan_device() const;
  Plan plan_processor() const;
  bool fits_in_ram(const Plan& plan) const;
  void note_little_ram(Plan& plan) const;

 private:
  std::vector<Level> levels() const;
  std::optional<Plan> at(const Level& level) const;
  void set_cache(std::uint64_t bytes, Plan& plan) const;
  void fill(const Level& level, Plan& plan) const;
  bool has_useful_pass(const Level& level, const Plan& plan) const;

  bool streams() const { return request_.weights.experts.has_value() && experts_.count > 0; }
  std::int64_t context_asked() const {
    return request_.context_length > 0 ? request_.context_length : spec_.context_length;
  }
  std::uint64_t cache_of(std::int64_t context) const {
    return static_cast<std::uint64_t>((context + request_.page_tokens - 1) / request_.page_tokens) *
           request_.page_bytes;
  }
  std::uint64_t least_cache() const {
    return cache_of(request_.context_length > 0 ? request_.context_length
                                                : std::min(spec_.context_length, kLeastContext));
  }
  std::uint64_t most_cache() const {
    return static_cast<std::uint64_t>(request_.max_sequences) * cache_of(context_asked());
  }
  // Counted in full, not in pages.
  std::int64_t tokens_in(std::uint64_t cache) const {
    if (request_.page_bytes == 0) return kMostPass;
    const auto page = static_cast<std::uint64_t>(request_.page_tokens);
    const std::uint64_t tokens = cache / request_.page_bytes * page +
                                 cache % request_.page_bytes * page / request_.page_bytes;
    return static_cast<std::int64_t>(std::min<std::uint64_t>(tokens, kMostPass));
  }
  // No step holds more of all prompts together.
  std::int64_t most_tokens(std::int64_t context) const {
    return std::min(kMostPass, context) * request_.max_sequences;
  }
  // Tokens of a pass and of a part, the fewest and the most.
  std::int64_t least_pass() const {
    return std::min(request_.prompt_chunk > 0 ? request_.prompt_chunk : kLeastPass,
                    most_tokens(context_asked()));
  }
  std::int64_t most_pass(const Level& level, std::uint64_t cache) const {
    std::int64_t most = level.all_resident ? kMostPart : kMostPass;
    if (request_.prompt_chunk > 0) most = request_.prompt_chunk;
    if (!level.all_resident) most = std::min(most, tokens_in(cache));  // else the cache still grows
    return std::max(least_pass(), std::min(most, most_tokens(context_asked())));
  }
  std::uint64_t workspace(std::int64_t pass, std::int64_t part) const {
    const std::int64_t rows =
        request_.logit_rows > 0 ? request_.logit_rows : request_.max_sequences;
    return workspace_bytes(spec_, {.tokens = pass + request_.max_sequences,
                                   .part_tokens = part + request_.max_sequences,
                                   .logit_rows = rows});
  }
  std::uint64_t least_workspace() const {
    return workspace(least_pass(), std::min(least_pass(), kLeastPart));
  }
  std::uint64_t table_bytes() const {
    return static_cast<std::uint64_t>(experts_.count) * kTableBytes;
  }
  std::uint64_t ring_bytes(const Level& level) const {
    return static_cast<std::uint64_t>(level.ring_layers) * experts_.layer;
  }
  std::uint64_t base_bytes(const Level& level) const;
  std::uint64_t cache_share() const;
  std::uint64_t cache_in_ram(std::uint64_t taken) const;

  const ModelSpec& spec_;
  const PlanRequest& request_;
  DenseBytes dense_;
  ExpertBytes experts_;
};

// What a level takes however small the rest is, with one sequence.
std::uint64_t Planner::base_bytes(const Level& level) const {
  const std::uint64_t bytes = dense_.total() + request_.device->fixed_bytes +
                              request_.device->driver_bytes + request_.slot_bytes;
  return bytes + (level.all_resident ? experts_.all : ring_bytes(level) + table_bytes());
}

// The cache's share of the room: the least that is of use, and an eighth of what the poorest level
// leaves. The same for every level, so that a step up never takes from the context.
std::uint64_t Planner::cache_share() const {
  const Level poorest = {.mode = {}, .all_resident = !streams(), .ring_layers = 1};
  const std::uint64_t taken = base_bytes(poorest) + least_cache() + least_workspace();
  const std::uint64_t left = request_.device->bytes - std::min(request_.device->bytes, taken);
  return std::min(std::max(least_cache(), most_cache()), least_cache() + left / 8);
}

// Of what is left beside the cache, passes get a quarter at most, since every one copies all
// experts again, parts and sequences an eighth each; the experts get the rest, and where all of
// them are there anyway, the cache does. The shares are counted in full and only then rounded down
// to whole tokens, so that rounding cannot take from the experts what more room gave.
std::optional<Plan> Planner::at(const Level& level) const {
  const std::uint64_t cache = cache_share();
  const std::uint64_t least = base_bytes(level) + cache + least_workspace();
  if (least > request_.device->bytes) return std::nullopt;
  std::uint64_t left = request_.device->bytes - least;
  const std::uint64_t eighth = left / 8;

  const std::int64_t pass_from = least_pass(), part_from = std::min(pass_from, kLeastPart);
  const std::int64_t pass_to = most_pass(level, cache), part_to = std::min(pass_to, kMostPart);
  // Of a pass that is no smaller than any part.
  const auto part_bytes = [&](std::int64_t part) {
    return workspace(kMostPass, part) - workspace(kMostPass, part_from);
  };
  const std::uint64_t part_share = std::min(eighth, part_bytes(part_to));
  const auto pass_bytes = static_cast<std::uint64_t>(spec_.hidden * 4 + 8);
  const std::uint64_t pass_share =
      std::min(left / 4, static_cast<std::uint64_t>(pass_to - pass_from) * pass_bytes + kRounding);
  const auto more = static_cast<std::uint64_t>(request_.max_sequences - 1);
  const std::uint64_t slot_share = std::min(eighth, more * request_.slot_bytes);
  left -= part_share + pass_share + slot_share;

  Plan plan;
  plan.part_tokens = part_from;
  while (plan.part_tokens < part_to) {
    const std::int64_t next = std::min(part_to, plan.part_tokens + kLeastPart);
    if (part_bytes(next) > part_share) break;
    plan.part_tokens = next;
  }
  const auto extra =
      static_cast<std::int64_t>((pass_share - std::min(pass_share, kRounding)) / pass_bytes);
  plan.pass_tokens = pass_from + extra / kLeastPart * kLeastPart;
  if (pass_from + extra >= pass_to) plan.pass_tokens = pass_to;
  plan.sequences = request_.max_sequences;
  if (request_.slot_bytes > 0)
    plan.sequences = 1 + static_cast<std::int64_t>(slot_share / request_.slot_bytes);
  plan.cache_bytes = cache;
  if (level.all_resident) {
    plan.cache_bytes = std::max(cache, std::min(most_cache(), cache + left));
    plan.resident_experts = experts_.count;
  } else if (level.kind == ExpertMode::Auto) {
    plan.resident_experts =
        std::min(experts_.count, static_cast<std::int64_t>(left / experts_.expert));
  }
  fill(level, plan);
  return plan;
}

// In whole pages, and the context that they hold.
void Planner::set_cache(std::uint64_t bytes, Plan& plan) const {
  plan.context_tokens = context_asked();
  plan.cache_bytes = bytes;
  if (request_.page_bytes == 0) return;
  plan.cache_bytes -= bytes % request_.page_bytes;
  plan.context_tokens = std::min(
      plan.context_tokens,
      static_cast<std::int64_t>(plan.cache_bytes / request_.page_bytes) * request_.page_tokens);
}

void Planner::fill(const Level& level, Plan& plan) const {
  plan.mode = level.mode;
  plan.on_device = true;
  plan.all_resident = level.all_resident;
  plan.experts = experts_.count;
  set_cache(plan.cache_bytes, plan);
  plan.pass_tokens = std::min(plan.pass_tokens, most_tokens(plan.context_tokens));
  plan.part_tokens = std::min(plan.part_tokens, plan.pass_tokens);
  plan.workspace_bytes = workspace(plan.pass_tokens, plan.part_tokens);
  // A pass that fits one part stays one when sequences that write come with it.
  if (plan.part_tokens == plan.pass_tokens) plan.part_tokens += request_.max_sequences;
  plan.placement = {.mode = level.all_resident ? ExpertMode::Persistent : level.kind,
                    .resident = plan.resident_experts,
                    .ring_layers = level.ring_layers,
                    .group_layers = level.group_layers,
                    .prompt_threshold = request_.prompt_threshold};
  const bool streamed = !level.all_resident;
  const std::uint64_t slots = static_cast<std::uint64_t>(plan.resident_experts) * experts_.expert;
  plan.streamed_bytes = streamed ? experts_.all - std::min(experts_.all, slots) : 0;
  plan.token_cache_bytes = request_.page_bytes / static_cast<std::uint64_t>(request_.page_tokens);
  plan.state_bytes = request_.slot_bytes;
  plan.vram = {
      {"embedding", dense_.embedding},
      {"attention", dense_.attention},
      {"shared_experts", dense_.shared_expert},
      {"dense_mlp", dense_.dense_mlp},
      {"routers", dense_.router},
      {"norms", dense_.norms},
      {"lm_head", dense_.lm_head},
      {"resident_experts", streamed ? slots : experts_.all},
      {"expert_ring", streamed ? ring_bytes(level) : 0},
      {"expert_tables", streamed ? table_bytes() : 0},
      {"kv_cache", plan.cache_bytes},
      {"recurrent_state", static_cast<std::uint64_t>(plan.sequences) * request_.slot_bytes},
      {"workspace", plan.workspace_bytes},
      {"scratch", request_.device->fixed_bytes},
      {"driver", request_.device->driver_bytes}};
  plan.ram = {{"experts", experts_.arena}, {"staging", kStagingBytes}};
  const std::int64_t divisor = request_.expert_divisor.value_or(1);
  if (!request_.weights.experts && experts_.count > 0 && divisor != 1) {
    plan.notes.push_back(fmt::format(
        "experts of 16 bits are all in VRAM and never streamed, expert_divisor {} changes nothing",
        divisor));
  }
  if (plan.sequences < request_.max_sequences) {
    plan.notes.push_back(
        fmt::format("there is room for the state of {} requests at a time, not of {}",
                    plan.sequences, request_.max_sequences));
  }
}

// As the engine's on the processor: what all sequences need, but no more than a quarter of what is
// free beside the rest unless a context was asked for.
std::uint64_t Planner::cache_in_ram(std::uint64_t taken) const {
  if (request_.ram_bytes == 0) return most_cache();
  const auto most =
      static_cast<std::uint64_t>(kMostRamShare * static_cast<double>(request_.ram_bytes));
  const std::uint64_t left = request_.ram_bytes - std::min(request_.ram_bytes, taken);
  const std::uint64_t room = std::min(left / 4, most - std::min(most, taken));
  return std::min(most_cache(), std::max(least_cache(), room));
}

Plan Planner::plan_processor() const {
  Plan plan;
  plan.mode = "processor";
  plan.experts = experts_.count;
  plan.sequences = request_.max_sequences;
  plan.token_cache_bytes = request_.page_bytes / static_cast<std::uint64_t>(request_.page_tokens);
  plan.state_bytes = request_.slot_bytes;
  plan.pass_tokens = std::min(request_.prompt_chunk > 0 ? request_.prompt_chunk : kProcessorPass,
                              most_tokens(context_asked()));
  plan.workspace_bytes = workspace(plan.pass_tokens, plan.pass_tokens);
  plan.ram = {{"experts", experts_.arena > 0 ? experts_.arena : experts_.all},
              {"weights", dense_.total()},
              {"recurrent_state", static_cast<std::uint64_t>(plan.sequences) * request_.slot_bytes},
              {"workspace", plan.workspace_bytes}};
  if (experts_.arena == 0 && request_.maps_experts) plan.mapped_bytes = experts_.all;
  set_cache(cache_in_ram(needed_ram(plan)), plan);
  plan.pass_tokens = std::min(plan.pass_tokens, most_tokens(plan.context_tokens));
  plan.part_tokens = plan.pass_tokens;
  plan.ram.push_back({"kv_cache", plan.cache_bytes});
  return plan;
}

bool Planner::fits_in_ram(const Plan& plan) const {
  return static_cast<double>(needed_ram(plan)) <=
         kMostRamShare * static_cast<double>(request_.ram_bytes);
}

void Planner::note_little_ram(Plan& plan) const {
  const std::uint64_t wanted = experts_.arena + kBesideExperts;
  // A model that takes little of a small machine leaves it as much as there is.
  if (experts_.arena == 0 || wanted <= request_.ram_bytes) return;
  if (needed_ram(plan) < request_.ram_bytes / 2) return;
  plan.notes.push_back(fmt::format(
      "{:.1f} GB of experts and 20 GB for everything else are more than the {:.1f} GB "
      "of RAM that are free; other programs will have little",
      static_cast<double>(experts_.arena) / 1e9, static_cast<double>(request_.ram_bytes) / 1e9));
}

// What was asked for, then what is tried in its place.
std::vector<Level> Planner::levels() const {
  const Level persistent = {.mode = "persistent", .all_resident = true};
  if (!streams()) return {persistent};
  std::vector<Level> levels;
  const std::int64_t divisor = request_.expert_divisor.value_or(1);
  if (divisor == 1) levels.push_back(persistent);
  if (!request_.expert_divisor) {
    levels.push_back({.mode = "auto"});
  } else if (divisor >= 1) {
    std::int64_t before = 0;
    for (std::int64_t groups = std::max<std::int64_t>(divisor, 2);
         groups <= std::max<std::int64_t>(experts_.layers, divisor); ++groups) {
      const std::int64_t size = std::max<std::int64_t>(1, (experts_.layers + groups - 1) / groups);
      if (size == before) continue;  // more groups that are no smaller
      before = size;
      levels.push_back({.mode = fmt::format("grouped({})", groups),
                        .kind = ExpertMode::Grouped,
                        .ring_layers = 2 * size,
                        .group_layers = size});
    }
  } else if (divisor == -1) {
    levels.push_back({.mode = "active-only", .kind = ExpertMode::ActiveOnly});
  }
  levels.push_back({.mode = "chunked", .kind = ExpertMode::Chunked, .ring_layers = 1});
  return levels;
}

// As long as any prompt needs it, or so long that the copies of the experts are worth it.
bool Planner::has_useful_pass(const Level& level, const Plan& plan) const {
  if (level.all_resident) return true;
  return plan.pass_tokens >=
         std::min({most_pass(level, cache_share()), kUsefulPass, most_tokens(plan.context_tokens)});
}

// The first level with a useful pass; where there is none, the last one, whose pass is the longest.
std::optional<Plan> Planner::plan_device() const {
  const std::vector<Level> all = levels();
  // Streaming is not a step down from `auto`, but one of its answers.
  const std::size_t answers = !request_.expert_divisor && streams() ? 2 : 1;
  std::optional<Plan> best;
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::optional<Plan> plan = at(all[i]);
    if (!plan) continue;
    chosen = i;
    best = std::move(plan);
    if (has_useful_pass(all[i], *best)) break;
  }
  if (best && chosen >= answers) {
    best->notes.push_back(fmt::format(
        "{} does not fit in {:.1f} GB of VRAM beside what else must be there, taking {}",
        all[answers - 1].mode, static_cast<double>(request_.device->bytes) / 1e9,
        all[chosen].mode));
  }
  return best;
}

void check_request(const ModelSpec& spec, const PlanRequest& request) {
  const auto require = [](bool good, const char* name, std::int64_t value, const char* range) {
    if (good) return;
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("budget: {} is {}, choose {}", name, value, range));
  };
  require(request.max_sequences >= 1 && request.max_sequences <= 4096, "max_sequences",
          request.max_sequences, "1 to 4096");
  require(request.prompt_chunk >= 0 && request.prompt_chunk <= kMostPass, "prompt_chunk",
          request.prompt_chunk, "0 to 65536");
  require(request.context_length >= 0, "context_length", request.context_length,
          "a positive number, or 0 for as much as fits");
  if (request.context_length > spec.context_length) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("budget: context_length is {}, but the model was made for {} tokens; "
                            "choose at most that",
                            request.context_length, spec.context_length));
  }
  require(request.expert_divisor.value_or(0) >= -1, "expert_divisor",
          request.expert_divisor.value_or(0), "auto, 1, a number of groups, -1 or 0");
  if (request.prompt_threshold >= 0 && request.expert_divisor.value_or(0) == -1) {
    throw Error(
        ErrorCode::InvalidArgument,
        fmt::format("budget: --gpu-prefill-threshold {} means nothing with --expert-divisor "
                    "-1, where every prompt copies the experts it chose; leave out one",
                    request.prompt_threshold));
  }
}

}  // namespace

std::uint64_t total_bytes(const std::vector<Component>& components) {
  std::uint64_t bytes = 0;
  for (const Component& component : components) bytes += component.bytes;
  return bytes;
}

std::uint64_t needed_ram(const Plan& plan) {
  return total_bytes(plan.ram) - plan.mapped_bytes;
}

std::optional<Plan> plan_if_it_fits(const ModelSpec& spec, const PlanRequest& request) {
  check_request(spec, request);
  const Planner planner(spec, request);
  std::optional<Plan> plan = request.device ? planner.plan_device() : planner.plan_processor();
  if (!plan || request.ram_bytes == 0) return plan;
  if (!request.force && !planner.fits_in_ram(*plan)) return std::nullopt;
  planner.note_little_ram(*plan);
  return plan;
}

Plan make_plan(const ModelSpec& spec, const PlanRequest& request) {
  if (auto plan = plan_if_it_fits(spec, request)) return *std::move(plan);
  throw Error(ErrorCode::OutOfMemory, too_small(spec, request));
}

}  // namespace krasis
