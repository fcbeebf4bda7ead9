#include "cuda/attention.h"
#include "cuda/attention_parts.cuh"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

constexpr float kLog2OfE = 1.44269504088896340736f;

AttentionArguments arguments_of(const Attention& op, const Launch& launch) {
  const PagedKv& kv = op.kv;
  return {.queries = op.queries.data,
          .query_stride = op.queries.stride,
          .keys = reinterpret_cast<const Bits16*>(kv.keys),
          .values = reinterpret_cast<const Bits16*>(kv.values),
          .out = op.out.data,
          .out_stride = op.out.stride,
          .heads = static_cast<int>(op.heads),
          .kv_heads = static_cast<int>(kv.kv_heads),
          .group = static_cast<int>(op.heads / kv.kv_heads),
          .page_tokens = static_cast<int>(kv.page_tokens),
          .scale = op.scale * kLog2OfE,
          .tables = launch.tables,
          .part = {},
          .partial = nullptr,
          .limits = nullptr};
}

void run(const AttentionArguments& arguments, const Attention& op, const Launch& launch) {
  const int key_dim = static_cast<int>(op.kv.key_dim);
  switch (arguments.part.kernel) {
    case AttentionKernel::Any:
      return attention_any(op, launch);
    case AttentionKernel::Prompt:
      return attention_prompt(arguments, key_dim, launch.stream);
    case AttentionKernel::PromptHopper:
      return attention_prompt_hopper(arguments, key_dim, launch.stream);
    case AttentionKernel::Decode:
      return attention_decode(arguments, key_dim, launch);
    case AttentionKernel::LatentSmall:
    case AttentionKernel::LatentMedium:
    case AttentionKernel::LatentLarge:
      return attention_latent(arguments, launch);
    case AttentionKernel::LatentHopper:
      return attention_latent_hopper(arguments, launch.stream);
    case AttentionKernel::DecodeNarrow:
      return attention_decode_narrow(arguments, key_dim, launch);
    case AttentionKernel::LatentNarrow:
      return attention_latent_narrow(arguments, launch);
  }
}

}  // namespace

void attention(const Attention& op, const Launch& launch) {
  const AttentionPlan plan =
      plan_attention(op, launch.tables, launch.device, launch.scratch.bytes());
  AttentionArguments arguments = arguments_of(op, launch);
  const int value_dim = static_cast<int>(op.kv.value_dim);
  for (int i = 0; i < plan.count; ++i) {
    arguments.part = plan.parts[static_cast<std::size_t>(i)];
    const auto rows = static_cast<std::size_t>(arguments.part.splits * arguments.part.partial_rows);
    if (rows != 0) {
      arguments.partial = launch.scratch.take_as<float>(rows * static_cast<std::size_t>(value_dim));
      arguments.limits = launch.scratch.take_as<float2>(rows);
    }
    run(arguments, op, launch);
    if (rows != 0) attention_combine(arguments, value_dim, launch);
  }
  if (plan.widened_rows > 0) attention_widened(op, plan, launch);
}

}  // namespace krasis::cuda
